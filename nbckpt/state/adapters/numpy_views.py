"""NumPy arrays that look into another array's memory: they stay views of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..pickling import OUT_OF_BAND

_ARRAYS = (np.ndarray, type(np.lib.stride_tricks.as_strided(np.zeros(1), (1,)).base))
"""What may stand between a view and the owner of its memory: `as_strided` puts a thing of its own there."""


def reduce(array: Any) -> Any:
    """Keep a view as its owner and its place in it; an array with memory of its own pickles as it always does."""
    owner = array.base
    if owner is None and type(array) is np.ndarray and array.nbytes < OUT_OF_BAND:
        return array.__reduce__()  # comes back with memory of its own; a big one looks into the bytes that were read
    while type(owner) in _ARRAYS and isinstance(owner.base, _ARRAYS):
        owner = owner.base
    if type(array) is not np.ndarray or type(owner) is not np.ndarray:
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
