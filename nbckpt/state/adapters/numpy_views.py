"""NumPy arrays that look into another array's memory: they stay views of it."""

from __future__ import annotations

from typing import Any

import numpy as np


def reduce(array: Any) -> Any:
    """Keep a view as its owner and its place in it; an array with memory of its own pickles as it always does."""
    owner = array.base
    while type(owner) is np.ndarray and isinstance(owner.base, np.ndarray):
        owner = owner.base
    if type(array) is not np.ndarray or type(owner) is not np.ndarray or array.size == 0:
        return NotImplemented
    if array.dtype.hasobject or owner.dtype.hasobject or not (owner.flags.c_contiguous or owner.flags.f_contiguous):
        return NotImplemented
    offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    return view, (owner, array.dtype, array.shape, array.strides, offset, array.flags.writeable)


def view(owner: Any, dtype: Any, shape: Any, strides: Any, offset: int, writeable: bool) -> Any:  # noqa: FBT001
    """The view again, of the owner's new memory."""
    made = np.ndarray(shape, dtype, owner, offset, strides)
    made.flags.writeable = writeable
    return made
