"""Tables of polars: by schema and values; a lazy frame by its plan."""

from __future__ import annotations

from typing import Any

import polars as pl


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """The form of polars' own objects."""
    if isinstance(thing, pl.DataFrame):
        return (repr(thing.schema), walk.form(thing.to_dict(as_series=False)))
    if isinstance(thing, pl.Series):
        return (thing.name, repr(thing.dtype), walk.form(thing.to_list()))
    if isinstance(thing, pl.LazyFrame):
        return (thing.explain(), walk.form(thing.collect()))
    return None if isinstance(thing, type) else (repr(thing),)
