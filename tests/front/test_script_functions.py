"""Resumable functions, and `nbckpt.loop`, in the block of a script."""

from __future__ import annotations

import inspect
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import nbckpt

if TYPE_CHECKING:
    from conftest import Scripts

HEAD = """
import functools
import random
import nbckpt
random.seed(4)
block = functools.partial(nbckpt.checkpointed, "s", store="store", quiet=True)
@nbckpt.resumable
def train(model, n, *, rate=1):
    gained = []
    for k in range(n):
        for j in range(2):
            model["w"] += rate * random.random()
            gained.append((k, j, model["w"]))
    return gained
"""

PROGRAMS = {
    "calls in an iteration, with what is done between": (
        """
model, log = {"w": 0.0}, []
with block(vars=["model", "log"]) as ckpt:
    for epoch in ckpt.loop(range(2)):
        rate = random.random()
        log.append(("begun", epoch, rate))
        gained = train(model, 2, rate=rate)
        log.append(len(gained))
        noise = random.random()
        more = train(model, 1)
        log.append((gained, more, noise, rate))
result = model, log
""",
        12,
    ),
    "no loop in the block": (
        """
model, log = {"w": 0.0}, []
with block(vars=["model", "log"]) as ckpt:
    if not ckpt.resumed:
        log.append("once")
    first = train(model, 2)
    second = [train(model, 1), train(model, 1)]
    log.append(second)
result = model, log, first, second
""",
        8,
    ),
    "recursion and nested calls": (
        """
@nbckpt.resumable
def fib(n):
    seen.append(n)
    for _ in range(1):
        pass
    if n < 2:
        return n
    return fib(n - 1) + fib(n - 2)
@nbckpt.resumable
def outer(n):
    total = 0
    for k in range(n):
        total += fib(k + 1)
    return total
seen, total = [], 0
with block(vars=["seen", "total"]) as ckpt:
    for a in ckpt.loop([1, 2]):
        total += outer(a)
result = seen, total
""",
        10,
    ),
    "methods, of an object that is a loop's item": (
        """
class Node:
    def __init__(self, n):
        self.n, self.log = n, []
    @nbckpt.resumable
    def grow(self, by, *more, **named):
        for k in range(by):
            for j in range(2):
                self.n += k + j
                self.log.append((k, j, more, named))
        return self
    @classmethod
    @nbckpt.resumable
    def made(cls, n):
        for k in range(2):
            n += k
            for j in range(1):
                pass
        return cls(n)
nodes = [Node(1), Node(2)]
with block(vars=["nodes"]) as ckpt:
    for node in ckpt.loop(nodes):
        assert node.grow(2, 5, x=6) is node
        node.log.append(Node.made(3).n)
result = [(node.n, node.log) for node in nodes]
""",
        12,
    ),
    "closures": (
        """
def make(step):
    seen = []
    @nbckpt.resumable
    def walk(n):
        nonlocal step
        for k in range(n):
            step += 1
            for j in range(2):
                seen.append((k, j, step))
        return len(seen)
    return walk, seen
(walk, seen), b = make(5), 0
with block(vars=["walk", "seen", "b"]) as ckpt:
    for a in ckpt.loop(range(2)):
        b = walk(2)
result = seen, b, walk(1)
""",
        8,
    ),
    "errors that are caught, and loops of the block beside calls": (
        """
@nbckpt.resumable
def fails(n):
    for k in range(2):
        log.append((n, k))
    if n == 1:
        raise KeyError(n)
    return n
log, got = [], None
with block(vars=["log", "got"]) as ckpt:
    for a in ckpt.loop([1, 2]):
        try:
            got = fails(a)
        except KeyError as error:
            got = repr(error)
        for b in ckpt.loop(range(2)):
            got = (got, fails(5))
        else:
            done = fails(7)
        log.append(got)
result = log
""",
        20,
    ),
    "through code that is not resumable": (
        """
def both(model):
    return [train(model, 1), *map(lambda n: train(model, n), [1])]
model, rows = {"w": 0.0}, []
with block(vars=["model", "rows"]) as ckpt:
    for a in ckpt.loop(range(2)):
        rows.append(both(model))
        rows.append(sorted([1, 0], key=lambda n: len(train(model, n))))
result = rows, model
""",
        10,
    ),
    "in a function, with its state": (
        """
def main():
    with block() as ckpt:
        if not ckpt.resumed:
            ckpt.state.model, ckpt.state.log = {"w": 0.0}, []
        for epoch in ckpt.loop(range(2)):
            rate = random.random()
            gained = train(ckpt.state.model, 2, rate=rate)
            also = train({"w": epoch}, 1)
            ckpt.state.log.append((gained, also, rate))
        return ckpt.state.model, ckpt.state.log
result = main()
""",
        12,
    ),
    "awaited": (
        """
import asyncio
@nbckpt.resumable
async def fetch(n):
    got = []
    for k in range(n):
        for j in range(2):
            await asyncio.sleep(0)
            got.append((k, j, random.random()))
    return got
async def main():
    with block() as ckpt:
        if not ckpt.resumed:
            ckpt.state.rows = []
        for a in ckpt.loop(range(2)):
            first = await fetch(2)
            ckpt.state.rows.append((first, await fetch(1)))
        return ckpt.state.rows
result = asyncio.run(main())
""",
        10,
    ),
    "nbckpt.loop in functions that are not resumable": (
        """
registry = {}
def fit(n):
    history = [random.random()]
    for epoch in nbckpt.loop(range(n), state=history):
        history.append((epoch, random.random()))
        registry["latest"] = history
    history.append("end")
    return history
rows = []
with block(vars=["rows", "registry"]) as ckpt:
    for a in ckpt.loop(range(2)):
        first = fit(2)
        second = fit(a)
        rows.append((first, second, second is registry["latest"]))
result = rows
""",
        6,
    ),
    "nbckpt.loop and resumable functions in one another": (
        """
def fit(model, n):
    history = []
    for epoch in nbckpt.loop(range(n), state=history):
        history.append(train(model, 1))
    return history
@nbckpt.resumable
def outer(model, n):
    rows = []
    for k in range(n):
        rows.append(fit(model, 2))
    return rows
model, rows = {"w": 0.0}, []
with block(vars=["model", "rows"]) as ckpt:
    for a in ckpt.loop(range(2)):
        rows.append(fit(model, 2))
        rows.append(outer(model, 1))
result = rows, model
""",
        12,
    ),
}


