"""Tables of pandas: by kind, labels, types and values; what a cell holds is walked into."""

from __future__ import annotations

from typing import Any

import pandas as pd


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """The form of pandas' own objects."""
    if isinstance(thing, pd.DataFrame):
        columns = [_cells(walk, thing.iloc[:, at].array) for at in range(thing.shape[1])]
        return (_labels(walk, thing.columns), _labels(walk, thing.index), columns, walk.form(thing.attrs))
    if isinstance(thing, pd.Series):
        return (repr(thing.name), _labels(walk, thing.index), _cells(walk, thing.array), walk.form(thing.attrs))
    if isinstance(thing, pd.Index):
        return _labels(walk, thing)
    if isinstance(thing, pd.api.extensions.ExtensionArray):
        return _cells(walk, thing)
    if type(thing).__name__ in ("DataFrameGroupBy", "SeriesGroupBy"):
        return (walk.form(thing.obj), repr({key: list(labels) for key, labels in thing.groups.items()}))
    if isinstance(thing, type):
        return None
    return (repr(thing),)


def _labels(walk: Any, index: Any) -> tuple[Any, ...]:
    # what labels an axis cannot change, and pandas makes another one of it at will
    if isinstance(index, pd.MultiIndex):
        return (repr(index.names), [_labels(walk, level) for level in index.levels], repr(list(index.codes)))
    labels = [walk.form(label) for label in index.tolist()]
    return (type(index).__name__, repr(index.names), repr(index.dtype), repr(getattr(index, "freq", None)), labels)


def _cells(walk: Any, array: Any) -> tuple[Any, ...]:
    # an array that a table gives is made when it is asked for, or not: with copy-on-write nobody can tell
    return (_dtype(array.dtype), [walk.form(cell) if _holds(cell) else repr(cell) for cell in array])


def _dtype(dtype: Any) -> str:
    return f"{dtype!r} {getattr(dtype, 'storage', '')} {getattr(dtype, 'categories', '')!r}"


def _holds(cell: Any) -> bool:
    return isinstance(cell, (list, dict))
