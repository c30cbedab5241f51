"""What stays: which snapshots the log keeps when a new one is committed.

Decided by number and by what the run said of each snapshot, never by a clock: a commit keeps first, and what it does
not keep is deleted only then.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from nbckpt.errors import OptionError
from nbckpt.settings import Best, Every

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbckpt.storage.log import Kept


class Mark(NamedTuple):
    """What retention asks of a snapshot: its metrics, the loop in progress and its count, seconds of work so far."""

    metrics: dict[str, float]
    loop: str
    turns: int
    worked: float

    @classmethod
    def of(cls, description: dict[str, Any]) -> Mark:
        """Return the mark of a snapshot by the run's own account, in which anything may be missing or odd."""
        metrics = description.get("metrics")
        numbers = {k: float(v) for k, v in metrics.items() if _is_number(v)} if isinstance(metrics, dict) else {}
        loop, worked = description.get("loop"), description.get("worked")
        key, turns = loop if isinstance(loop, (list, tuple)) and len(loop) == 2 else ("", 0)
        return cls(numbers, str(key), turns if type(turns) is int else 0, float(worked) if _is_number(worked) else 0.0)


@dataclass(frozen=True, slots=True)
class Retention:
    """How many snapshots stay besides the newest, and which.

    `newest` counts the newest one in. Beyond these stay the `best` by a metric, one `every` so many iterations of the
    outermost loop or so much work, and `origin`: the number of the snapshot that the run resumed from.
    """

    newest: int = 3
    best: Best | None = None
    every: Every | None = None
    origin: int | None = None

    def __post_init__(self) -> None:
        if self.newest < 1:
            msg = f"keep={self.newest} makes no sense: at least the newest snapshot has to stay."
            raise OptionError(msg)

    def kept(self, snapshots: Sequence[tuple[Kept, Mark]], *, final: bool) -> tuple[Kept, ...]:
        """Return those of `snapshots` that stay, both newest first; the newest always does.

        Once the run is `final`, what was kept only to resume from goes.
        """
        stay = {kept.seq for kept, _ in snapshots[: 1 if final else self.newest]}
        if not final and self.origin is not None:
            stay.add(self.origin)
        if self.best is not None:
            stay |= _best(snapshots, self.best)
        if self.every is not None:
            stay |= _apart(snapshots, self.every)
        return tuple(kept for kept, _ in snapshots if kept.seq in stay)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Retention:
        """Return what `to_json` was made of."""
        best, every = record["best"], record["every"]
        named = Best(**best) if best else None
        return cls(record["newest"], named, Every(**every) if every else None, record["origin"])


def _best(snapshots: Sequence[tuple[Kept, Mark]], best: Best) -> set[int]:
    """Return the numbers of the best snapshots; of equals the one that came first."""
    values = [(mark.metrics[best.metric], kept.seq) for kept, mark in snapshots if best.metric in mark.metrics]
    sign = 1 if best.lowest else -1
    ranked = sorted((sign * value, seq) for value, seq in values if not math.isnan(value))
    return {seq for _, seq in ranked[: best.count]}


def _apart(snapshots: Sequence[tuple[Kept, Mark]], every: Every) -> set[int]:
    """Return the numbers of the first snapshot in each stretch of work; a run that began anew begins new ones."""
    stay, last = set(), ("", -1.0)
    for kept, mark in reversed(snapshots):
        stretch: tuple[str, float] = ("", mark.worked // (every.seconds or 1))
        if every.iterations:
            stretch = (mark.loop, mark.turns // every.iterations)
        if stretch != last:
            stay.add(kept.seq)
            last = stretch
    return stay


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
