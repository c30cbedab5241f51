"""What the other callbacks of a training count: rounds without progress, the best value, the history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...state import pickling

Counts = list[tuple[str, dict[str, Any]]]


def counts_of(callbacks: Iterable[Any], but: frozenset[str] = frozenset()) -> Counts:
    """What callbacks count, by their classes' names; functions have no counts."""
    counts = []
    for callback in callbacks:
        found = {name: value for name, value in getattr(callback, "__dict__", {}).items() if name not in but}
        kept = {name: value for name, value in found.items() if not _does(value) and pickling.digest(value)}
        counts.append((type(callback).__name__, kept))
    return counts


def _does(value: Any) -> bool:
    """Whether this is a function, or a list of functions, which the callback of the next run has itself."""
    return callable(value) or (isinstance(value, list) and any(map(callable, value)))


def put_counts(callbacks: Iterable[Any], counts: Counts) -> None:
    """Let callbacks count on from there, as far as they are the same ones."""
    for callback, (kind, kept) in zip(callbacks, counts, strict=False):
        if type(callback).__name__ == kind and kept:
            vars(callback).update(kept)
