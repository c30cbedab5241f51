"""Comprehensions that are a statement's whole value."""

from .harness import Program

PROGRAMS = [
    Program(
        "comprehension_of_each_kind",
        "A list, a set and a dict go on with the elements they had, each made once, and leave no variable behind.",
        """
import ledger
def f(x):
    ledger.note(x)
    return x * x
xs = [f(x) for x in range(4)]
ys: set = {f(-y) for y in xs if y % 2}
zs = {k: f(v) for k, v in enumerate(xs) if k}
a = b = [[x] for x in "ab"]
print(xs, zs, "x" in globals())
sorted(ys), a is b
""",
        at_least=18,
    ),
    Program(
        "comprehension_of_nested_clauses",
        "Conditions and outer items that were passed are not evaluated again, and no element is made twice.",
        """
import ledger
def note(*what):
    ledger.note(what)
    return True
pairs = [(x, y, z) for x in range(3) if note("x", x) if x != 1 for y in "ab" if note("y", x, y)
         for z in range(2) if note("z", x, y, z) and z <= x]
table = {x: y for x in (1, 2) for y in range(x, 4) if note(x, y)}
seen = {x % 3 for row in [[1, 2], [], [3, 4]] for x in row if note(x)}
len(pairs), table, sorted(seen)
""",
        at_least=36,
    ),
    Program(
        "comprehension_shown",
        "A bare comprehension is displayed and goes to `Out` if it is the last expression, and only then.",
        """
[print("made", x) for x in range(2)]
{x for x in "ab"}
total = 0
[(total := total + x) for x in range(4)]
""",
        after=("y = _\n",),
    ),
    Program(
        "comprehension_shown_and_none_other",
        "With `all`, each bare comprehension is displayed once.",
        """
[x for x in range(2)]
x = [3]
{k: [k] for k in "ab"}
""",
        before=("%config InteractiveShell.ast_node_interactivity = 'all'\n",),
        needs_before=True,
    ),
    Program(
        "comprehension_assigned_last",
        "With `last_expr_or_assign`, the value of a last assignment is displayed.",
        """
xs = [1, 2]
xs += [x * 10 for x in xs]
""",
        before=("%config InteractiveShell.ast_node_interactivity = 'last_expr_or_assign'\n",),
        needs_before=True,
    ),
    Program(
        "comprehension_with_hidden_names",
        "Its variables hide those of the cell inside it and leave them alone; its first iterable sees the cell's.",
        """
x, y = [3, 1], "kept"
zs = [x for x in x]
ys = [(x, y) for y in range(2) for x in zs]
ws = [x for y in zs for x in range(y)]
x, y
""",
    ),
    Program(
        "comprehension_with_walrus",
        "`:=` binds in the cell, also where no element is made.",
        """
best, none = 0, "unbound"
rising = [best := max(best, x) for x in [3, 1, 4, 1, 5] if (last := x) < 5]
empty = {(none := k): v for k, v in {}.items()}
more = [(y, total := y + last) for x in range(2) for y in range(x, 3)]
best, last, none, total
""",
    ),
    Program(
        "comprehension_added_to",
        "`+=` and `|=` add to the object that the name had when the statement began.",
        """
xs = [0]
alias = xs
xs += [x for x in range(3)]
xs += [(xs := [x], len(xs))[1] for x in range(3)]
table = other = {"a": 0}
table |= {k: k * 2 for k in "ab"}
seen = {1}
seen |= {x for x in (5, 6) for _ in range(2)}
xs += [x for x in alias if x is not None and alias.append(None) is None and len(alias) < 12]
alias, xs is alias, other is table, seen
""",
        at_least=20,
    ),
    Program(
        "comprehension_into_places",
        "What is assigned to is evaluated after the comprehension, as ever.",
        """
import ledger
class Box: pass
box, d = Box(), {}
def place(name):
    ledger.note(name)
    return name
box.xs = [x for x in range(2)]
d[place("key")] = [place(x) for x in "ab"]
first, *rest = [place(x) for x in range(3)]
(p, q), [r] = [[x, x] if x else [x] for x in (1, 0)]
box.xs += [x for x in range(2)]
first, rest, p, q, r
""",
    ),
    Program(
        "comprehension_in_blocks",
        "Inside `with`, `try`, `if` and the bodies of loops that hold loops.",
        """
import ledger
from contextlib import nullcontext
log = []
with nullcontext(2) as n:
    xs = [ledger.note(("with", x)) or x * n for x in range(3)]
try:
    ys = [ledger.note(("try", x)) or 1 // x for x in (2, 1, 0, 5)]
except ZeroDivisionError:
    ys = "failed"
if xs:
    zs = {ledger.note(("if", x)) or x for x in xs}
else:
    zs = [x for x in "never"]
for k in range(2):
    row = [ledger.note(("loop", k, x)) or x + k for x in range(2)]
    for j in row:
        if j:
            log += [(k, j, x) for x in range(2)]
for k in range(3):
    inner = [k + x for x in range(3)]
    log.append(sum(inner))
log, ys
""",
        at_least=30,
    ),
    Program(
        "comprehension_awaiting",
        "`await` in elements, conditions and iterables, and `async for`, nested.",
        """
import asyncio, ledger
async def double(x):
    await asyncio.sleep(0)
    ledger.note(x)
    return x * 2
async def items(n):
    await asyncio.sleep(0)
    return list(range(n))
async def ticks(n):
    for k in range(n):
        await asyncio.sleep(0)
        yield k
class Counter:
    def __init__(self, n):
        self.n, self.k = n, 0
    def __aiter__(self):
        return self
    async def __anext__(self):
        await asyncio.sleep(0)
        self.k += 1
        if self.k > self.n:
            raise StopAsyncIteration
        return self.k
xs = [await double(x) for x in await items(3) if await items(x)]
ys = {x: await double(x) async for x in ticks(3)}
counter = Counter(3)
zs = [(x, y) async for x in counter if x != 2 for y in await items(2)]
ws = {(x, y) for x in range(2) async for y in ticks(2) if await items(y)}
xs += [x async for x in Counter(2)]
sum([x async for x in ticks(3)])
[await double(x) for x in range(2)]
""",
        at_least=30,
    ),
    Program(
        "comprehension_over_generators",
        "Generators are drawn again with the random state they had; what elements draw goes on.",
        """
import random
def noisy(n):
    base = random.random()
    for k in range(n):
        yield base + k
xs = [(x, random.random()) for x in [random.random() for _ in range(3)]]
ys = [round(y) for y in noisy(3)]
zs = {random.random() for _ in range(3)}
ws = [(a, b, random.random()) for a in (k * k for k in range(3)) for b in (j + a for j in range(2))]
vs = [v + random.random() for v in random.sample(range(9), 4)]
""",
        at_least=24,
    ),
    Program(
        "comprehension_over_all_sorts",
        "zip, enumerate, map, reversed, dict views, strings, open-ended counts and files.",
        """
import itertools, os, tempfile
names, table = ["a", "b", "c"], {"k": 1, "l": 2}
def odd(x):
    return x % 2
a = [(n, k) for n, k in zip(names, itertools.count())]
b = [(k, n) for k, n in enumerate(names, 5)]
c = [x for x in map(str.upper, names)]
d = [(k, v) for k, v in table.items()]
e = [x for x in filter(odd, reversed(range(5)))]
f = {v: k for k, v in table.items()}
g = [next(it) + x for it in [iter(range(10))] for x in it]
h = [x for x in {1: 2}.values()]
i = [(x, [y for y in xs]) for x, xs in itertools.groupby("aabb")]
""",
        at_least=24,
    ),
    Program(
        "comprehension_over_a_changing_list",
        "Elements that change what it goes over, and each other.",
        """
import ledger
xs = [3]
ys = [xs.append(x - 1) or x for x in xs if x > 0]
rows = [[]]
zs = [rows.append(rows[-1] + [k]) or rows[-1] for k in range(3)]
shared = []
same = [shared for _ in range(3)]
same[0].append(1)
ws = [row.append(k) or row for k, row in enumerate(zs)]
""",
    ),
    Program(
        "comprehension_sharing_objects",
        "Elements are the very objects that variables hold, and keep what they share.",
        """
class Node:
    def __init__(self, up):
        self.up, self.down = up, []
        if up:
            up.down.append(self)
root = last = Node(None)
nodes = [last := Node(last) for _ in range(3)]
index = {k: node for k, node in enumerate(nodes)}
items = [node.down for node in nodes]
flat = [child for node in nodes for child in node.down]
all(a is b for a, b in zip(flat, nodes[1:]))
""",
    ),
    Program(
        "comprehension_of_functions",
        "Functions made by elements share one variable, as ever: nothing is saved while one of them lives on.",
        """
import ledger
ks = range(3)
fs = [lambda: x for x in range(4)]
gs = [(lambda y: lambda: x * y)(y) for x in (1, 2) for y in (3, 4)]
kept = []
hs = {x: len(kept) for x in range(3) if kept.append(lambda: x) is None}
sums = [sum(x * y for y in ks) for x in range(4)]
best = {k: max(ks, key=lambda j: abs(j - k)) for k in ks}
nested = [[(lambda: x + y)() for y in ks] for x in ks]
late = [f() for f in fs], [g() for g in gs], [h() for h in kept]
late, sums
""",
        at_least=15,
    ),
    Program(
        "comprehension_failing",
        "An error comes out as it is, from the element, its condition, its iterable or its key.",
        """
import ledger
log = []
def fail(x):
    ledger.note(x)
    if x == 2:
        raise ValueError(f"no {x}")
    return x
def draws():
    yield 1
    raise KeyError("drawn")
for k in range(1):
    for j in range(1):
        try:
            xs = [fail(x) for x in range(5)]
        except ValueError as error:
            log.append(str(error))
        try:
            ys = {ledger.note(x) or ([x] if x == 1 else x) for x in range(5)}
        except TypeError as error:
            log.append(str(error))
        try:
            zs = [x for x in draws()]
        except KeyError as error:
            log.append(str(error))
        try:
            [x for x in 5]
        except TypeError as error:
            log.append(str(error))
log, "xs" in globals()
""",
        at_least=10,
    ),
    Program(
        "comprehension_that_ends_the_cell_with_an_error",
        "The error is the plain one.",
        """
xs = [1 // (2 - x) for x in range(5)]
""",
        at_least=2,
        fails="ZeroDivisionError",
    ),
    Program(
        "comprehension_resumed_alone",
        "Without the earlier cells, what elements need comes back, and their classes too.",
        """
xs = [scaled(x) for x in range(3)]
ys = {Point(x).key: Point(x) for x in xs for _ in range(2)}
factor
""",
        before=(
            """
factor = 10
def scaled(x):
    return x * factor
class Point:
    def __init__(self, x):
        self.x = x
    @property
    def key(self):
        return self.x + factor
""",
        ),
    ),
    Program(
        "comprehension_with_deep_values",
        "Nested displays, conditional elements, starred calls, f-strings and comprehensions inside.",
        """
data = {"a": [1, 2], "b": [], "c": [3]}
out = {k: {f"{k}{v}": [w for w in range(v)] for v in vs} if vs else None for k, vs in data.items()}
flat = [x for vs in data.values() for x in (vs or [0]) if x not in [y for y in (2,)]]
args = [max(*vs, 0, 1, *[v for v in vs]) for vs in data.values()]
short = [x and 1 / x or -1 for x in (0, 2)]
empty = [x for x in ()], {x for x in ""}, {x: x for x in []}
none = [x for x in ()]
nothing = {x for x in ()}
void = {x: y for x in () for y in x}
type(nothing), type(void), out
""",
        at_least=10,
    ),
    Program(
        "comprehension_under_a_progress_bar",
        "A bar around what it goes over shows the right count at the end.",
        """
from tqdm import tqdm, trange
import ledger
xs = [ledger.note(x) or x for x in tqdm(range(4), desc="work")]
ys = [(x, y) for x in trange(2) for y in tqdm("ab")]
bar = tqdm([5, 6, 7])
zs = {x for x in bar}
bar.n
""",
        loose=frozenset({"stderr"}),
        unsaved=frozenset({"bar"}),
        at_least=12,
    ),
    Program(
        "comprehension_over_what_cannot_be_saved",
        "Generators under zip and enumerate; files; items that have no pickle.",
        """
import os, tempfile
path = os.path.join(tempfile.gettempdir(), "nbckpt comprehension")
with open(path, "w") as out:
    out.write("a\\nb\\nc\\n")
with open(path) as lines:
    stripped = [line.strip() for line in lines]
numbered = {n: line for n, line in enumerate(l.strip() for l in open(path))}
names = [make.__name__ for make in (f for f in (lambda: 1, lambda: 2))]
""",
        unsaved=frozenset({"lines", "out"}),
    ),
]
