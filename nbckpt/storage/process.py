"""The kernel's end of the detached writer: start it, hand snapshots over, hear what became of them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from nbckpt import errors
from nbckpt.storage.arena import Arena
from nbckpt.storage.channel import Channel
from nbckpt.storage.forked import Child, Say
from nbckpt.storage.parcel import BlocksGoneError, Comparison, Outgoing
from nbckpt.storage.writer import Committed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nbckpt.storage.lease import Lease
    from nbckpt.storage.snapshot import PartData
    from nbckpt.storage.writer import Writer

    Capturing: TypeAlias = Callable[[Say], tuple[dict[str, Any], Sequence[PartData]]]
    """Captures a snapshot in a forked copy of the kernel: returns it, and says what the kernel has to learn of it."""

_ROOT = str(Path(__file__).parents[2])
_START = """\
import os, sys
if os.fork():
    os._exit(0)
sys.path[:1] = []
sys.path += [place for place in PLACES if place not in sys.path]
from nbckpt.storage.detached import main
main()
"""
"""What the new interpreter runs. It leaves its parent at once, and finds what the kernel finds, its own first."""


class WriterLostError(errors.StoreError):
    """The writer process has ended without being asked to."""


class CopyLostError(errors.StoreError):
    """The forked copy of the kernel that captured a snapshot has ended before it had handed it over."""


class Process:
    """A writer process, and the memory it shares with us. Raises `OSError` if there can be none.

    `tell` takes what a person should know.
    """

    way = "copy"

    def __init__(self, writer: Writer, lease: Lease | None, tell: Callable[[str], None]) -> None:
        self.pid: int | None = None
        self._lease = lease
        self._handed = self._heard = 0
        self._waits = False
        """Whether the newest snapshot waits on this machine for the store to be back."""
        record, chunks = writer.dismantled()
        self._arena = Arena()
        self._comparison, self._marks = Comparison(tell), 0
        self.copied = 0
        self._child: Child | None = None
        """A copy of this process that captures a snapshot and hands it over."""
        self._learn: Callable[[dict[str, Any]], None] = lambda _: None
        self._failure: Exception | None = None
        """Why that copy has not handed over all of it."""
        self._took = 0.0
        """Seconds of processor time that it took."""
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - read when it has ended
        held = () if lease is None else (lease.fd,)
        try:
            with theirs, tempfile.TemporaryFile() as given:
                raw = json.dumps(record).encode("ascii")
                given.write(len(raw).to_bytes(4, "little") + raw + chunks)
                given.seek(0)
                fds = [theirs.fileno(), self._arena.fd, lease.fd if lease else -1]
                self._starter = subprocess.Popen(  # noqa: S603 - our own interpreter
                    [sys.executable, "-Wignore", "-c", _code(), *map(str, fds), str(os.getpid())],
                    stdin=given,
                    stdout=subprocess.DEVNULL,
                    stderr=self._said,
                    cwd="/",
                    env=_environment(),
                    start_new_session=True,
                    pass_fds=(fds[0], fds[1], *held),
                )
        except BaseException:
            self._let_go()
            raise

    @property
    def is_busy(self) -> bool:
        """Whether a snapshot is on its way."""
        return self._heard < self._handed

    @property
    def found(self) -> str:
        """How what need not be copied was found: see `Comparison.found`."""
        return self._comparison.found

    def hand_over(self, description: dict[str, Any], parts: Sequence[PartData], *, final: bool) -> None:
        """Copy of a snapshot what the writer does not have, for it to save; the one before must be done.

        What is too large for the memory that both share is handed over in batches, and the loop waits for all but the
        last to be written. Raises `MemoryError` if there is no room for the copy, `WriterLostError`.
        """
        outgoing = Outgoing(description, parts, self._comparison.marks(parts, final=final), final=final)
        self._marks, self.copied = len(outgoing.marks), outgoing.size
        begun = False
        try:
            for batch, said in outgoing.batches(self._arena.room(outgoing.size)):
                if begun and not self._is_asked_for_more():
                    return  # it will say why
                self._arena.fill(batch)
                if not begun and self._lease is not None:
                    self._lease.take()
                is_first, begun = not begun, True  # before it counts: an interrupt may come at any moment
                self._handed += is_first
                self._send({"size": self._arena.size, "seed": self._comparison.seed, **said})
        except BaseException:
            if begun:
                with contextlib.suppress(WriterLostError):
                    self._send({})
            raise

    def fork(self, capture: Capturing, learn: Callable[[dict[str, Any]], None], still: Callable[[], bool]) -> None:
        """Have a snapshot captured and handed over by a copy of this process; the one before must be done.

        `learn` is called with what `capture` says, before anybody hears the outcome. Raises `OSError` if there can be
        no copy, of which `NotStillError` if another thread moved (see `Child`), and `WriterLostError`.
        """

        def work(say: Say) -> None:
            self._send({"child": os.getpid()})
            self._handed -= 1  # it is counted when it is handed over
            self._comparison.alone()
            description, parts = capture(say)
            self.hand_over(description, parts, final=False)
            done = {"asked": self._comparison.asked, "marks": self._marks, "copied": self.copied}
            say({**done, "processor": time.process_time()})

        held = () if self._lease is None else (self._lease.fd,)
        self._arena.settle()  # of its threads the copy has none
        child = Child(work, (self._channel.sock.fileno(), self._arena.fd, *held))
        if self._lease is not None:
            self._lease.take()
        self._learn, self._took = learn, 0.0
        self._child, self._handed = child, self._handed + 1  # before it is there: an interrupt may come at any moment
        try:
            child.fork(still)
        except OSError:
            if not child.pid:  # or it is there, and a signal's handler raised this, as a TimeoutError
                self._child, self._handed = None, self._handed - 1
                child.close()
                if self._lease is not None:
                    self._lease.give_back()
            raise
        try:
            self._send({"child": child.pid})  # it may hang before it can say so itself
        except WriterLostError:
            self._child = None
            child.kill()
            raise

    def _take_over(self, child: Child, records: list[dict[str, Any]]) -> None:
        """Go on from where a copy of this process has ended, with what it said.

        An interrupt may come at any moment: then all of this is done again.
        """
        for record in records:
            if not record.keys() & {"error", "asked"}:
                self._learn(record)
        end = child.ended()
        self._arena.catch_up()
        last = records[-1] if records else {}
        if "asked" in last:
            self._comparison.follow(last["asked"])
            self._marks, self.copied, self._took = last["marks"], last["copied"], last["processor"]
        else:
            self._failure = _why_lost(last, end)
            self._comparison.forget()
            with contextlib.suppress(WriterLostError):  # which is found out when its answer is looked for
                self._send({})  # whatever it has handed over, there comes no more
        self._child = None
        child.close()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._channel.send({"number": self._handed, **message})
        except OSError as error:
            raise self._lost() from error

    def _is_asked_for_more(self) -> bool:
        """Wait until the writer has written the batch before; False if it does not go on."""
        while True:
            try:
                message = self._channel.look(None)
            except EOFError as error:
                self._heard, self._waits = self._handed, False
                raise self._lost() from error
            assert message is not None  # noqa: S101 - it waits
            self.pid = message.get("pid", self.pid)
            if message.get("number") == self._handed and not message.get("more"):
                return False
            self._channel.drop()
            if message.get("more"):
                return True

    def outcome(self, timeout: float | None = 0.0) -> Committed | Exception | None:
        """Return what became of the snapshot on its way, None if that is not known within `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        if self._child is not None:
            records = self._child.records(timeout)
            if records is None:
                return None
            self._take_over(self._child, records)
        while self.is_busy or self._waits:
            left = end and max(0.0, end - time.monotonic())
            try:
                message = self._channel.look(left if self.is_busy else 0.0)
            except EOFError:
                self._heard, self._waits, self._failure = self._handed, False, None
                return self._lost()
            if message is None:
                return None
            self.pid = message.get("pid", self.pid)
            number = message.get("number", 0)
            is_old = number <= self._heard and not (message.get("late") and number == self._handed)
            if is_old or message.get("more"):
                self._channel.drop()
                continue
            outcome = _outcome(message)
            if isinstance(outcome, Committed) and not message.get("late"):
                if self._failure is None:
                    self._comparison.learn(self._arena.read(self._marks))
                outcome = replace(outcome, processor=outcome.processor + self._took)
            elif isinstance(outcome, BlocksGoneError):
                self._comparison.forget()
            self._heard, self._waits = number, message["waits"]
            failure, self._failure, self._took = self._failure, None, 0.0
            self._channel.drop()
            return outcome if failure is None or isinstance(outcome, Committed) else failure
        return None

    def close(self) -> None:
        """Let the writer go, which finishes what it has and ends."""
        if self._child is not None:
            self._child.leave()
        self._let_go()
        self._starter.wait()

    def _let_go(self) -> None:
        self._comparison.close()
        self._channel.close()
        self._arena.close()
        self._said.close()

    def _lost(self) -> WriterLostError:
        self._said.seek(0)
        last = self._said.read().decode(errors="replace").strip().splitlines()[-1:]
        why = f" ({last[0]})" if last else ""
        pid = f" (pid {self.pid})" if self.pid else ""
        return WriterLostError(
            f"The process that writes the snapshots{pid} has ended{why}. What it had saved stays: the next boundary is "
            "saved by a new one."
        )


def _why_lost(last: dict[str, Any], end: str) -> Exception:
    """Why a copy has not handed over all of a snapshot, by its last word and by how it ended."""
    failure = _error(last) if "error" in last else None
    if failure is not None and not isinstance(failure, MemoryError):
        return failure
    why = f"{failure}" if failure else end or "killed, or by itself"
    return CopyLostError(
        f"the copy of this process that was to save the state has ended ({why}), and nothing was lost: from now on "
        "snapshots are copied while the loop stands still"
    )


def _outcome(message: dict[str, Any]) -> Committed | Exception:
    if "committed" in message:
        return Committed(**message["committed"])
    return _error(message)


def _error(message: dict[str, Any]) -> Exception:
    kinds = {**vars(errors), "MemoryError": MemoryError, "BlocksGoneError": BlocksGoneError}
    error: Exception = kinds.get(message["error"], errors.StoreError)(message["message"])
    if isinstance(error, OSError):
        error.errno = message["errno"]
    return error


def _code() -> str:
    """What to run; its path ends with the kernel's, where packages may be that were added to it while it ran."""
    places = [place for place in sys.path if Path(place).is_absolute()]
    return _START.replace("PLACES", repr([_ROOT, *places]))


def _environment() -> dict[str, str]:
    """The kernel's, for a process that works in another folder."""
    given = {name: os.environ[name] for name in ("NBCKPT_DATA_DIR", "NBCKPT_KEY_FILE") if os.environ.get(name)}
    return {**os.environ, **{name: str(Path(path).expanduser().absolute()) for name, path in given.items()}}
