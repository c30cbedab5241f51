"""Memory that NumPy and torch share: `tensor.numpy()` looks into a storage, `torch.from_numpy` into an array.

A storage does not tell whose memory it looks into. So arrays and storages are known by where their memory is, as
they are met: the first of the two is saved with its bytes, the other as a view of it, and so it stays.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import torch

_arrays: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
"""Arrays that were saved with their memory, by its address."""
_storages: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
"""Storages of memory that is not torch's own, saved with it, by its address."""


def reduce_array(array: Any, owner: Any) -> Any:
    """Keep an array that looks into a storage as that; None for any other. `owner` is the array it is a view of."""
    if not isinstance(owner, np.ndarray) or owner.dtype.hasobject or not owner.nbytes:
        return None
    start = _address(owner)
    if isinstance(owner.base, torch.Tensor):
        storage = owner.base.untyped_storage()
    elif owner.flags.owndata and (storage := _storages.get(start)) is None:
        _arrays[start] = owner
        return None
    elif not owner.flags.owndata:
        return None
    offset = _address(array) - storage.data_ptr()
    return _array, (storage, array.dtype, array.shape, array.strides, offset, array.flags.writeable)


def reduce_storage(storage: Any) -> Any:
    """Keep a storage that looks into an array as that; None for any other."""
    if storage.resizable() or not storage.nbytes():
        return None
    owner = _arrays.get(storage.data_ptr())
    if owner is None or not (owner.flags.c_contiguous or owner.flags.f_contiguous):
        _storages[storage.data_ptr()] = storage
        return None
    return _storage, (owner, storage.nbytes())


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _array(storage: Any, dtype: Any, shape: Any, strides: Any, offset: int, writeable: bool) -> Any:  # noqa: FBT001
    memory = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
    made = np.ndarray(shape, dtype, memory, offset, strides)
    made.flags.writeable = writeable
    return made


def _storage(owner: Any, size: int) -> Any:
    return torch.from_numpy(owner.reshape(-1, order="A").view(np.uint8)[:size]).untyped_storage()
