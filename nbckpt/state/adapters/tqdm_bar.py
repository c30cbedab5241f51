"""tqdm's progress bars: they pickle without complaint and cannot be loaded, so they are made anew."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

_KEPT = (
    "desc total leave ncols mininterval maxinterval miniters ascii disable unit unit_scale "
    "dynamic_ncols smoothing bar_format unit_divisor colour delay"
).split()


def reduce(bar: Any) -> Any:
    """Keep what a bar goes over, how it looks and how far it is."""
    looks = {name: getattr(bar, name) for name in _KEPT if hasattr(bar, name)}
    looks["ncols"] = getattr(bar, "ncols", None) if not getattr(bar, "dynamic_ncols", False) else None
    iterable = bar.iterable
    if isinstance(iterable, Shown):  # its loop is under way and has a cursor of its own
        iterable = None if isinstance(iterable.original, Iterator) else iterable.original
    closed = bool(bar.disable) and hasattr(bar, "desc")  # one that was disabled from the start has no looks
    looks["disable"] = bool(bar.disable) and not closed
    return rebuild, (type(bar), iterable, getattr(bar, "n", 0), looks, closed)


def rebuild(kind: Any, iterable: Any, done: int, looks: dict[str, Any], closed: bool) -> Any:  # noqa: FBT001
    """A live bar that stands where the saved one did; its rate counts from now. A closed one draws nothing."""
    desc = looks.pop("desc", None)
    bar = kind(iterable, initial=done, **looks, **({"file": io.StringIO()} if closed else {}))
    if desc:
        bar.desc = desc  # as it stands: the constructor would add a colon
    if closed:
        bar.close()
    return bar


class Shown:
    """What a bar goes over while a tracked loop runs: the loop's items, in place of the original iterable."""

    def __init__(self, original: Any, items: Iterator[Any]) -> None:
        self.original, self.items = original, items

    def __iter__(self) -> Iterator[Any]:
        return self.items
