"""Cells to kill a real kernel in: each is what it is about, the cell, where to hold, and what an earlier cell made."""

BEFORE = """
import numpy as np
class Model:
    def __init__(self):
        self.w, self.steps = np.zeros(3), 0
    def step(self, x):
        self.w += x * scale
        self.steps += 1
scale = 2
model = Model()
history = [model]
"""

CELLS = {
    "recursion in a function": (
        """
import gate, nbckpt, random
random.seed(1)
steps = []
@nbckpt.resumable
def descend(depth, path):
    found = []
    for k in range(2):
        path.append((depth, k))
        gate.hold((depth, k, len(path)))
        steps.append(random.random())
        if depth:
            found += descend(depth - 1, path)
        found.append((depth, k))
    return found
path = []
found = descend(2, path)
print(found)
(path, steps)
""",
        (0, 1, 11),
    ),
    "nested loops with random numbers": (
        """
import gate, random
random.seed(3)
total, seen = 0, []
for epoch in range(4):
    noise = random.random()
    for batch in range(3):
        total += noise * random.random()
        seen.append((epoch, batch))
        gate.hold((epoch, batch))
    print("epoch", epoch, f"{total:.12f}")
total
""",
        (2, 1),
    ),
    "a model of an earlier cell": (
        """
import gate
for epoch in range(3):
    for x in np.arange(3.0):
        model.step(x)
        gate.hold((epoch, int(x)))
    print(epoch, model.steps, model.w)
history[0] is model
""",
        (1, 1),
    ),
    "classes and functions of the cell": (
        """
import enum, gate
from collections import namedtuple
class Mode(enum.Enum):
    A = 1
    B = 2
class Box:
    def __init__(self, n):
        self.n = n
    def up(self):
        self.n += 1
        return self
Pair = namedtuple("Pair", "left right")
def counter():
    n = 0
    def up():
        nonlocal n
        n += 1
        return n
    return up
up, boxes, mode = counter(), [], Mode.A
for k in range(5):
    boxes.append(Pair(Box(k).up(), mode))
    for box in boxes:
        box.left.up()
        gate.hold((k, up()))
    mode = Mode.B
isinstance(boxes[0].left, Box), boxes[0].right is Mode.A, up()
""",
        (3, 8),
    ),
    "top-level await": (
        """
import asyncio, gate
async def ticks(n):
    for k in range(n):
        await asyncio.sleep(0)
        yield k
log = []
async for a in ticks(3):
    for b in await asyncio.sleep(0, [1, 2]):
        log.append((a, b))
        gate.hold((a, b))
    print("a", a)
await asyncio.sleep(0, len(log))
""",
        (1, 2),
    ),
    "a shuffled generator": (
        """
import gate
import numpy as np
rng = np.random.default_rng(5)
data = np.arange(8)
def batches():
    order = rng.permutation(len(data))
    for k in range(0, len(data), 2):
        yield data[order[k:k + 2]]
log = []
for epoch in range(2):
    for batch in batches():
        log.append((int(batch.sum()), rng.random()))
        gate.hold((epoch, len(log)))
log
""",
        (1, 6),
    ),
    "tqdm": (
        """
import gate
from tqdm import tqdm
losses = []
bar = tqdm(range(6), desc="train")
for k in bar:
    losses.append(k / 2)
    bar.set_postfix(loss=losses[-1])
    gate.hold(k)
print(bar.n)
""",
        3,
    ),
    "while and try": (
        """
import gate
k, log = 0, []
try:
    while True:
        k += 1
        for j in range(2):
            log.append((k, j))
            gate.hold((k, j))
        if k == 4:
            raise ValueError("enough")
except ValueError as error:
    log.append(str(error))
finally:
    log.append("finally")
log[-3:]
""",
        (3, 0),
    ),
    "displays": (
        """
import gate, sys
from IPython.display import HTML, display
for k in range(4):
    print("out", k)
    display(HTML(f"<b>{k}</b>"), {"k": k})
    print("err", k, file=sys.stderr)
    gate.hold(k)
k
""",
        2,
    ),
    "files moved and made while they are listed": (
        """
import gate, glob, shutil
from pathlib import Path
place = Path("listing")
shutil.rmtree(place, ignore_errors=True)
(place / "done").mkdir(parents=True)
for name in "abcdef":
    (place / f"{name}.txt").write_text(name)
seen = set()
for k, path in enumerate(place.glob("*.txt")):
    for copy in "xyz":
        path.with_name(f"{path.stem}_{copy}.txt").write_text("copy")
        gate.hold((k, copy))
    if path.exists():
        path.rename(place / "done" / path.name)
    seen.add(path.name)
for path in glob.iglob("listing/done/*"):
    Path(path + ".more").write_text("")
    seen.add(path)
del path
sorted(seen)
""",
        (3, "y"),
    ),
}
