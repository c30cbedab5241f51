"""Handing snapshots over: who writes them, and what survives whose death."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gates import Gate, wait_for_end
from states import check, state

from nbckpt.errors import CheckpointConflict, OptionError, StoreError
from nbckpt.storage import arena, handover as handing
from nbckpt.storage.arena import Arena
from nbckpt.storage.handover import Handover
from nbckpt.storage.lease import wait_for_writer
from nbckpt.storage.process import WriterLostError
from nbckpt.storage.repository import Repository
from nbckpt.storage.snapshot import PartData
from nbckpt.storage.writer import Committed, Writer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")


class Saving:
    """The saves of one run, as a test wants to see them."""

    def __init__(self, store: Path) -> None:
        self.repository = Repository.open(str(store))
        self.told: list[str] = []
        self.hand: Handover | None = None

    def begin(self, run: str = "mine") -> Handover:
        based_on = self.repository.load("train")
        self.hand = Handover(
            self.repository, "train", keep=3, writer_info={"run": run}, based_on=based_on, tell=self.told.append
        )
        return self.hand

    def save(self, number: int, *, final: bool = False) -> Committed:
        assert self.hand is not None
        self.hand.hand_over(*state(number), final=final)
        outcome = self.hand.outcome(None)
        assert isinstance(outcome, Committed), outcome
        return outcome

    @property
    def newest(self) -> int:
        return check(self.repository.load("train"))

    @property
    def pid(self) -> int:
        (path,) = (Path(os.environ["NBCKPT_DATA_DIR"]) / "writers").iterdir()
        return int(json.loads(path.read_text())["pid"])


@pytest.fixture
def saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Saving]:
    monkeypatch.setenv("NBCKPT_WRITER", "process")
    new = Saving(tmp_path / "store")
    yield new
    if new.hand is not None:
        new.hand.close()


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    new = Gate(tmp_path / "gate")
    monkeypatch.setenv("PYTHONPATH", new.python_path)
    return new


@pytest.mark.parametrize("way", ["", "process", "thread", "sync"])
def test_every_way_saves(way: str, saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots follow each other, unchanged bytes are written once, also over the end of a run."""
    monkeypatch.setenv("NBCKPT_WRITER", way)
    first = saving.begin()
    assert not first.is_busy
    whole = saving.save(1).bytes_written
    assert saving.save(2).bytes_written < whole / 2
    first.close()
    second = saving.begin("another")
    assert saving.save(3, final=True).bytes_written < whole / 2
    assert saving.newest == 3
    assert [info.final for info in saving.repository.history("train")] == [True]
    assert second.outcome() is None
    assert saving.told == []


