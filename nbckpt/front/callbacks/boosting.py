"""What a training of trees, round by round, keeps: the booster, its metrics, and what other callbacks count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...errors import CellChangedError
from .counts import Counts, put_counts
from .session import Session


class Trees:
    """The options that a checkpoint of a training by rounds has, whatever the library."""

    def __init__(
        self,
        name: str,
        *,
        every: str | float | None = None,
        store: str | None = None,
        keep: int | None = None,
        fresh: bool | None = None,
        quiet: bool | None = None,
    ) -> None:
        self._name = name
        self._options: dict[str, Any] = {"every": every, "store": store, "keep": keep, "fresh": fresh, "quiet": quiet}


class Rounds:
    """How far a training by rounds is: begins or goes on, and knows what is left."""

    def __init__(self, session: Session, total: int) -> None:
        self.session, self.total = session, total
        self.saved = session.begin()
        self.done = int(self.saved["rounds"]) if self.saved else 0
        self._total_then = int(self.saved["total"]) if self.saved else 0
        self.booster: Any = self.saved["booster"] if self.saved else None
        self.history: dict[str, Any] = self.saved["history"] if self.saved else {}
        if self.done > total:
            raise CellChangedError(
                f"checkpoint {session.name!r} has {self.done} rounds, and {total} were asked for. Nothing was run: ask "
                "for more, or start over with fresh=True"
            )

    @property
    def left(self) -> int:
        """Rounds still to do: none of a training that was stopped early, and of one that ended only those added."""
        stopped = self.session.finished and self.done < self._total_then
        return 0 if stopped else self.total - self.done

    def go_on(self, callbacks: Iterable[Any]) -> None:
        """The first round begins."""
        if self.saved is not None:
            put_counts(callbacks, self.saved["counts"])
            self.saved = None
            self.session.go_on()

    def gather(
        self, booster: Callable[[], Any], done: int, history: Any, counts: Callable[[], Counts]
    ) -> Callable[[], Mapping[str, Any]]:
        """What a snapshot is made of."""
        return lambda: {
            "booster": booster(),
            "rounds": done,
            "total": self.total,
            "history": history,
            "counts": counts(),
        }


def joined(before: Any, after: Any) -> Any:
    """The metrics of all rounds: those of the rounds before in front."""
    for name, metrics in before.items():
        target = after.setdefault(name, type(metrics)())
        for metric, values in metrics.items():
            target[metric] = [*values, *target.get(metric, [])]
    return after
