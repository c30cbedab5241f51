"""Handing snapshots over to whoever writes them, so that the loop goes on as soon as their bytes are copied.

As a rule that is a process of its own, which finishes what it has when the kernel dies (`process`). What is so small
that handing it over would take as long is written at once (`sync`). Where there can be no such process, on Windows or
for a store that only this process has, a thread does it (`thread`). `NBCKPT_WRITER` names one of the three.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from nbckpt.errors import CheckpointConflict, OptionError
from nbckpt.storage.arena import asked_room
from nbckpt.storage.forked import NotStillError
from nbckpt.storage.lease import Lease
from nbckpt.storage.process import CopyLostError, Process, WriterLostError
from nbckpt.storage.snapshot import PartData
from nbckpt.storage.spool import Spool
from nbckpt.storage.stores import is_far
from nbckpt.storage.untouched import are_wanted
from nbckpt.storage.writer import Committed, Writer

if TYPE_CHECKING:
    from nbckpt.storage.process import Capturing
    from nbckpt.storage.repository import Loaded, Repository
    from nbckpt.storage.retention import Retention

WAYS = ("process", "thread", "sync")
SMALL = 256 * 1024
"""Bytes of a snapshot that are written at once, where a store is quick."""
QUICK = 0.02
"""Seconds that this may take."""
_LOSSES = 3  # writer processes that may be lost before a thread takes over

Outcome: TypeAlias = "Committed | Exception"


class Hand(Protocol):
    """One way to have snapshots written."""

    way: str
    """What it is called by those who want to know how a snapshot was taken."""

    @property
    def copied(self) -> int | None:
        """Bytes of the newest snapshot that were copied; None for all of them."""

    @property
    def found(self) -> str:
        """How those that need not be copied were found: `pages`, `hash` or not at all."""

    @property
    def is_busy(self) -> bool:
        """Whether a snapshot is on its way."""

    def hand_over(self, description: dict[str, Any], parts: Sequence[PartData], *, final: bool) -> None:
        """Take a snapshot, of which nothing is needed any more when this returns."""

    def outcome(self, timeout: float | None = 0.0) -> Outcome | None:
        """Return, once, what became of it; None if that is not known within `timeout` seconds."""

    def close(self) -> None:
        """Let go; a snapshot on its way is finished."""


class Handover:
    """The saves of one run. `tell` takes what a person should know of how they are done.

    Raises what `Repository.writer` raises, before any compute.
    """

    def __init__(
        self,
        repository: Repository,
        name: str,
        *,
        keep: int | Retention,
        writer_info: dict[str, Any],
        based_on: Loaded | None,
        tell: Callable[[str], None],
    ) -> None:
        self._repository, self._name, self._info, self._tell = repository, name, writer_info, tell
        self._way = _way(repository.url)
        asked_room()
        are_wanted()
        self.capture: dict[str, Any] = {}
        """Of the newest snapshot that was handed over: by which `way`, how what changed was `found`, and how many bytes
        were `copied`, `of` how many."""
        writer = repository.writer(name, keep=keep, writer_info=writer_info, based_on=based_on)
        self._keep = writer.retention
        self._standing = writer.standing
        """The newest entry of the log as this run knows it, by number and digest, until it has made one itself."""
        self._hand: Hand | None = Threaded(writer) if self._way == "thread" else Here(writer)
        """None where the writer was lost, until there is another."""
        self._has_saved = False
        self._losses = 0
        self.forks = True
        """Whether no forked copy of this process was lost yet, after which there are no more."""
        self._lease: Lease | None = None
        self._process = os.getpid()

    @property
    def is_busy(self) -> bool:
        """Whether a snapshot is on its way."""
        return self._hand is not None and not self._is_forked and self._hand.is_busy

    def hand_over(self, description: dict[str, Any], parts: Sequence[PartData], *, final: bool = False) -> None:
        """Have a snapshot saved: `outcome` will tell. The one before must be done.

        Raises `CheckpointConflict`, or `StoreError` if nobody can be found to write it.
        """
        if self._is_forked:  # it shares the memory and the line of its parent, whose snapshots these are
            raise CheckpointConflict(
                f"This process was forked from the kernel that saves checkpoint {self._name!r}, and saves nothing "
                "itself: what the kernel saves is not touched by it."
            )
        size = sum(len(part.stream) + sum(map(len, part.buffers)) for part in parts)
        self._hand_over(self._chosen(size), description, parts, final=final)
        hand = self._hand
        if hand is not None:
            copied = size if hand.copied is None else hand.copied
            self.capture = {"way": hand.way, "found": hand.found, "copied": copied, "of": size}

    def _hand_over(self, hand: Hand, description: dict[str, Any], parts: Sequence[PartData], *, final: bool) -> None:
        try:
            hand.hand_over(description, parts, final=final)
        except MemoryError as error:
            if not isinstance(hand, Process):
                raise
            self._tell(f"{error}: the loop stands still while it is written")
            self._let_go()
            self._way = "sync"
            self._hand = Here(self._writer_again())
            self._hand.hand_over(description, parts, final=final)
        except WriterLostError:
            self._let_go()
            self._hand = self._started()
            self._hand.hand_over(description, parts, final=final)

    def fork(
        self, capture: Capturing, learn: Callable[[dict[str, Any]], None], still: Callable[[], bool]
    ) -> str | None:
        """Have a snapshot captured and handed over by a forked copy of this process: `outcome` will tell.

        For the arguments see `Process.fork`. Returns None, or why it cannot be; nothing has happened then. Raises
        `NotStillError`, and what `hand_over` raises.
        """
        if self._is_forked:
            return "this process is a copy itself"
        hand = self._hand or self._started()
        if isinstance(hand, Here) and self._way != "sync" and hand.writer.is_settled:
            hand = self._started(hand.writer)
        self._hand = hand
        if not isinstance(hand, Process):
            return "no process of its own writes the snapshots"
        try:
            hand.fork(capture, learn, still)
        except WriterLostError:
            self._let_go()
            return self.fork(capture, learn, still)
        except NotStillError:
            raise
        except OSError as error:
            if hand.is_busy:  # there is one, and a signal's handler raised this
                raise
            return f"there can be no copy of this process ({error.strerror or error})"
        return None

    def outcome(self, timeout: float | None = 0.0) -> Outcome | None:
        """Return, once, what became of the snapshot; None if that is not known within `timeout` seconds."""
        outcome = None if self._hand is None or self._is_forked else self._hand.outcome(timeout)
        if isinstance(outcome, Committed):
            self._has_saved = True
        elif isinstance(outcome, WriterLostError):
            self._let_go()
        elif isinstance(outcome, CopyLostError):
            self.forks = False
        return outcome

    def close(self) -> None:
        """Let go; a snapshot on its way is finished, if this process lives or the writer is another one."""
        if self._is_forked:
            return
        self._let_go()
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    @property
    def _is_forked(self) -> bool:
        return self._process != os.getpid()

    def _chosen(self, size: int) -> Hand:
        """Who takes a snapshot of so many bytes."""
        hand = self._hand or self._started()
        slow = isinstance(hand, Here) and (self._way == "process" or not hand.is_quick(size))
        if isinstance(hand, Here) and slow and self._way != "sync" and hand.writer.is_settled:
            hand = self._started(hand.writer)
        self._hand = hand
        return hand

    def _started(self, writer: Writer | None = None) -> Hand:
        """A writer process, or a thread where there can be none; without `writer` the one before was lost."""
        if writer is None:
            self._losses += 1
            writer = self._writer_again()
        if self._losses >= _LOSSES:
            self._tell("the process that writes the snapshots ended again and again: a thread of this one does it now")
            return Threaded(writer)
        self._lease = self._lease or Lease.open(self._repository.store_id, self._name)
        try:
            return Process(writer, self._lease, self._tell)
        except OSError as error:
            self._tell(
                f"no process can be started to write the snapshots ({error.strerror or error}): a thread does it, and "
                "one on its way is lost if the kernel dies"
            )
            return Threaded(writer)

    def _let_go(self) -> None:
        hand, self._hand = self._hand, None
        if hand is not None:
            hand.close()

    def _writer_again(self) -> Writer:
        """A writer that goes on where a lost one was, wherever that is.

        Raises `CheckpointConflict` if another run has saved meanwhile.
        """
        head = self._repository.head(self._name)
        run = head.entry.writer.get("run") if head is not None and head.entry is not None else None
        known = head is not None and not self._has_saved and (head.seq, head.digest) == self._standing
        if not known and (run is None or run != self._info.get("run")):
            raise CheckpointConflict(
                f"Checkpoint {self._name!r} was saved or removed by another kernel while this run used it: the saves "
                "of this run stop here, its computation may go on, and nothing that was saved is lost. Give one of the "
                "two another name."
            )
        # of what the lost one wrote nothing is used again: nobody has read it since
        return self._repository.writer(self._name, keep=self._keep, writer_info=self._info)


class Here:
    """Writes at once, while the loop stands still."""

    way, copied, found = "sync", None, ""
    is_busy = False

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self._spool = Spool(writer)
        self._outcome: Outcome | None = None
        self._took = 0.0

    def is_quick(self, size: int) -> bool:
        """Whether this is no worse than handing over so many bytes."""
        return size <= SMALL and self._took <= QUICK

    def hand_over(self, description: dict[str, Any], parts: Sequence[PartData], *, final: bool) -> None:
        """Save it."""
        began = time.perf_counter()
        self._outcome = _commit(self._spool, description, parts, final=final)
        if isinstance(self._outcome, Committed):
            self.writer.tidy()  # nobody would hear of it sooner, and what is left when we are killed needs a prune
        self._took = time.perf_counter() - began

    def outcome(self, timeout: float | None = 0.0) -> Outcome | None:  # noqa: ARG002 - it is known
        """See `Hand.outcome`."""
        outcome, self._outcome = self._outcome, None
        return outcome

    def close(self) -> None:
        """Finish what retention has to delete."""
        self.writer.close()


class Threaded:
    """Writes in a thread of this process."""

    way, copied, found = "thread", None, ""

    def __init__(self, writer: Writer) -> None:
        self._writer, self._spool = writer, Spool(writer)
        self._thread: threading.Thread | None = None
        """The newest that saves, or deletes what was replaced."""
        self._told: threading.Event | None = None
        """Set when the outcome of the snapshot on its way is known, None if there is none."""
        self._outcomes: list[Outcome] = []
        self._owed = 0.0
        """Seconds of processor time that deleting took, which the next snapshot tells of."""
        self._retry: threading.Thread | None = None
        """Uploads what waits on this machine, when the store is back."""
        self._stop = threading.Event()

    @property
    def is_busy(self) -> bool:
        """See `Hand.is_busy`."""
        return self._told is not None

    def hand_over(self, description: dict[str, Any], parts: Sequence[PartData], *, final: bool) -> None:
        """Copy it, and begin; raises `MemoryError`."""
        copies = [
            PartData(part.name, bytes(part.stream), [memoryview(bytes(one)) for one in part.buffers], part.info)
            for part in parts
        ]

        before, told = self._thread, threading.Event()

        def work() -> None:
            _join(before)
            self._end_retry()
            began = time.thread_time()
            outcome = _commit(self._spool, description, copies, final=final)
            if isinstance(outcome, Committed):
                used = time.thread_time()
                outcome = replace(outcome, processor=self._owed + used - began)
            self._outcomes[:] = [outcome]
            told.set()
            if isinstance(outcome, Committed):
                self._writer.tidy()
                self._owed = time.thread_time() - used

        # not a daemon: an interpreter that exits waits for it
        self._thread = threading.Thread(target=work, name="nbckpt writer")
        self._thread.start()
        self._told = told

    def outcome(self, timeout: float | None = 0.0) -> Outcome | None:
        """See `Hand.outcome`."""
        if self._told is not None:
            if not self._told.wait(timeout):
                return None
            self._told = None
            if self._spool.holds:
                outcome = self._outcomes.pop()
                self._stop.clear()
                work = (self._stop, self._outcomes.append)
                self._retry = threading.Thread(target=self._spool.keep_trying, args=work, daemon=True)
                with contextlib.suppress(RuntimeError):  # there can be no more threads: the next snapshot tries anew
                    self._retry.start()
                return outcome
        return self._outcomes.pop(0) if self._outcomes else None

    def close(self) -> None:
        """Wait for a snapshot on its way, and finish what retention has to delete."""
        _join(self._thread)
        self._end_retry()
        self._writer.close()

    def _end_retry(self) -> None:
        self._stop.set()
        _join(self._retry)
        self._retry = None


def _join(thread: threading.Thread | None) -> None:
    """Wait until a thread has ended; one that could not be started has nothing to do."""
    if thread is not None and thread.ident is not None:
        thread.join()


def _commit(spool: Spool, description: dict[str, Any], parts: Sequence[PartData], *, final: bool) -> Outcome:
    try:
        return spool.commit(description, parts, final=final)
    except Exception as error:  # noqa: BLE001 - an outcome like the other, which is shown
        return error


def _way(url: str) -> str:
    """How the snapshots of a store are written; empty for what suits their size."""
    way = os.environ.get("NBCKPT_WRITER", "")
    if way not in {"", *WAYS}:
        raise OptionError(f"NBCKPT_WRITER={way} is unknown: use {', '.join(WAYS)}, or leave it out")
    if way in {"", "process"} and (os.name == "nt" or not hasattr(os, "fork") or url.startswith("memory:")):
        return "thread"
    return way or ("process" if is_far(url) else "")
