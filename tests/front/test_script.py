"""The context manager: scripts and functions go on where they were."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tenacity

import nbckpt
from nbckpt.run.checkpoint import Run
from nbckpt.storage.repository import Repository


class Killed(BaseException):
    """Stands for SIGKILL where a whole process would be too slow: nothing in a script expects it."""


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[int]]:
    """Save at every boundary, and die after the n-th save if asked to."""
    saves: list[int] = []
    state: dict[str, int | None] = {"die": None}

    def boundary(run: Any, position: Any, *, turn: bool) -> None:
        run.schedule.due = True
        assert run.save(position), run.status.unprotected
        saves.append(len(saves))
        if len(saves) == state["die"]:
            raise Killed

    start = Run.start

    def started(run: Any) -> None:
        start(run)
        run.schedule.due = True

    monkeypatch.setattr(Run, "boundary", boundary)
    monkeypatch.setattr(Run, "start", started)

    def arm(die: int | None) -> list[int]:
        saves.clear()
        state["die"] = die
        return saves

    return arm


def execute(source: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a script as `__main__`, in a namespace of its own."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    exec(compile(textwrap.dedent(source), "script.py", "exec"), vars(module))
    return vars(module)


SCRIPTS = {
    "nested loops": """
        import nbckpt
        total, log = 0, []
        with nbckpt.checkpointed("s", vars=["total", "log"], store="store", quiet=True) as ckpt:
            for a in ckpt.loop(range(3)):
                for b in ckpt.loop([10, 20]):
                    total += a * b
                    log.append((a, b))
                total += 1
        result = total, log
        """,
    "loops one after another, with code between": """
        import nbckpt
        x, seen = 1, []
        with nbckpt.checkpointed("s", vars=["x", "seen"], store="store", quiet=True) as ckpt:
            for a in ckpt.loop("ab"):
                seen.append(a)
            x = x * 2
            seen.append(x)
            for b in ckpt.loop({"k": 1, "l": 2}.items()):
                seen.append((x, b))
        result = x, seen
        """,
    "a generator, random numbers and a shared object": """
        import random
        import nbckpt
        random.seed(4)
        xs = []
        ys = xs
        def draws():
            for _ in range(4):
                yield random.random()
        with nbckpt.checkpointed("s", vars=["xs", "ys"], store="store", quiet=True) as ckpt:
            for x in ckpt.loop(draws()):
                xs.append(x)
            xs.append(random.random())
        result = xs, ys is xs
        """,
    "objects of the script's own class, as items and as variables": """
        import nbckpt
        class Node:
            def __init__(self, n):
                self.n = n
        nodes = [Node(n) for n in range(3)]
        with nbckpt.checkpointed("s", vars=["nodes"], store="store", quiet=True) as ckpt:
            for node in ckpt.loop(nodes):
                for k in ckpt.loop(range(2)):
                    node.n += k + 1
        result = [node.n for node in nodes], [isinstance(node, Node) for node in nodes]
        """,
    "break and continue": """
        import nbckpt
        got = []
        with nbckpt.checkpointed("s", vars=["got"], store="store", quiet=True) as ckpt:
            for a in ckpt.loop(range(4)):
                if a == 1:
                    continue
                for b in ckpt.loop(range(5)):
                    if b == 2:
                        break
                    got.append((a, b))
                if a == 3:
                    break
        result = got
        """,
    "a function and its state": """
        import nbckpt
        def train():
            with nbckpt.checkpointed("s", store="store", quiet=True) as ckpt:
                if not ckpt.resumed:
                    ckpt.state.total = 0
                    ckpt.state.parts = []
                for a in ckpt.loop(range(3)):
                    for b in ckpt.loop(range(3)):
                        ckpt.state.total += a * b
                        ckpt.state.parts.append(b)
                return ckpt.state.total, ckpt.state.parts
        result = train()
        """,
}


@pytest.mark.parametrize("source", SCRIPTS.values(), ids=SCRIPTS)
def test_killed_at_every_boundary(
    source: str, everywhere: Callable[[int | None], list[int]], monkeypatch: pytest.MonkeyPatch, workplace: Path
) -> None:
    """A script that dies after any boundary's snapshot ends, run again, with the result it would have had."""
    saves = everywhere(None)
    reference = execute(source, monkeypatch)["result"]
    boundaries = len(saves)
    assert boundaries >= 4
    for die in range(1, boundaries + 1):
        shutil.rmtree("store")
        everywhere(die)
        with pytest.raises(Killed):
            execute(source, monkeypatch)
        saves = everywhere(None)
        assert execute(source, monkeypatch)["result"] == reference
        assert len(saves) == boundaries - die, "iterations that were done were done again"


