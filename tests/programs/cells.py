"""What a cell shows, awaits and asks of IPython."""

from .harness import Program

PROGRAMS = [
    Program(
        "output_of_every_kind",
        "stdout, stderr and displays come in their order, whole, after resume.",
        """
import sys
from IPython.display import display, HTML
for k in range(3):
    print("line", k)
    print("partial", end=" ")
    display({"k": k})
    for j in range(2):
        print("err", j, file=sys.stderr)
        sys.stdout.write(f"{k}{j}\\n")
display(HTML("<b>x</b>"), 5)
print("done")
"last"
""",
        row="Output: text and rich displays",
    ),
    Program(
        "several_expressions",
        "Only the last expression is the result; `_` is it afterwards.",
        """
1 + 1
x = [3]
x
"not shown"
for k in range(2):
    x.append(k)
x
""",
        after=("y = _\n",),
        row="Output: the last expression, `Out` and `_`",
    ),
    Program(
        "redirected_output",
        "Output redirected in the cell goes where it went.",
        """
import io
from contextlib import redirect_stdout
buffer = io.StringIO()
print("before")
with redirect_stdout(buffer):
    for k in range(3):
        print("inside", k)
print("after")
buffer.getvalue()
""",
    ),
    Program(
        "shell_and_line_magics",
        "`!`, `z = !cmd`, configuring magics and `%time`-like magics run as in a plain cell.",
        """
%config InteractiveShell.cache_size = 500
%env NBCKPT_TEST_VALUE=1
import os
lines = !echo one; echo two
for k in range(2):
    more = !echo {k}
    for line in lines:
        more.append(line)
os.environ["NBCKPT_TEST_VALUE"], list(more)
""",
        loose=frozenset({"stdout"}),
        row="Surroundings: shell commands and line magics",
    ),
    Program(
        "top_level_await",
        "`await` in headers, conditions and bodies is awaited once.",
        """
import asyncio
async def items(n):
    await asyncio.sleep(0)
    return list(range(n))
async def ready(k):
    await asyncio.sleep(0)
    return k < 3
log, k = [], 0
for x in await items(3):
    for y in await items(2):
        await asyncio.sleep(0)
        log.append((x, y))
while await ready(k):
    k += 1
    for j in range(2):
        log.append(await items(k))
if await ready(k - 1):
    for j in range(2):
        log.append(j)
await items(2)
""",
        row="Loops: `async for`, `async with`, `await`",
    ),
    Program(
        "async_for_and_async_with",
        "`async for` goes on with what is left, inside `async with` and nested.",
        """
import asyncio
class Ticker:
    def __init__(self, n):
        self.n, self.k = n, 0
    def __aiter__(self):
        return self
    async def __anext__(self):
        await asyncio.sleep(0)
        if self.k == self.n:
            raise StopAsyncIteration
        self.k += 1
        return self.k
class Session:
    async def __aenter__(self):
        await asyncio.sleep(0)
        return self
    async def __aexit__(self, *error):
        await asyncio.sleep(0)
async def agen(n):
    for k in range(n):
        await asyncio.sleep(0)
        yield k * 10
log, ticker = [], Ticker(3)
async for x in ticker:
    async for y in agen(2):
        log.append((x, y))
    log.append(x)
async with Session() as session:
    async for x in agen(3):
        for j in range(2):
            log.append((x, j))
        if x == 10:
            continue
        log.append("not ten")
    else:
        log.append("else")
ticker.k, log
""",
        at_least=20,
        row="Loops: `async for`, `async with`, `await`",
    ),
    Program(
        "last_expr_or_assign",
        "With `last_expr_or_assign` the value of a last assignment is shown and is the result.",
        """
total = 0
for k in range(3):
    total += k
answer = total * 2
""",
        before=("%config InteractiveShell.ast_node_interactivity = 'last_expr_or_assign'\n",),
        needs_before=True,
    ),
    Program(
        "all_expressions_shown",
        "With `all`, every top-level expression is shown, once.",
        """
1
x = 2
x + 1
for k in range(2):
    x += k
x
""",
        before=("%config InteractiveShell.ast_node_interactivity = 'all'\n",),
        needs_before=True,
    ),
    Program(
        "nothing_that_a_last_definition_shows",
        "With `last`, nothing is shown of a cell that ends in a definition, and it ends all the same.",
        """
x = []
for k in range(3):
    x.append(k)
    x
def f():
    return x
""",
        before=("%config InteractiveShell.ast_node_interactivity = 'last'\n",),
        needs_before=True,
    ),
    Program(
        "names_of_the_machinery",
        "Names that the rewriting might use are the user's, and docstrings, decorators and f-strings are untouched.",
        '''
"""A docstring of a cell."""
step = loop = end = frames = 1
run = {"turn": [step]}
for loop in range(2):
    for end in range(2):
        run["turn"].append(f"{loop=} {end!r:>3}")
frames, step, loop
''',
    ),
    Program(
        "continued_lines_and_comments",
        "Line continuations, comments, several statements on a line and multi-line strings.",
        '''
# a comment first
x = 1; y = [x]; z = \\
    3
text = """
  for k in range(3):
"""

for k in range(2): y.append(k); y.append(z)
if x: y.append("one-line if")
while z: z -= 1; y.append(z)
for k in range(2):
    # only a comment here
    for j in range(2): y.append((k, j))

    y.append(text.strip())
y
''',
    ),
    Program(
        "displays_that_are_updated",
        "A display handle goes on updating its display, and cleared output stays cleared.",
        """
from IPython.display import clear_output, display
print("heading")
handle = display("step 0", display_id="steps")
for k in range(3):
    handle.update(f"step {k}")
    for j in range(2):
        print(k, j)
for k in range(3):
    clear_output(wait=True)
    print("turn", k)
    for j in "ab":
        print(j)
        display(j)
"end"
""",
        at_least=20,
        row="Output: displays that are updated or cleared",
    ),
    Program(
        "carriage_returns",
        "Progress that overwrites its line looks the same.",
        """
for k in range(4):
    print(f"\\rprogress {k}", end="", flush=True)
    for j in range(2):
        print("." * j, end="")
print()
for k in range(3):
    print("line", k, end="\\r\\n" if k == 1 else "\\n")
""",
        row="Output: progress that overwrites its line",
    ),
    Program(
        "cleared_at_the_end",
        "What is cleared only when something else is shown stays where nothing else is.",
        """
from IPython.display import clear_output, display
for k in range(3):
    print("turn", k)
    display([k])
    clear_output(wait=True)
    for j in range(1):
        pass
""",
    ),
    Program(
        "lines_written_over",
        "Progress that ends with a carriage return, and shorter text over longer text.",
        """
import sys
print("heading")
for k in range(4):
    print(f"progress {k} of many", end="\\r")
    for j in range(2):
        print("now", j, end="\\r", file=sys.stdout)
        sys.stdout.write("Z" * j)
print()
for k in range(3):
    print("abcdef", end="\\r")
    print("xy", end="")
for j in range(2):
    print(j)
""",
    ),
    Program(
        "a_lot_of_output",
        "Long output comes back whole below the limit.",
        """
for k in range(3):
    print("x" * 50_000)
    for j in range(2):
        print("é" * 1000)
""",
        row="Output: text and rich displays",
    ),
]
