"""Memory that NumPy and torch share: `tensor.numpy()` looks into a storage, `torch.from_numpy` into an array.

A storage does not tell whose memory it looks into. So arrays and storages are known by where their memory is, as
they are met: what owns its memory is saved with its bytes, and a storage that looks into it as a part of it.
"""

from __future__ import annotations

import warnings
import weakref
from bisect import bisect_left, bisect_right
from typing import Any

import numpy as np
import torch

from . import say_unsettled


class _Memory:
    """Things by where their memory is, for as long as they live."""

    def __init__(self) -> None:
        self.are_sought = False
        """Whether there is use for them: an array that is known here cannot be resized any more."""
        self._things: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._starts: list[int] | None = []
        """Where their memory begins, in order; None when there are new ones."""

    def note(self, thing: Any, start: int) -> bool:
        """Remember a thing; return whether it was not known."""
        if self._things.get(start) is thing:
            return False
        self._things[start] = thing
        self._starts = None
        return True

    def around(self, start: int, size: int) -> tuple[Any, int] | None:
        """What has all of some memory, and where that begins."""
        starts = self._sorted()
        for index in range(bisect_right(starts, start) - 1, -1, -1):
            at = starts[index]
            if (thing := self._things.get(at)) is not None:
                return (thing, at) if start + size <= at + _size(thing) else None
        return None

    def drop_inside(self, start: int, size: int) -> bool:
        """Forget those that lie in some memory; return whether there were any."""
        starts = self._sorted()
        inside = starts[bisect_left(starts, start) : bisect_left(starts, start + size)]
        return [self._things.pop(at) for at in inside if at in self._things] != []

    def _sorted(self) -> list[int]:
        if self._starts is None:
            self._starts = sorted(self._things.keys())
        return self._starts


_owners = _Memory()
"""Arrays and storages that own their memory."""
_guests = _Memory()
"""Storages that were saved with memory that is not their own, as nobody knew whose it is."""


def reduce_array(array: Any, owner: Any) -> Any:
    """Keep an array that looks into a storage as that; None for any other. `owner` is the array it is a view of."""
    if not isinstance(owner, np.ndarray) or owner.dtype.hasobject or not owner.nbytes:
        return None
    if not isinstance(owner.base, torch.Tensor):
        if _owners.are_sought and owner.flags.owndata and (owner.flags.c_contiguous or owner.flags.f_contiguous):
            _note_owner(owner, _address(owner))
        return None
    storage = owner.base.untyped_storage()
    offset = _address(array) - storage.data_ptr()
    return _array, (storage, array.dtype, array.shape, array.strides, offset, array.flags.writeable)


def reduce_storage(storage: Any) -> Any:
    """Keep a storage that looks into other memory as that; None for any other."""
    start, size = storage.data_ptr(), storage.nbytes()
    if not size:
        return None
    if storage.resizable():
        _note_owner(storage, start)
        return None
    if not _owners.are_sought:
        _owners.are_sought = True
        say_unsettled()  # arrays may have been met already
    found = _owners.around(start, size) or _guests.around(start, size)
    if found is None or found[0] is storage:
        if found is None and _guests.drop_inside(start, size):
            say_unsettled()
        _guests.note(storage, start)
        return None
    owner, begin = found
    return _storage, (owner, start - begin, size)


def _note_owner(owner: Any, start: int) -> None:
    """Remember whose memory that is: what was taken for its owner before has to be saved anew, as a part of it."""
    if _owners.note(owner, start) and _guests.drop_inside(start, _size(owner)):
        say_unsettled()


def _size(thing: Any) -> int:
    return int(thing.nbytes if isinstance(thing, np.ndarray) else thing.nbytes())


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _array(storage: Any, dtype: Any, shape: Any, strides: Any, offset: int, writeable: bool) -> Any:  # noqa: FBT001
    made = np.ndarray(shape, dtype, _bytes_of(storage), offset, strides)
    made.flags.writeable = writeable
    return made


def _storage(owner: Any, offset: int, size: int) -> Any:
    memory = _bytes_of(owner)[offset : offset + size]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an array that cannot be written to: it was made once, and warned of
        return torch.from_numpy(memory).untyped_storage()


def _bytes_of(owner: Any) -> Any:
    """All of the memory of an array or a storage."""
    if isinstance(owner, np.ndarray):
        return owner.reshape(-1, order="A").view(np.uint8)
    return torch.empty(0, dtype=torch.uint8, device="cpu").set_(owner).numpy()
