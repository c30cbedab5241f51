"""tqdm's progress bars: they pickle without complaint and cannot be loaded, so they are made anew."""

from __future__ import annotations

from typing import Any

_KEPT = (
    "desc total leave ncols mininterval maxinterval miniters ascii disable unit unit_scale "
    "dynamic_ncols smoothing bar_format unit_divisor colour delay"
).split()


def reduce(bar: Any) -> Any:
    """Keep what a bar goes over, how it looks and how far it is."""
    looks = {name: getattr(bar, name) for name in _KEPT if hasattr(bar, name)}
    if looks.get("desc"):
        looks["desc"] = looks["desc"].removesuffix(": ")
    looks["ncols"] = getattr(bar, "ncols", None) if not getattr(bar, "dynamic_ncols", False) else None
    return rebuild, (type(bar), bar.iterable if _is_data(bar.iterable) else None, getattr(bar, "n", 0), looks)


def rebuild(kind: Any, iterable: Any, done: int, looks: dict[str, Any]) -> Any:
    """A live bar that stands where the saved one did; its rate counts from now."""
    return kind(iterable, initial=done, **looks)


def _is_data(iterable: Any) -> bool:
    # while a loop runs over it, a bar goes over nbckpt's own generator
    return not hasattr(iterable, "gi_code")
