"""How often `--every auto` saves.

As often as keeps the share of the time that saving takes where it is wanted, by what snapshots were measured to cost:
the time that the loop stands still, and the processor time that the writer takes from it, as far as it takes any.

When to save is a trade of that cost against the work that a kill would lose. Where kills come at random, Young's rule
says that whoever waits W between two snapshots that cost C each is right if a kill is to be expected every
M = W * W / (2 * C) seconds. To save before a step of the loop that will take L seconds, with a work of S seconds not
saved yet, gains S if the kill comes in that step: S * L / M seconds on the average. So it pays if S * L > W * W / 2.
Flor, which decides after each iteration of a loop whether a snapshot of it is worth its cost, was the example.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from ..storage.machine import processors

SHORTEST = 1.0
"""Seconds between snapshots, at least."""
FIRST = 60.0
"""Seconds until the first snapshot of a run from the start, at most: a kill after that never loses all."""
_NEW = 0.5
"""The weight of the newest measurement: a snapshot that took long for once is no rule, and no accident either."""


class Pace:
    """What snapshots cost, and how long to wait between them so that they take no more than a `share` of the time."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.stall: float | None = None
        """Seconds that the loop stands still for a snapshot."""
        self.taken: float | None = None
        """Seconds that the writer takes from the loop while it goes on."""
        self.steps: dict[Hashable, float] = {}
        """How long an iteration takes, by its loop."""
        self._place: tuple[Hashable, int, float] = (None, 0, 0.0)

    @property
    def cost(self) -> float:
        return (self.stall or 0.0) + (self.taken or 0.0)

    @property
    def wait(self) -> float:
        """Seconds from one snapshot to the next."""
        return max(SHORTEST, self.cost / self.share)

    def stood_still(self, seconds: float) -> None:
        """Take note of how long the loop stood still for a snapshot."""
        self.stall = _smoothed(self.stall, seconds)
        loop, count, then = self._place
        self._place = loop, count, then + seconds  # which is not the iteration's

    def wrote(self, processor: float) -> None:
        """Take note of the processor time that a snapshot took elsewhere: with more processors, less is missed."""
        self.taken = _smoothed(self.taken, processor / processors())

    def stand(self, loop: Hashable, count: int, now: float) -> None:
        """Take note of when so many iterations of a loop were done."""
        known, before, then = self._place
        if loop == known and count > before:
            self.steps[loop] = _smoothed(self.steps.get(loop), (now - then) / (count - before))
        self._place = loop, count, now

    def ended(self, step: Hashable, now: float) -> bool:
        """Take note that a statement ended; return whether it took so long that the boundary before it matters."""
        took = now - self._place[2]
        if took > SHORTEST:
            self.steps[step] = _smoothed(self.steps.get(step), took)
        return took > SHORTEST

    def is_worth_it(self, unsaved: float, left: float) -> bool:
        """Whether to save now rather than in `left` seconds, because what comes next will take long.

        `unsaved` seconds of work are not saved. A step that ends before a snapshot is due is not waited out, so that
        over time no more than the share is spent.
        """
        step = self.steps.get(self._place[0], 0.0)
        return left <= step and unsaved >= SHORTEST and unsaved * step > self.wait**2 / 2

    def to_json(self) -> dict[str, float]:
        step = {"step": self.steps[self._place[0]]} if self._place[0] in self.steps else {}
        return {"share": self.share, "stall": self.stall or 0.0, "taken": self.taken or 0.0, "wait": self.wait, **step}

    def take_over(self, saved: Mapping[str, Any]) -> None:
        """Begin with what an earlier run has measured."""
        self.stall, self.taken = saved.get("stall") or None, saved.get("taken") or None


def _smoothed(before: float | None, now: float) -> float:
    return now if before is None else before + _NEW * (now - before)
