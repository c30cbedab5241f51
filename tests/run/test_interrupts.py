"""What an interrupt and a signal that ends the process do to a run, in this process."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nbckpt
from nbckpt.run import departure
from programs.harness import kernel

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends signals")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """What there was before is there afterwards, whatever a test does."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def steps(count: int = 5, **options: Any) -> Iterator[Any]:
    """The checkpoint and each step of a loop in a block."""
    with nbckpt.checkpointed("steps", every="1h", quiet=True, **options) as ckpt:
        if not ckpt.resumed:
            ckpt.state.begun, ckpt.state.done = [], []
        for step in ckpt.loop(range(count)):
            ckpt.state.begun.append(step)
            yield ckpt, step
            ckpt.state.done.append(step)


def go(acts: dict[int, Any], **options: Any) -> None:
    """Go through the steps; what is to be done in each is called with the checkpoint."""
    for ckpt, step in steps(**options):
        acts.get(step, lambda _: None)(ckpt)


def interrupt(_: Any = None) -> None:
    signal.raise_signal(signal.SIGINT)


def saved() -> dict[str, Any]:
    return nbckpt.load("steps")


def test_the_first_waits_for_the_boundary(workplace: Path) -> None:
    """The iteration ends, is saved, and KeyboardInterrupt comes there; the next run goes on behind it."""
    with pytest.raises(KeyboardInterrupt):
        go({2: interrupt})
    assert saved() == {"begun": [0, 1, 2], "done": [0, 1, 2]}
    assert [step for _, step in steps()] == [3, 4]
    assert saved()["done"] == list(range(5))


def test_the_second_comes_at_once(workplace: Path) -> None:
    """It is raised in the middle of the iteration; the snapshot before stands."""

    def twice(_: Any) -> None:
        interrupt()
        interrupt()
        pytest.fail("it went on")

    with pytest.raises(KeyboardInterrupt):
        go({1: lambda ckpt: ckpt.save(), 3: twice})
    assert saved()["done"] == [0, 1]


def test_an_interrupt_in_what_comes_last(workplace: Path) -> None:
    """The end is saved, and then it is raised: what follows the block does not run."""

    def block() -> None:
        with nbckpt.checkpointed("steps", quiet=True) as ckpt:
            ckpt.state.x = 1
            interrupt()

    with pytest.raises(KeyboardInterrupt):
        block()
    with nbckpt.checkpointed("steps", quiet=True) as ckpt:
        assert ckpt.completed
        assert ckpt.state.x == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_handed_on_to_the_handler_there_was(number: int, workplace: Path) -> None:
    """It is called once, when the state is saved; if it returns, the run goes on."""
    found: list[Any] = []
    signal.signal(number, lambda got, _: found.append((got, saved()["done"])))
    for _, step in steps():
        if step == 1:
            signal.raise_signal(number)
            assert not found
    assert found == [(number, [0, 1])]
    assert saved()["done"] == list(range(5))


def test_a_term_after_an_interrupt_is_no_second_one(workplace: Path) -> None:
    """As Jupyter sends them in a restart: the boundary is waited for all the same."""

    def end(*_: object) -> None:
        raise SystemExit(3)

    def restart(_: Any) -> None:
        interrupt()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    with pytest.raises(SystemExit):
        go({2: restart})
    assert saved()["done"] == [0, 1, 2]


def test_no_boundary_within_the_grace(workplace: Path) -> None:
    """Then the handler that there was is called in the middle of the iteration."""
    called = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: called.set())
    for _, step in steps(3, grace="0.05s"):
        if step == 1:
            signal.raise_signal(signal.SIGTERM)
            assert called.wait(60)


def test_handlers_are_put_back(workplace: Path) -> None:
    """Those that there were, but not over one that the block has put in their place; an ignored signal stays so."""
    own = lambda *_: None
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with nbckpt.checkpointed("steps", quiet=True):
        assert signal.getsignal(signal.SIGINT) is not before[0]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with nbckpt.checkpointed("inner", quiet=True):
            pass
        signal.signal(signal.SIGTERM, own)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == (before[0], own)
    assert signal.set_wakeup_fd(-1) == -1


def test_a_wakeup_fd_of_somebody_else_stays(workplace: Path) -> None:
    """An event loop's is not taken away, and the interrupt works all the same."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    try:
        with pytest.raises(KeyboardInterrupt):
            go({2: interrupt})
        assert signal.set_wakeup_fd(-1) == writing
        assert os.read(reading, 10) == bytes([signal.SIGINT])
    finally:
        signal.set_wakeup_fd(-1)
        os.close(reading)
        os.close(writing)
    assert saved()["done"] == [0, 1, 2]


def test_another_thread_has_no_signals(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It runs, and a line says what protects it."""
    thread = threading.Thread(target=lambda: [step for _, step in steps()])
    thread.start()
    thread.join()
    assert saved()["done"] == list(range(5))
    assert "does not run in the main thread" in capfd.readouterr().err


