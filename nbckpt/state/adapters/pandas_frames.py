"""Frames and series: all of a class refer to one list of the class, which is no reason to keep them together."""

from __future__ import annotations

from typing import Any


def reduce(frame: Any) -> Any:
    """Leave out what belongs to the class; keep the attributes that the user gave it, which pandas would drop."""
    reduced = frame.__reduce_ex__(5)
    if len(reduced) < 3 or not isinstance(reduced[2], dict):
        return reduced  # a class with ways of its own
    make, arguments, state, *rest = reduced
    own = {name: value for name, value in vars(frame).items() if not name.startswith("_")}
    kept = {name: value for name, value in state.items() if value is not type(frame)._metadata}  # noqa: SLF001
    if "attrs" in kept:  # by that name a copy would come back, of which nobody else who holds them knows
        kept["_attrs"] = kept.pop("attrs")
    return make, arguments, own | kept, *rest
