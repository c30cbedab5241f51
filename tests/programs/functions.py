"""Functions that are gone on with in their middle."""

from .harness import Program

PROGRAMS = [
    Program(
        "loop_in_a_function",
        "A loop in a function of an earlier cell, with locals of every kind.",
        """
import ledger
out = train(4)
out.append(len(shared))
out
""",
        before=(
            """
import nbckpt, ledger
shared = []
@nbckpt.resumable
def train(n, *, scale=2):
    "Trains."
    history, gone = [], 1
    del gone
    for epoch in range(n):
        shared.append(epoch)
        for batch in range(2):
            ledger.note((epoch, batch))
            history.append((epoch, batch * scale))
        total: int = sum(b for _, b in history)
    try:
        gone
    except UnboundLocalError as error:
        history.append(str(type(error)))
    return history
""",
        ),
        at_least=12,
    ),
    Program(
        "recursion_in_an_expression",
        "Two calls in one expression, at every depth.",
        """
import nbckpt, ledger
@nbckpt.resumable
def fib(n):
    ledger.note(n)
    for _ in range(1):
        pass
    if n < 2:
        return n
    return fib(n - 1) + fib(n - 2)
x = [fib(4), ledger.note("between"), fib(2)]
y = 10
y += fib(3)
x, y
""",
        at_least=30,
    ),
]
PROGRAMS += [
    Program(
        "nested_resumable_calls",
        "A resumable function that calls others, twice in one cell and inside the cell's loops.",
        """
import ledger
table = []
for k in range(2):
    row = outer(k, [k])
    table.append(row)
last = outer(5, table)
outer(6, table)
""",
        before=(
            """
import nbckpt, ledger, random
@nbckpt.resumable
def inner(xs, n):
    total = 0
    for x in xs:
        for j in range(n):
            total += j + random.random()
            ledger.note(j)
    return total
@nbckpt.resumable
def outer(k, seen):
    acc = {"seen": seen, "sums": []}
    for n in range(1, 3):
        acc["sums"].append(inner([k, k + 1], n))
        acc[n] = inner([n], 1)
    if k > 3:
        z = inner([1], 2)
    else:
        z = None
    return acc, z
""",
        ),
        at_least=40,
    ),
    Program(
        "methods_that_fit",
        "`self.fit()` of a notebook class, with private names and `super()`, in a loop of another method.",
        """
import ledger
model = Sub(3)
result = model.run(2)
other = [model]
model.losses, len(result), result[0] is model
""",
        before=(
            """
import nbckpt, ledger
class Base:
    def __init__(self, n):
        self.n, self.losses, self.__hidden = n, [], 5
    @nbckpt.resumable
    def fit(self, scale):
        for step in range(self.n):
            self.__step = step
            for part in range(2):
                self.losses.append(step * scale + part + self.__hidden)
        return self
class Sub(Base):
    @nbckpt.resumable
    def fit(self, scale):
        best = 0
        for _ in range(2):
            got = super().fit(scale)
            best = max(best, *got.losses)
        return super().fit(best)
    @nbckpt.resumable
    def run(self, times):
        done = []
        for t in range(times):
            done.append(self.fit(t))
            self.check()
        return done
    def check(self):
        ledger.note(len(self.losses))
""",
        ),
        at_least=20,
    ),
    Program(
        "closures_share_cells",
        "Variables shared with inner functions, `nonlocal`, before and after the kill, also through saved closures.",
        """
import nbckpt, ledger
kept = []
@nbckpt.resumable
def count(n, start=10):
    total, names = start, []
    def add(k):
        nonlocal total
        total += k
        return total
    kept.append(add)
    kept.append(lambda: (total, n))
    for k in range(n):
        add(k)
        for j in range(2):
            total += j
            ledger.note(total)
        names = [f"{name}{total}" for name in names + ["x"]]
    del start
    return total, add
first, add = count(3)
add(100)
[f() for f in kept[1:]], first
""",
        at_least=10,
    ),
    Program(
        "a_resumable_function_made_by_another",
        "Functions made in functions, with free variables that the maker goes on changing.",
        """
import nbckpt, ledger
def make(step):
    seen = []
    @nbckpt.resumable
    def walk(n):
        nonlocal step
        for k in range(n):
            step += 1
            for j in range(2):
                seen.append((k, j, step))
                ledger.note(step)
        return len(seen)
    return walk, seen
walk, seen = make(5)
a = walk(2)
b = walk(3) + a
seen, a, b
""",
        at_least=10,
    ),
    Program(
        "ways_out_of_functions",
        "`return` in loops, `with` and `try`; exceptions that pass; `finally` once.",
        """
import nbckpt, ledger
from contextlib import contextmanager
log = []
@contextmanager
def noted(name):
    log.append(f"+{name}")
    try:
        yield name
    finally:
        log.append(f"-{name}")
@nbckpt.resumable
def find(xs, wanted):
    with noted("find") as name:
        for x in xs:
            for y in range(2):
                ledger.note((x, y))
                if (x, y) == wanted:
                    return name, x, y
            try:
                for z in range(1):
                    if x == 7:
                        raise KeyError(x)
            finally:
                log.append(x)
    return None
@nbckpt.resumable
def tries():
    found = []
    for wanted in [(1, 0), (7, 1), (9, 9)]:
        try:
            got = find([1, 2, 7], wanted)
        except KeyError as error:
            found.append(repr(error))
        else:
            found.append(got)
    return found
a = tries()
try:
    b = find([7], (0, 0))
except KeyError:
    b = "none"
a, b, [line for line in log if line[:1] != "+" ] if False else len([x for x in log if isinstance(x, int)])
""",
        unsaved=frozenset({"log"}),
        at_least=20,
    ),
    Program(
        "an_exception_ends_the_cell",
        "The traceback shows the function's own line.",
        """
import nbckpt, ledger
@nbckpt.resumable
def fails(n):
    for k in range(n):
        for j in range(2):
            ledger.note(j)
    raise ValueError(f"after {n}")
fails(3)
""",
        fails="ValueError",
        at_least=6,
    ),
    Program(
        "awaited_functions",
        "`await f()` of async resumable functions, in the cell and in each other, with `async for` and `async with`.",
        """
import asyncio, nbckpt, ledger
class Session:
    async def __aenter__(self):
        await asyncio.sleep(0)
        return self
    async def __aexit__(self, *error):
        await asyncio.sleep(0)
async def ticks(n):
    for k in range(n):
        await asyncio.sleep(0)
        yield k
@nbckpt.resumable
async def fetch(n):
    got = []
    async with Session() as session:
        async for k in ticks(n):
            for j in range(2):
                await asyncio.sleep(0)
                got.append((k, j))
                ledger.note((k, j))
    return got
@nbckpt.resumable
async def both(n):
    first = await fetch(n)
    return first + await fetch(1), len(await fetch(n))
x = await both(2)
y = [await fetch(1), await fetch(2)]
y += await fetch(1)
x, y
""",
        at_least=20,
    ),
    Program(
        "values_of_a_statement_are_kept",
        "What a statement had evaluated before a call is not evaluated again, and names are what they were.",
        """
import nbckpt, ledger
def once(x):
    ledger.note(("once", x))
    return [x]
@nbckpt.resumable
def work(n):
    global total
    for k in range(n):
        total = total + 1
        ledger.note(("work", k))
    return n
class Box:
    value = 1
box, total, xs, d = Box(), 0, [1, 2], {"k": [1]}
a = (once(1), work(2), once(2), work(1))
total += work(3)
box.value += work(2)
xs[once(0)[0]] += work(2)
d["k"] += once(work(2)) + once(3)
f"{total} {work(2)} {once(4)}", {once(5)[0]: work(1), **d, "z": work(2)}
b = [*xs, work(1), *once(6)]
c = work(2) if xs and once(7) else work(1)
print("sum", work(1) + total, sep=str(once(8)), end=f"{work(1)}\\n")
xs.append(work(2))
e = (lambda: work(2))()
g = [work(k) for k in range(2)]
h = once(9) and work(1)
once(10)[0] < work(2) < total
""",
        at_least=40,
    ),
    Program(
        "loops_of_every_kind_in_functions",
        "`while`, generators with a random generator held in a local, progress bars, dicts, `enumerate`.",
        """
import random, numpy as np, nbckpt, ledger
def draws(rng, n):
    for k in range(n):
        yield rng.random()
@nbckpt.resumable
def run(n):
    rng = random.Random(3)
    out, k = [], 0
    for value in draws(rng, n):
        out.append(value)
        for j in range(2):
            out.append(j)
    while k < n:
        k += 1
        for name, v in {"a": 1, "b": 2}.items():
            out.append((name, v, k))
    for i, c in enumerate("abc"):
        ledger.note((i, c))
    for p in np.random.permutation(4):
        for q in [1, 2]:
            out.append(int(p) * q)
    else:
        out.append("else")
    return out
run(3)
""",
        at_least=30,
    ),
    Program(
        "locals_and_globals_share",
        "Objects that locals share with the cell's variables, with callers and with one another.",
        """
import nbckpt, ledger
data = {"rows": [[0], [1]]}
held = []
@nbckpt.resumable
def fill(target, depth):
    row = target["rows"][depth]
    alias, pair = row, (row, target)
    held.append(pair)
    for k in range(2):
        row.append(k)
        if depth == 0:
            got = fill(target, 1)
        for _ in range(1):
            alias.append(("again", k))
            ledger.note(len(row))
    return alias
r = fill(data, 0)
r is data["rows"][0], held[0][0] is r
""",
        at_least=10,
    ),
    Program(
        "loop_variables_that_were_changed",
        "A loop variable that the body bound anew is what it was, and so is one that it deleted.",
        """
import nbckpt, ledger
@nbckpt.resumable
def f(xs):
    out = []
    for x, (y, z) in xs:
        x = x * 10
        if y == 1:
            del z
        for k in range(2):
            out.append((x, y, k, "z" in locals(), sorted(locals())))
            ledger.note((x, k))
    match xs:
        case [first, *rest]:
            for k in range(2):
                out.append((first, len(rest)))
    import json as j
    j = 5
    for k in range(2):
        out.append(j + k)
    return out
f([(1, (1, 2)), (2, (0, 4))])
""",
        at_least=10,
    ),
    Program(
        "functions_of_a_module",
        "A resumable function of an imported module, with its own globals.",
        """
import ledger
import nbckpt_test_steps as steps
from nbckpt_test_steps import train
a = train([1, 2], 2)
b = steps.train([3], 1)
c = steps.Trainer(2).fit()
a, b, c.seen, sorted(steps.CALLS) != []
""",
        before=(
            """
import sys, tempfile, pathlib
_folder = tempfile.mkdtemp()
pathlib.Path(_folder, "nbckpt_test_steps.py").write_text('''
import nbckpt
CALLS = ["x"]
@nbckpt.resumable
def train(xs, n):
    done = []
    add = lambda v: done.append((v, CALLS[0]))
    for x in xs:
        for k in range(n):
            add(x * k)
    return done
class Trainer:
    def __init__(self, n):
        self.n, self.seen = n, []
    @nbckpt.resumable
    def fit(self):
        for k in range(self.n):
            self.seen += train([k], 2)
        return self
''')
sys.path.insert(0, _folder)
sys.modules.pop("nbckpt_test_steps", None)
""",
        ),
        needs_before=True,
        loose=frozenset(),
        unsaved=frozenset({"_folder"}),
        at_least=10,
    ),
]
PROGRAMS += [
    Program(
        "functions_that_return_comprehensions",
        "Their comprehensions are plain, in every kind of statement.",
        """
import nbckpt, ledger
@nbckpt.resumable
def squares(n):
    xs = [ledger.note(k) or k for k in range(n)]
    for k in range(n):
        xs += [x * k for x in xs[:2]]
        for j in range(1):
            if k == 3:
                return {x: k for x in xs}
    ys: set = {x for x in xs}
    [ys.add(k) for k in range(2)]
    return [x for x in ys]
squares(3), squares(4)
""",
        at_least=15,
    ),
    Program(
        "nbckpt_loop_with_a_list",
        "An undecorated function's loop keeps its progress; its list comes back in place, shared with a global.",
        """
import random, nbckpt, ledger
registry = {}
def train(n):
    history = []
    print("begin")
    for epoch in nbckpt.loop(range(n), state=history):
        history.append((epoch, random.random()))
        registry["latest"] = history
        ledger.note(epoch)
        print("epoch", epoch)
    return history
x = train(4)
y = [train(2), x is registry["latest"]]
registry["latest"] is y[0]
""",
        at_least=8,
    ),
    Program(
        "nbckpt_loop_with_objects_and_arrays",
        "Objects, arrays, dicts, generators as states; the loop variable of the cell's own loop around it.",
        """
import numpy as np, random, nbckpt, ledger
class Model:
    def __init__(self):
        self.w, self.log = np.zeros(3), []
def fit(model, start):
    total, best, rng = np.zeros(2), {"value": start}, random.Random(start)
    seen = set()
    for k in nbckpt.loop(range(3), state=(total, best, rng, seen, {"m": model, "t": total})):
        total += k + rng.random()
        model.w[0] += total[0]
        model.log.append(best)
        best["value"] = max(best["value"], k)
        seen.add(k)
        ledger.note((start, k))
    return total, best, rng.random(), seen
model, done = Model(), []
for start in [1, 2]:
    done.append(fit(model, start))
for start in (5,): done.append(fit(Model(), start))
n = 0
while n < 2:
    n += 1; done.append(fit(model, n))
model.log, len(done)
""",
        at_least=10,
    ),
    Program(
        "nbckpt_loops_in_one_statement",
        "What a statement had evaluated is kept, and the loops in it are not among those that are counted.",
        """
import nbckpt, ledger
def sums(xs):
    state = {"s": 0}
    for k in nbckpt.loop(xs, state=state):
        if k == 5: break
        state["s"] += k
        ledger.note(k)
    return state
def listed(n):
    found = []
    for k in nbckpt.loop(range(n), state=found):
        found.append(k)
        ledger.note(("listed", k))
    return found
a = {"sums": sums((4, 5)), "one": listed(1), "two": listed(2)}
b = [sums([1, 2]), *listed(2), sums([3])["s"] + len(listed(2))]
for k in range(2):
    a[k] = sums([k, 3]), listed(2)
""",
        at_least=15,
    ),
    Program(
        "nbckpt_loops_nested",
        "Loops in loops and in functions called from them, and in a function that a resumable one calls.",
        """
import nbckpt, ledger
state = {"sum": 0}
def batches(epoch):
    for b in nbckpt.loop([10, 20, 30], state=state):
        state["sum"] += b * epoch
        ledger.note((epoch, b))
def plain(n):
    for epoch in nbckpt.loop(range(n), state=state):
        batches(epoch)
@nbckpt.resumable
def outer(n):
    local = [0]
    for k in range(2):
        plain(n)
        for _ in range(1):
            local.append(state["sum"])
    return local
a = outer(2)
plain(1)
a, state
""",
        at_least=10,
    ),
]
