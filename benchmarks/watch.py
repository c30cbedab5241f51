"""The clock of a measured loop: how long it stands still for a save, and what the save costs afterwards.

The loop says when an iteration's body begins and ends, and nothing else: what lies between an end and the next
beginning is what a person would see the loop stand still. Three iterations are a cycle. After the third there is
a save; the body that follows it shows how much slower the loop is meanwhile, at its end it waits for the save to be
durable; the second is undisturbed, and what the others are compared with.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import machine

CYCLE = 3


@dataclass
class Save:
    """What one save cost, in seconds and bytes."""

    number: int
    digest: str
    stall: float = 0.0
    slower: float = 0.0
    """By how much longer the next body took."""
    background: float = 0.0
    """Time of the processors used beside the loop until it was durable."""
    durable: float = 0.0
    written: int = 0
    memory: int = 0
    """The most that was in memory, beyond the state without any saving."""

    @property
    def effective(self) -> float:
        return self.stall + self.slower + self.background


class Watch:
    """Watches one loop. `wait` returns when the save of that number is durable; `folder` is where it goes."""

    def __init__(
        self, digest: Callable[[], str], wait: Callable[[int], None], folder: Path, done: Callable[[], None]
    ) -> None:
        self._digest, self._wait, self._folder, self._done = digest, wait, folder, done
        self.saves: list[Save] = []
        self.wanted = 0
        """How many saves there will be."""
        self._others: list[int] = []
        self._at_rest = 0
        self._quiet_body = self._quiet_used = 0.0
        self._ended = self._used_before = 0.0
        self._files: dict[str, tuple[int, int]] = {}
        self._waiter: threading.Thread | None = None

    def begins(self, turn: int) -> None:
        """Say that a body begins."""
        now = time.perf_counter()
        if turn % CYCLE == 0 and self.saves:
            self._used = machine.processor_seconds(self._others)
            save = self.saves[-1]
            save.stall = now - self._ended
            save.background = max(0.0, self._used - self._used_before - save.stall)
            self._waiter = threading.Thread(target=self._await, args=(save,))
            self._waiter.start()
        else:
            self._used = machine.processor_seconds(self._others)
        self._began = time.perf_counter()

    def ends(self, turn: int) -> None:
        """Say that a body ended."""
        body = time.perf_counter() - self._began
        part = turn % CYCLE
        if part == 0 and self.saves:
            self._flown(body)
            if len(self.saves) == self.wanted:
                self._done()
        elif part == 1:
            self._quiet_body, self._quiet_used = body, machine.processor_seconds(self._others) - self._used
        elif part == 2:
            self._files = files(self._folder)
            self.saves.append(Save(len(self.saves) + 1, self._digest()))
            machine.forget_peak()
            self._at_rest = self._at_rest or machine.memory()
            self._used_before = machine.processor_seconds(self._others)
            self._ended = time.perf_counter()

    def _await(self, save: Save) -> None:
        self._wait(save.number)
        save.durable = time.perf_counter() - self._ended

    def _flown(self, body: float) -> None:
        """Take note of a save that was on its way during this body, when it is durable."""
        assert self._waiter is not None
        self._waiter.join()
        save = self.saves[-1]
        if not save.durable:  # the thread has said why
            raise RuntimeError(f"save {save.number} was not finished")
        save.slower = max(0.0, body - self._quiet_body)
        self._others = machine.companions()  # of a writer that was started for this save, all it used counts
        used = machine.processor_seconds(self._others) - self._used
        save.background += max(0.0, used - self._quiet_used - save.slower)
        save.written = grown(self._files, files(self._folder))
        save.memory = max(0, machine.peak(self._others) - self._at_rest)

    def report(self) -> list[dict[str, Any]]:
        return [{**asdict(save), "effective": save.effective} for save in self.saves]


_watch: Watch | None = None


def use(watch: Watch) -> None:
    """Let `begins` and `ends` be those of this watch: a cell has them by this module's name."""
    global _watch  # noqa: PLW0603 - one loop a process
    _watch = watch


def begins(turn: int) -> None:
    """Say that a body begins; nobody looks when a peer runs a cell again to restore what it made."""
    if _watch is not None:
        _watch.begins(turn)


def ends(turn: int) -> None:
    """Say that a body ended."""
    if _watch is not None:
        _watch.ends(turn)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """The size and the time of every file below a folder."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            try:
                status = path.stat()
            except FileNotFoundError:  # deleted meanwhile
                continue
            found[str(path)] = status.st_size, status.st_mtime_ns
    return found


def grown(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> int:
    """How many bytes were written: files that are new or were written over, and what was added to others."""
    total = 0
    for path, (size, when) in after.items():
        old = before.get(path)
        if old is None or (old[0] == size and old[1] != when):
            total += size
        else:
            total += max(0, size - old[0])
    return total


def settle(folder: Path) -> None:
    """Make sure that every file below a folder is on the disk."""
    for place, _, names in os.walk(folder):
        for path in [*(Path(place, name) for name in names), Path(place)]:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