@pytest.mark.parametrize(("source", "at_least"), PROGRAMS.values(), ids=PROGRAMS)
def test_killed_at_every_boundary(scripts: Scripts, source: str, at_least: int) -> None:
    """Inside of functions too; and nothing is done again."""
    scripts.kill_everywhere(HEAD + source, at_least)


KILLED = (
    HEAD
    + """
import os, signal, sys
from nbckpt.run.checkpoint import Run
boundary, left = Run.boundary, int(sys.argv[1])
def kill(run, place, *, turn):
    global left
    boundary(run, place, turn=turn)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
Run.boundary = kill
model, log = {"w": 0.0}, []
with nbckpt.checkpointed("s", vars=["model", "log"], store="store", every="1it") as ckpt:
    for epoch in ckpt.loop(range(2)):
        log.append(random.random())
        log.append(train(model, 2))
        for part in ckpt.loop("ab"):
            log.append(part)
print(model, log)
"""
)


def test_a_process_killed_again_and_again(workplace: Path) -> None:
    """By SIGKILL, some boundaries on each time: it ends with the result of one that never was."""
    Path("script.py").write_text(KILLED)

    def run(die: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "ignore", "script.py", str(die)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    reference = run(0)
    assert reference.returncode == 0, reference.stderr
    shutil.rmtree("store")
    kills = 0
    while (last := run(7)).returncode == -signal.SIGKILL and kills < 20:
        kills += 1
    assert last.returncode == 0, last.stderr
    assert last.stdout == reference.stdout
    assert kills >= 2


def test_what_would_be_lost_is_refused(scripts: Scripts) -> None:
    """A local variable that a finished call has changed is not made again: that is said, and nothing is computed."""
    source = (
        HEAD
        + """
def main(**options):
    with block(**options) as ckpt:
        model = {"w": 0.0}
        for epoch in ckpt.loop(range(2)):
            train(model, 1)
            train({"w": 1}, 2)
        return model
result = main(%s)
"""
    )
    scripts.kill(source % "", 8)
    with pytest.raises(nbckpt.RestoreError, match=r"model was given to a function .* keep it on ckpt\.state"):
        scripts.execute(source % "")
    scripts.execute(source % "on_change='resume'")


def test_another_way_is_refused(scripts: Scripts) -> None:
    """A block that calls something else on the way back is not gone on with."""
    source = (
        HEAD
        + """
model = {"w": 0.0}
@nbckpt.resumable
def other(n):
    return n
with block(vars=["model"]) as ckpt:
    for epoch in ckpt.loop(range(2)):
        %s
        train(model, 2)
"""
    )
    scripts.kill(source % "train(model, 1)", 8)
    with pytest.raises(nbckpt.RestoreError, match=r"a call of other\(\) where train\(\) was called"):
        scripts.execute(source % "other(1)")
    with pytest.raises(nbckpt.RestoreError, match="without coming to the loop or call"):
        scripts.execute(HEAD + "with block(vars=[]): pass")


def test_a_global_that_is_not_saved_is_named(scripts: Scripts) -> None:
    """A function that binds a variable of the module needs it in `vars`."""
    scripts.execute(
        HEAD + "total = 0\n@nbckpt.resumable\ndef add():\n    global total\n    total += 1\n"
        "with block(vars=[]) as ckpt:\n    add()\n"
    )
    assert any("add() binds total, which vars does not name" in notice for notice in scripts.notices)


def test_functions_are_themselves_again_after_the_block(scripts: Scripts) -> None:
    """And inside it their signature is what it was, threads call them plainly, and so does what they call."""
    source = (
        HEAD
        + """
import inspect, threading
code = train.__code__
got = []
with block(vars=[]) as ckpt:
    signature = inspect.signature(train)
    thread = threading.Thread(target=lambda: got.append(train({"w": 0.0}, 1)))
    thread.start()
    thread.join()
    try:
        train()
    except TypeError as error:
        said = str(error)
same = train.__code__ is code
"""
    )
    names = scripts.execute(source)
    assert names["same"]
    assert len(names["got"][0]) == 2
    assert names["signature"] == inspect.signature(names["train"])
    assert re.search(r"train\(\) missing 2 required positional arguments: 'model' and 'n'", names["said"])
    assert scripts.progress == []