def test_small_snapshots_are_written_at_once(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started for a state that is written sooner than handed over, and one is for a big one."""
    monkeypatch.setenv("NBCKPT_WRITER", "")
    monkeypatch.setattr(handing, "QUICK", 60.0)
    hand = saving.begin()
    hand.hand_over({"number": 1}, [PartData("small", b"x", [], {})])
    assert not hand.is_busy
    assert isinstance(hand.outcome(), Committed)
    assert not (Path(os.environ["NBCKPT_DATA_DIR"]) / "writers").exists()
    saving.save(2)
    assert saving.pid


def test_an_unknown_way_is_refused(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, before any compute."""
    monkeypatch.setenv("NBCKPT_WRITER", "pigeon")
    with pytest.raises(OptionError, match="NBCKPT_WRITER=pigeon"):
        saving.begin()


def test_the_process_has_nothing_of_the_kernels(saving: Saving) -> None:
    """It is nobody's child, in a session of its own, and holds no descriptor but its own three."""
    saving.begin()
    saving.save(1)
    proc = Path("/proc", str(saving.pid))
    held = [str(path.readlink()) for path in (proc / "fd").iterdir()]
    kinds = {"socket:", "/memfd:nbckpt (deleted)", "/dev/null"}
    odd = [link for link in held if not link.startswith("socket:") and link not in kinds]
    assert all(link.endswith(".lock") or "(deleted)" in link for link in odd), odd
    assert (proc / "cwd").readlink() == Path("/")
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    assert int(fields[1]) != os.getpid(), "it is our child"
    assert os.getsid(saving.pid) != os.getsid(0)
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(saving.pid, number)
    saving.save(2)


def test_it_ends_with_the_run(saving: Saving) -> None:
    """Nothing of ours remains."""
    hand = saving.begin()
    saving.save(1)
    pid = saving.pid
    hand.close()
    wait_for_end(pid)


KERNEL = """
import sys
sys.path.insert(0, {tests!r})
from states import state
from nbckpt.storage.handover import Handover
from nbckpt.storage.repository import Repository
repository = Repository.open({store!r})
hand = Handover(repository, "train", keep=3, writer_info={{"run": "a"}}, based_on=None, tell=print)
hand.hand_over(*state(1))
print("handed over", flush=True)
print(hand.outcome(None), flush=True)
"""


@pytest.mark.parametrize("whole_group", [False, True])
def test_a_snapshot_in_flight_survives_the_kernel(whole_group: bool, saving: Saving, gate: Gate) -> None:
    """SIGKILL of the kernel, or of its whole group: the snapshot is finished, a new run waits, no process stays."""
    script = KERNEL.format(tests=str(Path(__file__).parent), store=saving.repository.url)
    kernel = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=whole_group
    )
    told: list[dict[str, Any]] = []
    with gate.held():
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == "handed over\n"
        if whole_group:
            os.killpg(kernel.pid, signal.SIGKILL)
        else:
            kernel.kill()
        kernel.communicate()
        assert saving.repository.load("train") is None
        assert not wait_for_writer(saving.repository.store_id, "train", told.append, patience=0.0)
    assert wait_for_writer(saving.repository.store_id, "train", lambda _: None)
    assert saving.newest == 1
    assert told == [{"pid": saving.pid, "kernel": kernel.pid}]
    wait_for_end(saving.pid)


def test_a_long_upload_says_that_it_is_alive(saving: Saving, gate: Gate) -> None:
    """So a new kernel waits for it, however long one operation of the store takes."""
    hand = saving.begin()
    hand.hand_over(*state(1))
    with gate.held():
        (path,) = (Path(os.environ["NBCKPT_DATA_DIR"]) / "writers").iterdir()
        os.utime(path, (0, 0))
        while not path.stat().st_mtime:
            os.sched_yield()
    assert isinstance(hand.outcome(None), Committed)


def test_a_kernel_that_dies_before_the_writer_has_started(saving: Saving, gate: Gate) -> None:
    """The lease is taken before anything is handed over, so that a new run waits for a writer that is only starting."""
    hand = saving.begin()
    hand.hand_over(*state(1))
    assert not wait_for_writer(saving.repository.store_id, "train", lambda _: None, patience=0.0)
    hand.close()
    gate.let_through()
    assert wait_for_writer(saving.repository.store_id, "train", lambda _: None)
    assert saving.newest == 1


def test_a_writer_that_is_killed_is_replaced(saving: Saving, gate: Gate) -> None:
    """The run hears of it, what was saved stays, and the next snapshot is saved by another process."""
    hand = saving.begin()
    hand.hand_over(*state(1))
    with gate.held():
        pid = saving.pid
        os.kill(pid, signal.SIGKILL)
        outcome = hand.outcome(None)
    assert isinstance(outcome, WriterLostError)
    assert f"pid {pid}" in str(outcome)
    hand.hand_over(*state(2))
    gate.let_through()
    assert isinstance(hand.outcome(None), Committed)
    assert saving.newest == 2
    assert saving.pid != pid
    os.kill(saving.pid, signal.SIGKILL)
    wait_for_end(saving.pid)
    hand.hand_over(*state(3))  # it is found to be gone only now
    gate.let_through()
    if isinstance(outcome := hand.outcome(None), WriterLostError):
        hand.hand_over(*state(3))
        outcome = hand.outcome(None)
    assert isinstance(outcome, Committed)
    assert outcome.seq == 2


def test_writers_that_are_killed_again_and_again(saving: Saving) -> None:
    """In the end a thread of this process saves."""
    hand = saving.begin()
    for number in range(1, 9):
        hand.hand_over(*state(number))
        if isinstance(hand.outcome(None), Committed) and not saving.told:
            os.kill(saving.pid, signal.SIGKILL)
            wait_for_end(saving.pid)
    assert "a thread of this one" in saving.told[0]
    assert saving.newest == 8


