"""pyarrow's arrays and tables: by type, chunks and values."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """The form of pyarrow's own objects."""
    if isinstance(thing, (pa.Table, pa.RecordBatch)):
        return (thing.schema.to_string(), thing.to_pylist())
    if isinstance(thing, pa.ChunkedArray):
        return (str(thing.type), [chunk.to_pylist() for chunk in thing.chunks])
    if isinstance(thing, pa.Array):
        return (str(thing.type), repr(thing.to_pylist()))
    if isinstance(thing, pa.Buffer):
        return (thing.to_pybytes(), walk.numbers.setdefault(("memory", thing.address), len(walk.numbers)))
    if isinstance(thing, pa.Schema):
        return (thing.to_string(), repr([field.metadata for field in thing]))
    return None if isinstance(thing, type) else (repr(thing),)
