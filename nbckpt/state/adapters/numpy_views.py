"""NumPy arrays: those that look into other memory stay views of it, and those with memory of their own own it.

As NumPy pickles them, views become copies, and every array comes back as a view of the pickle's memory, so that
`resize` fails, and one whose axes lie in another order in memory comes back in C order.
"""

from __future__ import annotations

import pickle
import sys
from array import array as stdlib_array
from typing import Any

import numpy as np


def reduce(array: Any) -> Any:
    """Keep a view as its owner and its place in it, and an owner as its memory and how that is laid out."""
    if type(array) is not np.ndarray:
        return NotImplemented
    owner = _owner(array)
    if "torch" in sys.modules:
        from . import torch_arrays

        if (shared := torch_arrays.reduce_array(array, owner)) is not None:
            return shared
    if owner is not array:
        return _reduce_view(array, owner)
    if array.dtype.hasobject or array.dtype.itemsize == 0 or not _is_compact(array):
        return NotImplemented
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    raw = pickle.PickleBuffer(array.transpose(order).reshape(-1).view(np.uint8))
    return own, (raw, array.dtype, array.shape, tuple(order), array.flags.writeable)


def own(raw: Any, dtype: Any, shape: tuple[int, ...], order: tuple[int, ...], writeable: bool) -> Any:  # noqa: FBT001
    """An array with memory of its own, whose axes lie in memory in that order, outermost first."""
    laid_out = np.empty([shape[axis] for axis in order], dtype)
    laid_out.reshape(-1).view(np.uint8)[:] = np.frombuffer(raw, np.uint8)
    if list(order) == sorted(order):
        made = laid_out
    else:
        turned = laid_out.transpose(np.argsort(order))
        made = np.empty_like(turned)
        made[...] = turned
    made.flags.writeable = writeable
    return made


def _owner(array: Any) -> Any:
    """Whose memory an array looks into: the last of its bases that is an array; of that one, bytes of some kind."""
    owner = array
    while isinstance(base := _base(owner), np.ndarray):
        owner = base
    if owner is not array:
        return owner
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, (bytes, bytearray, stdlib_array)) else array


def _base(array: Any) -> Any:
    # `as_strided`, and the windows made with it, put an object of theirs between a view and its base
    return array.base.base if type(array.base).__name__ == "DummyArray" else array.base


def _reduce_view(array: Any, owner: Any) -> Any:
    memory = owner
    if not isinstance(owner, np.ndarray):
        memory = np.frombuffer(owner, np.uint8)
    elif type(owner) is not np.ndarray or array.dtype.hasobject != owner.dtype.hasobject or not _is_compact(owner):
        return NotImplemented
    offset = array.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
    return view, (owner, array.dtype, array.shape, array.strides, offset, array.flags.writeable)


def view(owner: Any, dtype: Any, shape: Any, strides: Any, offset: int, writeable: bool) -> Any:  # noqa: FBT001
    """The view again, of the owner's new memory."""
    made = np.ndarray(shape, dtype, owner, offset, strides)
    made.flags.writeable = writeable
    return made


def _is_compact(array: Any) -> bool:
    """Whether an array's elements fill its memory, in whatever order of its axes."""
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    return bool(array.transpose(order).flags.c_contiguous)
