"""Loops: nested, left early, inside other blocks, over moving conditions."""

from .harness import Program

PROGRAMS = [
    Program(
        "three_deep",
        "Three loops deep, with work before, between and after them, every statement runs exactly once.",
        """
import ledger
total, seen = 0, []
for a in range(2):
    row = []
    for b in "xy":
        ledger.note((a, b))
        for c in [10, 20]:
            total += a + c
            ledger.note((a, b, c))
            row.append((b, c))
        seen.append(list(row))
    print(a, row)
print("end", total)
total
""",
        at_least=15,
        row="Loops: loops in loops, in `if`, `with` and `try`",
    ),
    Program(
        "while_with_moving_condition",
        "What a `while` body changes before its inner loop is not changed twice.",
        """
import ledger
k, log = 0, []
pend = [1, 2, 3]
while k < 3:
    k += 1
    ledger.note(k)
    for j in range(2):
        log.append((k, j))
while pend:
    n = pend.pop()
    for j in range(n):
        log.append((n, j))
    print(n)
while True:
    k -= 1
    for j in range(2):
        log.append(k)
    if k <= 0:
        break
k, len(log)
""",
        at_least=15,
        row="Loops: `while`, `break`, `continue`, `else`",
    ),
    Program(
        "break_continue_else",
        "`break`, `continue` and `else` of both loops go where they went.",
        """
import ledger
log = []
for n in range(2, 7):
    for d in range(2, n):
        if n % d == 0:
            log.append((n, "has", d))
            break
        if d == 3:
            continue
        log.append((n, d))
    else:
        ledger.note(n)
        log.append((n, "prime"))
    if n == 3:
        continue
    if n == 6:
        break
    log.append(n)
else:
    log.append("never")
for n in range(2):
    for m in range(2):
        pass
else:
    ledger.note("else")
    log.append("outer else")
log
""",
        row="Loops: `while`, `break`, `continue`, `else`",
    ),
    Program(
        "break_out_of_try_inside_loops",
        "A `break` and a `continue` from within `try` and `with` leave the right loop.",
        """
from contextlib import nullcontext
import ledger
log = []
for n in range(4):
    try:
        with nullcontext(n) as m:
            for j in range(3):
                if j == 2:
                    break
                log.append((m, j))
            if n == 1:
                continue
            if n == 3:
                break
    finally:
        log.append(("finally", n))
    ledger.note(n)
log
""",
    ),
    Program(
        "caught_around_a_loop",
        "An exception out of a loop reaches its handler, `else` and `finally`, once each.",
        """
import ledger
log = []
for limit in (2, 9):
    try:
        for k in range(4):
            ledger.note((limit, k))
            if k == limit:
                raise ValueError(f"at {k}")
            log.append((limit, k))
    except ValueError as problem:
        log.append(str(problem))
    else:
        log.append("whole")
    finally:
        log.append("finally")
        ledger.note("finally")
log
""",
    ),
    Program(
        "if_elif_else",
        "The branch taken is remembered, though what its test asked has changed since.",
        """
import ledger
mode, log = "a", []
if mode == "b":
    log.append("no")
elif mode == "a":
    mode = "c"
    for k in range(3):
        log.append((mode, k))
else:
    log.append("no")
flag = True
if flag:
    flag = False
    ledger.note("once")
    for k in range(2):
        for j in range(2):
            log.append((k, j))
else:
    for k in range(5):
        log.append("wrong")
if not log:
    pass
else:
    log.clear()
    for k in range(2):
        log.append(k)
log, flag
""",
    ),
    Program(
        "if_inside_loops",
        "Each turn's branch is its own.",
        """
log = []
for k in range(4):
    odd = k % 2
    if odd:
        odd = 0
        for j in range(2):
            log.append((k, j))
    elif k:
        k0 = k
        for j in "ab":
            log.append((k0, j))
    log.append(odd)
log
""",
    ),
    Program(
        "loops_in_a_with",
        "A context around the loop is made again, and its value is the live one.",
        """
from contextlib import contextmanager, suppress
log = []
@contextmanager
def opened(name):
    handle = {"name": name, "uses": 0}
    try:
        yield handle
    finally:
        log.append("closed " + name)
with opened("a") as one, opened("b") as two:
    for k in range(3):
        log.append((one["name"], two["name"], k))
with suppress(ZeroDivisionError):
    for k in range(3):
        log.append(1 // (1 - k))
log
""",
        at_least=8,
    ),
    Program(
        "file_in_a_with_read_in_the_loop",
        "An open file cannot be saved; the `with` around the loop opens it again and the lines left are read.",
        """
from pathlib import Path
Path("in.txt").write_text("one\\ntwo\\nthree\\nfour\\n")
lengths = []
with open("in.txt") as file:
    for line in file:
        lengths.append((line.strip(), len(line)))
        print(line, end="")
lengths
""",
        unsaved=frozenset({"file"}),
    ),
    Program(
        "empty_loops",
        "Loops of no turns are left behind like any statement.",
        """
import ledger
k = "kept"
for k in []:
    ledger.note("never")
while False:
    ledger.note("never")
for a in range(2):
    for b in range(0):
        ledger.note("never")
    for c in {}:
        ledger.note("never")
    else:
        ledger.note(a)
for none in ():
    for none in ():
        pass
k
""",
    ),
    Program(
        "no_loops_at_all",
        "Statement after statement, each runs once.",
        """
import ledger
x = [1]
ledger.note("a")
x.append(2)
ledger.note("b")
y = x
y += [3]
x
""",
    ),
    Program("one_expression", "A cell that is one expression gives it back.", "sum(range(10))\n", at_least=1),
    Program(
        "one_silent_expression",
        "A semicolon silences the result, now and when resumed.",
        "sum(range(10));\n",
        at_least=1,
    ),
    Program("no_value_at_the_end", "A cell whose last expression is None shows nothing.", "x = 1\nNone\n", at_least=2),
    Program(
        "walrus",
        "`:=` in conditions, headers and bodies binds the cell's names.",
        """
data = [3, 1, 2, 0, 5]
log = []
while (n := data.pop(0)) > 0:
    for j in range(n):
        log.append((n, j))
for x in (ys := [n + 1, n + 2]):
    for y in ys:
        if (s := x + y) > 2:
            log.append(s)
if (count := len(log)) > 2:
    for k in range(2):
        log.append((last := count + k))
n, s, last, ys
""",
    ),
    Program(
        "targets",
        "Loop targets of every shape are bound to the current item again.",
        """
class Box:
    pass
obj, d, xs, log = Box(), {}, [0, 0], []
for i, (a, b) in enumerate([(1, 2), (3, 4)]):
    for _ in range(1):
        log.append((i, a, b))
for head, *tail in [(1, 2, 3), (4, 5)]:
    for t in tail:
        log.append((head, t))
for d["k"] in "pq":
    for j in range(2):
        log.append((d["k"], j))
for obj.attr in range(2):
    for j in range(1):
        log.append(obj.attr)
for xs[1] in [7, 8]:
    for xs[0] in [5, 6]:
        log.append(list(xs))
for [p, q] in zip("ab", "cd"):
    log.append(p + q)
log
""",
        at_least=20,
    ),
    Program(
        "underscore_names",
        "`_`, names that begin with one, and names that only look like IPython's are the user's.",
        """
_cache, __deep = {}, []
for _ in range(3):
    _cache[_] = _ * 2
    for __ in "ab":
        __deep.append((_, __))
_x = len(_cache)
_i_total = _x + 1
""",
    ),
    Program(
        "loop_item_rebound_before_inner_loop",
        "A loop variable that the body binds anew keeps its new value inside the inner loop.",
        """
log = []
for x in [1, 2, 3]:
    x = x * 10 + 1
    for y in range(2):
        x = x + y
        log.append((x, y))
    log.append(x)
log
""",
    ),
    Program(
        "opaque_loops",
        "Loops in functions, comprehensions, handlers, `finally` and `match` run as one step.",
        """
import ledger
def squares(n):
    out = []
    for k in range(n):
        for j in range(2):
            out.append(k * j)
    return out
log = squares(3)
log += [k for k in range(3) for _ in range(2)]
try:
    1 / 0
except ZeroDivisionError:
    for k in range(2):
        log.append("handler")
        ledger.note(k)
finally:
    for k in range(2):
        log.append("finally")
for command in ("go 3", "stop", 7):
    match str(command).split():
        case ["go", n]:
            for k in range(int(n)):
                log.append(k)
        case ["stop"]:
            log.append("stop")
        case _:
            log.append("else")
    for k in range(2):
        log.append(command)
log
""",
    ),
    Program(
        "comprehensions_as_steps",
        "A comprehension that is a whole statement computes each element once and leaks no variable.",
        """
import ledger
def f(x):
    ledger.note(x)
    return x * x
xs = [f(x) for x in range(4) if x != 2]
ys = {k: f(k) for k in "ab" for _ in range(1)} if False else {k: k * 2 for k in "ab"}
zs = {z % 3 for z in range(5)}
[f(x) for x in (7, 8)]
""",
    ),
    Program(
        "deleted_names",
        "Names deleted by the cell stay deleted.",
        """
a, b, log = 1, [2], []
del a
for k in range(3):
    tmp = [k]
    for j in range(2):
        log.append(tmp[0] + j)
    del tmp
del k, j
items = {1: "a", 2: "b", 3: "c"}
for key in list(items):
    del items[key]
    log.append(len(items))
log
""",
        before=("a = 'given'\n",),
        row="Variables: names that the cell deleted",
    ),
    Program(
        "an_earlier_name_deleted",
        "A name from an earlier cell that the cell deletes is gone after resume, though its cell ran again.",
        """
kept = len(given)
del given
for k in range(3):
    kept += k
kept
""",
        before=("given = [1, 2, 3]\nother = 'untouched'\n",),
    ),
    Program(
        "assignments",
        "Augmented, annotated, chained and starred assignments, `global` and lambdas.",
        """
x: int = 1
y: list
x += 2
a = b = []
first, *rest = "abcd"
def bump(by=1):
    global counter
    counter = counter + by
counter = 10
for k in range(3):
    a += [k]
    counter += 1
    bump()
    for j in range(2):
        x -= 1
        bump(by=j)
b, counter, rest
""",
    ),
    Program(
        "an_error_at_the_end",
        "The plain cell fails, and so does the resumed one, with the same error after the same output.",
        """
log = []
for k in range(3):
    for j in range(2):
        log.append((k, j))
        print(k, j)
    if k == 2:
        {}["missing"]
""",
        fails="KeyError",
    ),
    Program(
        "blocks_in_blocks",
        "with in for in try in if in while are entered again, and left.",
        """
from contextlib import contextmanager
import ledger
log, rounds = [], 0
@contextmanager
def span(name):
    log.append("in " + name)
    yield name
    log.append("out " + name)
while rounds < 2:
    rounds += 1
    if rounds:
        try:
            with span("s") as s:
                pass
            for a in "xy":
                ledger.note((rounds, a))
                if a == "y":
                    for b in range(2):
                        log.append((rounds, a, b))
                        if b and rounds == 2:
                            raise KeyError(b)
                else:
                    log.append(a)
        except KeyError:
            log.append("caught")
        else:
            log.append("fine")
        finally:
            log.append("finally")
    log.append(rounds)
log
""",
        row="Loops: loops in loops, in `if`, `with` and `try`",
    ),
    Program(
        "continue_in_finally_and_else",
        "Loops that are left from a handler, and handlers inside loops.",
        """
import ledger
log = []
for k in range(4):
    try:
        for j in range(3):
            if j == k:
                raise LookupError(k)
            log.append((k, j))
    except LookupError as problem:
        kept = problem.args
        if k == 1:
            continue
        if k == 2:
            break
    ledger.note(k)
    log.append(k)
else:
    log.append("never")
log, kept
""",
    ),
    Program(
        "state_in_mutable_headers",
        "A header with an effect is evaluated once, though its loop is entered many times.",
        """
import ledger
calls = []
def source(n):
    calls.append(n)
    ledger.note(n)
    return list(range(n))
log = []
for a in source(3):
    for b in source(a):
        log.append((a, b))
while calls.append("test") or len(calls) < 9:
    for c in source(1):
        log.append(c)
len(calls)
""",
        at_least=12,
    ),
]
