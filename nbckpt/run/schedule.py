"""When a snapshot is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from ..settings import Every
from .pace import FIRST, SHORTEST, Pace

HURRIED_SHARE = 0.1
"""How much of the time the loop may stand still once the machine is known to go."""
STRETCH = 4096
"""Iterations of a tight loop between two looks at the flag, unless it is raised."""
SOON = 0.05
"""Seconds after which an overdue snapshot is tried again."""
REFRESH = 0.5
"""Seconds between two looks at the progress."""


class Schedule:
    """Raises `due` when a boundary should stop and look; a loop's iteration pays for that one attribute test.

    The clock is read by a thread of its own, so that a loop of fast iterations never asks the time.
    """

    def __init__(self, every: Every) -> None:
        self.every = every
        self.due = every.iterations is not None
        self._turns_left = every.iterations or 0
        self._asked = False
        self._hurry: float | None = None
        """When the next is due since the machine will go; None if it stays."""
        self._tokens: list[bool] = []
        self.pace = Pace(every.share) if every.auto else None
        self._wait = SHORTEST if every.auto else every.seconds
        """Seconds from one snapshot to the next, as long as it is not known what they cost; None if none are due."""
        self._since = self._saved = time.monotonic()
        """From when that counts, and when the last was taken: the first is later where that was not due yet."""
        self._put_off = 0.0
        self._stopped = threading.Event()
        self._changed = threading.Event()
        """Set when the next look is at another time than it was."""
        self.missed: Callable[[], None] = lambda: None
        """Called by the thread that reads the clock when no boundary has answered its last call."""
        self.ticked: Callable[[], None] = lambda: None
        """Called by that thread whenever it reads the clock."""

    def start(self) -> None:
        """Begin to watch the clock."""
        self._since = self._saved = time.monotonic()
        threading.Thread(target=self._watch, name="nbckpt schedule", daemon=True).start()

    def stop(self) -> None:
        """Stop for good."""
        self._stopped.set()
        self._changed.set()
        self.due = False

    def expect(self, seconds: float) -> None:
        """Before the start: a first snapshot may cost so much, for all that is known."""
        if self.pace is not None:
            self._wait = min(FIRST, max(SHORTEST, seconds / self.pace.share))

    def take_over(self, saved: Mapping[str, Any]) -> None:
        """Before the start: an earlier run has measured what snapshots cost."""
        if self.pace is not None:
            self.pace.take_over(saved)
            self._wait = self.pace.wait

    def stand(self, loop: Hashable, count: int) -> None:
        """Take note at a boundary how many iterations of a loop are done."""
        if self.pace is not None:
            self.pace.stand(loop, count, time.monotonic())

    def ended(self, step: Hashable) -> bool:
        """Take note that a statement ended at this boundary; return whether the one before it matters."""
        return self.pace is not None and self.pace.ended(step, time.monotonic())

    def wants_snapshot(self, *, turn: bool) -> bool:
        """Say at a boundary whether to save now, and lower `due`; `turn` if an innermost iteration ended."""
        self.due = self.every.iterations is not None
        self._turns_left -= turn
        if self._asked:
            return True
        if self._hurry is not None and time.monotonic() >= self._hurry:
            return True
        if self.every.iterations is None:
            now = time.monotonic()
            early = self.pace is not None and self.pace.is_worth_it(now - self._saved, self._next - now)
            return early or now >= self._next
        return self._turns_left <= 0

    @property
    def is_asked(self) -> bool:
        """Whether somebody wants a snapshot at the next boundary."""
        return self._asked

    @property
    def insists(self) -> bool:
        """Whether the boundary matters at which it is taken: it was asked for, or iterations are counted."""
        return self._asked or self.every.iterations is not None

    def put_off(self) -> None:
        """The snapshot before is still on its way: look again soon."""
        self._put_off = time.monotonic() + SOON
        self._changed.set()

    def ask(self) -> None:
        """Want a snapshot at the next boundary, whatever the time."""
        self._asked = True
        self._raise()

    def hurry(self) -> None:
        """The machine will go: want a snapshot at the next boundary, and more of them from then on."""
        self._hurry = time.monotonic()
        self.ask()

    def soon(self) -> None:
        """Want a snapshot at the next boundary as if it were time."""
        self._since, self._turns_left = float("-inf"), 0
        self._raise()

    def look(self) -> None:
        """Want the next boundary's attention, but no snapshot of it."""
        self._raise()

    def stretch(self, length: int) -> list[bool]:
        """Tokens for the iterations of a tight loop until its next boundary, `length` at most."""
        self._tokens = tokens = [True] * (1 if self.due else min(length, STRETCH))
        if self.due:  # raised while the tokens were made
            del tokens[1:]
        return tokens

    def _raise(self) -> None:
        self.due = True
        self._tokens.clear()

    def saved(self, cost: float) -> None:
        """Take note that a save was made or tried, and that the loop stood still for `cost` seconds."""
        self._turns_left = self.every.iterations or 0
        self._asked = False
        due, self._saved = self._next, time.monotonic()
        # what was saved before it was due makes the next one due later, so that the share of the time is kept
        self._since = self._saved if self.pace is None else max(due, self._saved)
        if self.pace is not None:
            self.pace.stood_still(cost)
        if self._hurry is not None:
            self._hurry = self._saved + max(SHORTEST, cost / HURRIED_SHARE)
        self._changed.set()

    def wrote(self, processor: float) -> None:
        """Take note of the processor time that writing a snapshot took beside the loop, which is known late."""
        if self.pace is not None:
            self.pace.wrote(processor)
            self._changed.set()

    @property
    def _next(self) -> float:
        """When one is due, by what is known of their cost by now."""
        wait = self._wait if self.pace is None or self.pace.stall is None else self.pace.wait
        return max(self._since + (wait or 0), self._put_off)

    def _watch(self) -> None:
        while not self._stopped.is_set():
            if self._changed.wait(self._pause()):
                self._changed.clear()
                continue
            self.ticked()
            if self.due and self.every.iterations is None:
                self.missed()
            self._raise()

    def _pause(self) -> float:
        """Seconds until there is something to look at: the next snapshot, or progress to show.

        While a snapshot is due, the flag is up: there is nothing to be done sooner than `saved` says so.
        """
        left = REFRESH if self._wait is None else self._next - time.monotonic()
        return REFRESH if left <= 0 and self.due else min(REFRESH, max(0.0, left))
