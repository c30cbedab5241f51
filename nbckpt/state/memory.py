"""The memory that saved bytes come back into: that of the very array to be, so that they are not copied once more.

To copy a gigabyte takes as long as to read and verify it, and twice the memory. So a snapshot says who had the bytes of
each buffer. On the way back they are read into memory of the same kind, and what is built of them takes that over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LEAST = 1 << 16
"""Bytes of a buffer from which on this pays."""
_NOBODY = "-"


def owners(buffers: Sequence[memoryview]) -> dict[str, str]:
    """What a snapshot says of the memory of a part's buffers: a letter each, nothing where no memory is taken over."""
    found = "".join(map(_owner, buffers))
    return {"memory": found} if found.strip(_NOBODY) else {}


def allocate(info: Mapping[str, Any], sizes: Sequence[int]) -> list[memoryview | None]:
    """Memory for the buffers of a part, by what was said of them; None where any will do."""
    found = info.get("memory")
    if not isinstance(found, str) or len(found) != len(sizes):
        return [None] * len(sizes)
    return [_room(owner, size) for owner, size in zip(found, sizes, strict=True)]


def spent(buffers: list[Any]) -> Iterator[Any]:
    """Each buffer in turn; from then on only what takes it has it."""
    buffers.reverse()
    while buffers:
        yield buffers.pop()


def _owner(buffer: memoryview) -> str:
    if buffer.nbytes < LEAST:
        return _NOBODY
    thing = buffer.obj
    if type(thing).__module__ == "numpy":
        return "n"
    return "t" if hasattr(thing, "storage") else _NOBODY


def _room(owner: str, size: int) -> memoryview | None:
    try:
        if owner == "n":
            from .adapters import numpy_views

            return numpy_views.room(size)
        if owner == "t":
            from .adapters import torch_tensors

            return torch_tensors.room(size)
    except Exception:  # noqa: BLE001 - a library that is missing or broken, or has no memory: what needs it will say so
        return None
    return None