def test_a_nested_run_stops_at_its_own_boundary(workplace: Path) -> None:
    """The inner one is saved; the outer one's snapshot before stands, and both go on."""
    done: list[tuple[int, int]] = []

    def work(interrupt_at: tuple[int, int] | None) -> None:
        with nbckpt.checkpointed("outer", every="1it", quiet=True) as outer:
            for k in outer.loop(range(3)):
                with nbckpt.checkpointed(f"inner{k}", every="1h", quiet=True) as inner:
                    for j in inner.loop(range(3)):
                        done.append((k, j))
                        if (k, j) == interrupt_at:
                            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        work((1, 1))
    work(None)
    assert done == [(k, j) for k in range(3) for j in range(3)]


def test_a_child_that_the_interrupt_has_ended(workplace: Path) -> None:
    """Its iteration did not do what it should: it is not saved, but run again."""
    # the child interrupts its parent and itself, as Ctrl-C in a terminal does
    code = "import os, signal; signal.signal(2, signal.SIG_DFL); [os.kill(p, 2) for p in (os.getppid(), 0)]"

    def call(_: Any) -> None:
        subprocess.run([sys.executable, "-c", code], check=False, start_new_session=True)

    with pytest.raises(KeyboardInterrupt):
        go({0: lambda ckpt: ckpt.save(), 2: call})
    assert saved()["done"] == [0]


def test_a_forked_child_works_on(workplace: Path) -> None:
    """As a worker must that its parent's iteration waits for; a signal to it is none of its parent's."""
    for _, step in steps(3):
        if step == 1:
            pid = os.fork()
            if pid == 0:
                signal.raise_signal(signal.SIGINT)
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            pid = os.fork()
            if pid == 0:
                signal.raise_signal(signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
    assert saved()["done"] == [0, 1, 2]


def test_code_that_catches_it_goes_on(workplace: Path) -> None:
    """The interrupt is done with: the next one is a first one again."""
    count = 0
    with nbckpt.checkpointed("steps", every="1h", quiet=True) as ckpt:
        for _ in range(2):
            try:
                for _ in ckpt.loop(range(100)):
                    count += 1
                    if count in (3, 5):
                        signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                continue
    assert count == 5


def test_asked_to_stop_by_somebody_else(workplace: Path) -> None:
    """The same from another thread, with the reason."""

    def ask(ckpt: Any) -> None:
        thread = threading.Thread(target=ckpt._run.interrupts.ask, args=["the machine is reclaimed"])
        thread.start()
        thread.join()

    with pytest.raises(KeyboardInterrupt):
        go({2: ask})
    assert saved()["done"] == [0, 1, 2]


CELLS = {
    "for": "for k in range(10**9):\n    if k == 250_000:\n        interrupt()",
    "while": "k = 0\nwhile True:\n    k += 1\n    if k == 1000:\n        interrupt()",
    "comprehension": "xs = [k if k != 5000 else interrupt() for k in range(10**9)]",
    "set comprehension": "xs = {k if k != 5000 else interrupt() for k in range(10**9) if k % 2 == 0}",
    "iterator": "count = 0\nfor k in iter(int, 1):\n    count += 1\n    if count == 1000:\n        interrupt()",
    "resumable": "@nbckpt.resumable\ndef f():\n    for k in range(10**9):\n        k == 1000 and interrupt()\nf()",
    "nbckpt.loop": "def f():\n    for k in nbckpt.loop(range(10**9)):\n        k == 1000 and interrupt()\nf()",
    "before a statement": "interrupt()\nx = 1",
    "async for": "async def items():\n    while True:\n        yield 1\ncount = 0\nasync for k in items():\n"
    "    count += 1\n    if count == 1000:\n        interrupt()",
}


@pytest.mark.parametrize("about", CELLS)
def test_a_cell_stops(about: str, workplace: Path) -> None:
    """A tight loop ends after the iteration, however far its end is, and the traceback is the user's own."""
    with kernel() as book:
        book.run("import signal, nbckpt\ndef interrupt():\n    signal.raise_signal(signal.SIGINT)\n")
        result = book.run(f"%%checkpointed train --every 1h\n{CELLS[about]}\n")
        assert type(result.error_in_exec) is KeyboardInterrupt
        assert book.status.left == "saved"
        assert "nbckpt/" not in book.shell.tracebacks[-1]


def test_a_cell_whose_last_statement_is_interrupted(workplace: Path) -> None:
    """It is finished and saved with its result; the reply is an error, so that no other cell is run."""
    with kernel() as book:
        book.run("import signal")
        result = book.run("%%checkpointed train\nsignal.raise_signal(signal.SIGINT)\n5\n")
        assert type(result.error_in_exec) is KeyboardInterrupt
        assert book.run("%%checkpointed train\nsignal.raise_signal(signal.SIGINT)\n5\n").result == 5


def test_a_handler_of_the_scripts_own_has_the_last_word_at_the_end(workplace: Path) -> None:
    """As at any other boundary: it is called once what came last is saved, and nothing is raised over its head."""
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    with nbckpt.checkpointed("steps", every="1h", quiet=True) as ckpt:
        ckpt.state.done = list(ckpt.loop(range(3)))
        interrupt()
        assert heard == []
    assert heard == [signal.SIGINT]
    assert saved()["done"] == [0, 1, 2]


def test_a_handler_that_was_taken_for_the_one_before(workplace: Path) -> None:
    """What the cell put in its place puts it back when the run is over: it then does what was done before the run."""
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    with nbckpt.checkpointed("steps", quiet=True):
        stale = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGINT, stale)
    interrupt()
    assert heard == [signal.SIGINT]