def test_a_replay_beside_random_draws_is_refused_unless_trusted(
    everywhere: Callable[[int | None], list[int]], monkeypatch: pytest.MonkeyPatch, workplace: Path
) -> None:
    """A generator that draws in turn with the loop's body goes on with the numbers it would have had, if told to."""
    source = """
        import random
        import nbckpt
        random.seed(4)
        xs = []
        def draws():
            for _ in range(4):
                yield random.random()
        with nbckpt.checkpointed("s", vars=["xs"], store="store", quiet=True, on_change={on_change}) as ckpt:
            for x in ckpt.loop(draws()):
                xs.append((x, random.random()))
    """
    everywhere(None)
    reference = execute(source.format(on_change=None), monkeypatch)["xs"]
    shutil.rmtree("store")
    everywhere(2)
    with pytest.raises(Killed):
        execute(source.format(on_change=None), monkeypatch)
    everywhere(None)
    with pytest.raises(nbckpt.ReplayError, match="draws random numbers in turn"):
        execute(source.format(on_change=None), monkeypatch)
    assert execute(source.format(on_change="'resume'"), monkeypatch)["xs"] == reference


def test_a_replay_that_yields_other_items_is_refused(
    everywhere: Callable[[int | None], list[int]], monkeypatch: pytest.MonkeyPatch, workplace: Path
) -> None:
    """Finished items that are not what they were stop the resume before anything runs, unless told otherwise."""
    source = """
        from pathlib import Path
        import nbckpt
        xs = []
        def lines():
            yield from Path("items.txt").read_text().split()
        with nbckpt.checkpointed("s", vars=["xs"], store="store", quiet=True, on_change={on_change}) as ckpt:
            for x in ckpt.loop(lines()):
                xs.append(x)
    """
    Path("items.txt").write_text("a\nb\nc\n")
    everywhere(2)
    with pytest.raises(Killed):
        execute(source.format(on_change=None), monkeypatch)
    everywhere(None)
    Path("items.txt").write_text("a\n")
    with pytest.raises(nbckpt.ReplayError, match="ends after 1"):
        execute(source.format(on_change="'resume'"), monkeypatch)
    Path("items.txt").write_text("a\nB\nc\n")
    with pytest.raises(nbckpt.ReplayError, match="are not the ones they were"):
        execute(source.format(on_change=None), monkeypatch)
    assert execute(source.format(on_change="'resume'"), monkeypatch)["xs"] == ["a", "b", "c"]


def test_finished_script_has_its_result(monkeypatch: pytest.MonkeyPatch, workplace: Path) -> None:
    """Run again after its end, a script's loops yield nothing and its variables are there."""
    source = """
        import nbckpt
        done = []
        with nbckpt.checkpointed("s", vars=["done"], store="store", quiet=True) as ckpt:
            flags = ckpt.resumed, ckpt.completed
            ran = [x for x in ckpt.loop(range(3))]
            done = done + ran
    """
    first, second = execute(source, monkeypatch), execute(source, monkeypatch)
    assert (first["done"], first["flags"]) == ([0, 1, 2], (False, False))
    assert (second["ran"], second["done"], second["flags"]) == ([], [0, 1, 2], (True, True))


def test_a_longer_range_goes_on(
    everywhere: Callable[[int | None], list[int]], monkeypatch: pytest.MonkeyPatch, workplace: Path
) -> None:
    """A loop in progress may be extended; a loop whose done part differs may not."""
    source = """
        import nbckpt
        got = []
        with nbckpt.checkpointed("s", vars=["got"], store="store", quiet=True) as ckpt:
            for x in ckpt.loop({items}):
                got.append(x)
    """
    everywhere(2)
    with pytest.raises(Killed):
        execute(source.format(items="[5, 6, 7]"), monkeypatch)
    everywhere(None)
    with pytest.raises(nbckpt.CellChangedError, match="first 2 items"):
        execute(source.format(items="[5, 9, 7, 8]"), monkeypatch)
    assert execute(source.format(items="[5, 6, 7, 8]"), monkeypatch)["got"] == [5, 6, 7, 8]


def test_vars_inside_a_function_are_refused(workplace: Path) -> None:
    """A function's variables cannot be bound from outside, and the error says what to use instead."""
    with pytest.raises(nbckpt.OptionError, match=r"inside .*test_vars.*ckpt\.state"):
        nbckpt.checkpointed("s", vars=["x"])