def test_a_lost_writer_is_not_replaced_over_another_run(saving: Saving) -> None:
    """Who has saved meanwhile keeps the name."""
    hand = saving.begin()
    saving.save(1)
    os.kill(saving.pid, signal.SIGKILL)
    wait_for_end(saving.pid)
    other = saving.repository.writer("train", writer_info={"run": "other"})
    other.commit(*state(7))
    hand._let_go()
    with pytest.raises(CheckpointConflict, match="another kernel"):
        hand.hand_over(*state(2))
    assert saving.newest == 7


def test_sigterm_finishes_what_is_in_flight(saving: Saving, gate: Gate) -> None:
    """As at the shutdown of a machine."""
    hand = saving.begin()
    hand.hand_over(*state(1))
    with gate.held():
        os.kill(saving.pid, signal.SIGTERM)
    assert isinstance(hand.outcome(None), Committed)
    wait_for_end(saving.pid)
    assert saving.newest == 1


@pytest.mark.parametrize("way", ["process", "thread", "sync"])
def test_errors_come_back_as_what_they_are(way: str, saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that fails and another run that saved are told apart, and saving works again when the store does."""
    monkeypatch.setenv("NBCKPT_WRITER", way)
    hand = saving.begin()
    saving.save(1)
    store = Path(saving.repository.url)
    shutil.move(store, store.with_name("away"))
    store.write_text("in the way")
    hand.hand_over(*state(2))
    error = hand.outcome(None)
    assert type(error) is StoreError
    assert error.errno is not None
    assert "choose another folder" in str(error)
    store.unlink()
    shutil.move(store.with_name("away"), store)
    saving.save(3)
    saving.repository.writer("train").commit(*state(7))
    hand.hand_over(*state(4))
    assert isinstance(hand.outcome(None), CheckpointConflict)
    assert saving.newest == 7


def test_what_a_snapshot_replaces_does_not_wait_for_the_next_one(
    saving: Saving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the loop stands still for it, a kernel that is killed between two snapshots leaves nothing behind."""
    monkeypatch.setenv("NBCKPT_WRITER", "sync")
    saving.begin()
    for number in range(1, 6):
        saving.save(number)
    assert len([*(Path(saving.repository.url) / "train" / "manifests").iterdir()]) == 3


def test_all_processor_time_of_the_writer_is_told(saving: Saving) -> None:
    """Also of starting it, and of deleting what the snapshots before have replaced."""
    saving.begin()
    told = sum(saving.save(number).processor for number in range(6))
    fields = Path(f"/proc/{saving.pid}/stat").read_text().rpartition(")")[2].split()
    used = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    assert told > 0.8 * used > 0.03


def test_the_processor_time_of_deleting_is_told_with_the_next_snapshot(
    saving: Saving, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidy = Writer.tidy

    def busy(writer: Writer) -> None:
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass
        tidy(writer)

    monkeypatch.setenv("NBCKPT_WRITER", "thread")
    monkeypatch.setattr(Writer, "tidy", busy)
    saving.begin()
    assert saving.save(0).processor < 0.2 <= saving.save(1).processor


def test_a_thread_that_could_not_be_started(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next snapshot is saved, and nobody waits for the thread that never was."""
    monkeypatch.setenv("NBCKPT_WRITER", "thread")
    hand = saving.begin()
    saving.save(1)

    def refused(_: object) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        with pytest.raises(RuntimeError):
            hand.hand_over(*state(2))
    hand.hand_over(*state(3))
    assert isinstance(hand.outcome(60), Committed)
    assert saving.newest == 3


def test_no_room_for_a_copy(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the loop stands still while the snapshot is written, which is said."""
    hand = saving.begin()
    monkeypatch.setattr(arena, "free_memory", lambda: 1000.0)
    hand.hand_over(*state(1))
    assert not hand.is_busy
    assert isinstance(hand.outcome(), Committed)
    assert "no room for a copy" in saving.told[0]
    saving.save(2)
    assert saving.newest == 2


@pytest.mark.parametrize("way", ["process", "thread", "sync"])
def test_a_forked_child_saves_nothing(way: str, saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shares the memory and the line of its parent, whose snapshots go on unharmed."""
    monkeypatch.setenv("NBCKPT_WRITER", way)
    hand = saving.begin()
    saving.save(1)
    child = os.fork()
    if not child:
        code = 1
        try:
            hand.hand_over(*state(7))
        except CheckpointConflict as error:
            hand.close()
            code = 42 if "forked" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert saving.newest == 1
    saving.save(2)
    assert saving.newest == 2


def test_an_arena_whose_growth_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied next is there, not what was there before."""
    ours = Arena()
    ours.fill([b"old"])
    theirs = Arena(os.dup(ours.fd))

    def interrupted(*_: object) -> mmap.mmap:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(arena.mmap, "mmap", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ours.fill([bytes(20_000_000)])
    ours.fill([b"new"])
    assert bytes(theirs.view(ours.size)[:3]) == b"new"


LARGE = 3_000_000
"""Bytes of a state that goes in several batches where `NBCKPT_STAGING` is smaller."""


def test_a_state_that_is_larger_than_the_memory_for_it(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is handed over piece by piece, and is the same."""
    monkeypatch.setenv("NBCKPT_STAGING", "300000")
    hand = saving.begin()
    for number in (1, 2, 3):
        hand.hand_over(*state(number, size=LARGE))
        assert isinstance(hand.outcome(None), Committed)
        assert check(saving.repository.load("train"), size=LARGE) == number
    monkeypatch.setenv("NBCKPT_STAGING", "much")
    with pytest.raises(OptionError, match="NBCKPT_STAGING=much"):
        saving.begin("another")


def test_a_kernel_that_dies_between_two_batches(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot does not exist, the one before does, and the writer ends."""
    monkeypatch.setenv("NBCKPT_STAGING", "300000")
    saving.begin()
    saving.save(1)
    saving.hand.close()  # type: ignore[union-attr]
    dies = """
import os, signal
from nbckpt.storage.arena import Arena
fill, fills = Arena.fill, []
def dying(self, pieces):
    fills.append(1)
    if len(fills) > 1:
        print(os.getpid(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    fill(self, pieces)
Arena.fill = dying
"""
    script = dies + KERNEL.format(tests=str(Path(__file__).parent), store=saving.repository.url)
    script = script.replace("*state(1)", f"*state(2, size={LARGE})").replace(
        "based_on=None", 'based_on=repository.load("train")'
    )
    kernel = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False)
    assert kernel.returncode == -signal.SIGKILL
    assert wait_for_writer(saving.repository.store_id, "train", lambda _: None)
    wait_for_end(saving.pid)
    assert saving.newest == 1


def test_an_interrupt_between_two_batches(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot is given up, and the next one is saved."""
    monkeypatch.setenv("NBCKPT_STAGING", "300000")
    hand = saving.begin()
    saving.save(1)
    fill, fills = Arena.fill, []

    def interrupted(self: Arena, pieces: Any) -> None:
        fills.append(1)
        if len(fills) == 2:
            raise KeyboardInterrupt
        fill(self, pieces)

    with monkeypatch.context() as patch:
        patch.setattr(Arena, "fill", interrupted)
        with pytest.raises(KeyboardInterrupt):
            hand.hand_over(*state(2, size=LARGE))
    outcome = hand.outcome(None)
    assert isinstance(outcome, StoreError)
    assert "given up" in str(outcome)
    assert saving.newest == 1
    hand.hand_over(*state(3, size=LARGE))
    assert isinstance(hand.outcome(None), Committed)
    assert check(saving.repository.load("train"), size=LARGE) == 3


def test_what_did_not_change_is_not_copied(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it after a failure, and a new writer has everything copied."""
    copied: list[int] = []
    fill = Arena.fill

    def counted(self: Arena, pieces: Any) -> None:
        copied.append(sum(map(len, pieces)))
        fill(self, pieces)

    monkeypatch.setattr(Arena, "fill", counted)
    hand = saving.begin()
    for number in (1, 2, 3, 4):
        if number == 4:
            os.kill(saving.pid, signal.SIGKILL)
            wait_for_end(saving.pid)
            hand._let_go()
        hand.hand_over(*state(number, size=LARGE))
        assert isinstance(hand.outcome(None), Committed)
        assert check(saving.repository.load("train"), size=LARGE) == number
    assert [size > LARGE for size in copied] == [True, False, False, True], copied