def test_a_run_that_cannot_start_leaves_nothing_behind(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handlers, its threads and its ears are gone, as nobody will tell it of its end."""

    def refuse(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(departure, "Watch", refuse)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with kernel() as book:
        result = book.run("%%checkpointed train\nx = 1\n")
        assert type(result.error_in_exec) is KeyboardInterrupt
        assert "publish" not in vars(book.shell.display_pub)
    with pytest.raises(KeyboardInterrupt):
        go({})
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    for thread in threading.enumerate():
        if thread.name.startswith("nbckpt"):
            thread.join(10)
            assert not thread.is_alive(), thread


def test_a_handler_that_the_code_has_put_over_it(workplace: Path) -> None:
    """The signal is that handler's: nothing is said of an end that does not come."""
    told: list[str] = []
    heard: list[int] = []

    def put(ckpt: Any) -> None:
        ckpt._run.interrupts._tell = told.append
        signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
        signal.raise_signal(signal.SIGTERM)
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        go({1: put}, grace=0.01)
    assert heard == [signal.SIGTERM]
    assert saved()["done"] == [0, 1]
    assert told in ([], [signal.SIGINT], [signal.SIGINT] * 2)


def test_an_interrupt_between_two_loops(workplace: Path) -> None:
    """The begin of the next loop is a boundary: none of its iterations is waited for, and nothing is run again."""
    ran: list[str] = []

    def block(*, stops: bool) -> None:
        with nbckpt.checkpointed("steps", every="1h", quiet=True) as ckpt:
            if not ckpt.resumed:
                ckpt.state.drawn = []
            for _ in ckpt.loop(range(2)):
                ckpt.state.drawn.append(random.random())
            if stops:
                interrupt()
            ckpt.state.between = random.random()
            for step in ckpt.loop(random.sample(range(100), 3)):
                ran.append("second")
                ckpt.state.drawn.append((step, random.random()))

    random.seed(1)
    block(stops=False)
    plain = saved()
    shutil.rmtree(".nbckpt")
    ran.clear()
    random.seed(1)
    with pytest.raises(KeyboardInterrupt):
        block(stops=True)
    assert ran == []
    random.seed(2)
    block(stops=False)
    assert ran == ["second"] * 3
    assert saved() == plain


VERIFYING = """
import nbckpt
from nbckpt.run import verification
verification._START = "import os, signal\\nos.killpg(os.getpgid(os.getppid()), signal.SIGINT)\\n" + verification._START
with nbckpt.checkpointed("steps", every="1it", verify=True) as ckpt:
    ckpt.state.done = []
    for step in ckpt.loop(range(5)):
        ckpt.state.done.append(step)
"""


def test_an_interrupt_while_a_snapshot_is_verified(workplace: Path) -> None:
    """It reaches a group of processes, from a terminal as from Jupyter, and the one that verifies is not of it."""
    done = subprocess.run(
        [sys.executable, "-c", VERIFYING],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == -signal.SIGINT, done.stderr
    assert "1 of 5, saved; run it again to go on there" in done.stderr
    assert "VerificationError" not in done.stderr
    assert saved()["done"] == [0]