def test_a_variable_that_cannot_be_saved_costs_no_compute(monkeypatch: pytest.MonkeyPatch, workplace: Path) -> None:
    """It is named with its path before the block begins."""
    source = """
        import nbckpt
        def numbers():
            yield 1
        holder = {"inner": [numbers()]}
        ran = []
        with nbckpt.checkpointed("s", vars=["holder"], store="store", quiet=True) as ckpt:
            ran.append(1)
    """
    with pytest.raises(nbckpt.UnpicklableError, match=r"holder\['inner'\]\[0\] cannot be saved: .*generator"):
        execute(source, monkeypatch)


def test_save_asks_for_the_next_boundary(monkeypatch: pytest.MonkeyPatch, workplace: Path) -> None:
    """`ckpt.save()` inside an iteration saves at its end; outside of loops, at once; `log` goes with it."""
    source = """
        import nbckpt
        n = 0
        with nbckpt.checkpointed("s", vars=["n"], store="store", keep=9, every="1h", quiet=True) as ckpt:
            ckpt.save()
            for n in ckpt.loop(range(5)):
                if n == 2:
                    ckpt.log(loss=0.5)
                    ckpt.save()
            raise SystemExit
    """
    with pytest.raises(SystemExit):
        execute(source, monkeypatch)
    newest, oldest = Repository.open("store").history("s")
    assert (newest.description["progress"], newest.description["metrics"]) == ("iteration 3 of 5", {"loss": 0.5})
    assert oldest.description["progress"] == "before a loop"


def test_load_gives_the_variables(monkeypatch: pytest.MonkeyPatch, workplace: Path) -> None:
    """`nbckpt.load` reads a checkpoint from anywhere and touches nothing; an unknown name is refused."""
    source = """
        import nbckpt
        class Box:
            def __init__(self, content): self.content = content
            def double(self): return 2 * self.content * factor
        factor = 3
        box = Box(7)
        with nbckpt.checkpointed("s", vars=["box", "factor"], store="store", quiet=True) as ckpt:
            for _ in ckpt.loop(range(2)):
                pass
    """
    execute(source, monkeypatch)
    elsewhere = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", elsewhere)
    before = set(vars(elsewhere))
    variables = nbckpt.load("s", store="store")
    assert variables["box"].double() == 42
    assert set(vars(elsewhere)) == before
    with pytest.raises(nbckpt.UnknownCheckpoint, match="no checkpoint 'nothing'"):
        nbckpt.load("nothing", store="store")
    assert not Path("nowhere").exists()
    with pytest.raises(nbckpt.UnknownCheckpoint):
        nbckpt.load("s", store="nowhere")
    assert not Path("nowhere").exists()


KILLED = """
import os, signal, sys
import nbckpt
die = int(sys.argv[1])
total, done = 0, []
with nbckpt.checkpointed("train", vars=["total", "done"], every="1it", store="store") as ckpt:
    for epoch in ckpt.loop(range(3)):
        for batch in ckpt.loop([1, 2, 3]):
            total += epoch * batch
            done.append((epoch, batch))
            if len(done) == die:
                os.kill(os.getpid(), signal.SIGKILL)
print(total, done)
"""


@pytest.fixture
def script(workplace: Path) -> Iterator[Callable[[int], subprocess.CompletedProcess[str]]]:
    Path("train.py").write_text(KILLED)

    def run(die: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "train.py", str(die)], capture_output=True, text=True, check=False)

    return run  # type: ignore[return-value]


def test_a_killed_process_goes_on(script: Callable[[int], subprocess.CompletedProcess[str]]) -> None:
    """A process killed by SIGKILL, again and again, ends with the result of one that never was."""
    for die in (2, 5, 8):
        assert script(die).returncode == -signal.SIGKILL
    last = script(0)
    expected = [(epoch, batch) for epoch in range(3) for batch in (1, 2, 3)]
    assert last.stdout.strip() == f"{sum(e * b for e, b in expected)} {expected}"
    assert "resumed at epoch 2 of 3, batch 1 of 3" in last.stderr


def test_a_block_is_tried_again_by_what_calls_it(
    workplace: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a library for that, as the README says; each time it goes on, and a line says where the next one would."""
    failed: list[int] = []

    @tenacity.retry(stop=tenacity.stop_after_attempt(4), wait=tenacity.wait_none())
    def train() -> list[int]:
        with nbckpt.checkpointed("steps", every="1it", store="store") as ckpt:
            if not ckpt.resumed:
                ckpt.state.seen = []
            for step in ckpt.loop(range(6)):
                ckpt.state.seen.append(step)
                if step == 3 and len(failed) < 2:
                    failed.append(step)
                    raise OSError("no route")
            seen: list[int] = ckpt.state.seen
            return seen

    assert train() == [0, 1, 2, 3, 4, 5]
    assert failed == [3, 3]
    said = capsys.readouterr().err
    assert said.count("stopped by OSError: no route; run it again to go on at step 3 of 6, saved ") == 2
