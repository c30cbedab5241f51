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

from . import foreign_memory, object_arrays, remark, say_unsettled


def reduce(array: Any) -> Any:
    """Keep a view as its owner and its place in it, and an owner as its memory and how that is laid out.

    Of an array of a derived class also its attributes, the mask of a masked one among them, which NumPy's own pickles
    drop or copy.
    """
    kind = type(array)
    if kind is np.ndarray:
        return _reduce(array)
    if not _is_pickled_by_numpy(kind):
        return NotImplemented
    attributes = getattr(array, "__dict__", None)
    if (reduced := _reduce(array)) is NotImplemented:
        plain: Any = np.ndarray.__reduce__(array)
        make, arguments, state = plain
        return make, arguments, (state, attributes), None, None, _fill
    make, arguments = reduced
    return make, (*arguments, kind), (None, attributes), None, None, _fill


def _is_pickled_by_numpy(kind: type) -> bool:
    """Whether a derived class leaves it to NumPy how its objects are pickled."""
    masked = sys.modules.get("numpy.ma")
    known = [np.ndarray, masked.MaskedArray] if masked else [np.ndarray]
    names = ("__reduce__", "__reduce_ex__", "__setstate__")
    return any(all(getattr(kind, name) is getattr(base, name) for name in names) for base in known)


def _fill(array: Any, saved: tuple[Any, Any]) -> None:
    state, attributes = saved
    if state is not None:
        np.ndarray.__setstate__(array, state)
    if attributes is not None:
        array.__dict__.clear()
        array.__dict__.update(attributes)


def reduce_element(element: Any) -> Any:
    """Keep an element of an array of records, which looks into the array's memory."""
    base = element.base
    while isinstance(base, np.void):  # of an element within an element
        base = base.base
    if not isinstance(base, np.ndarray):
        return NotImplemented
    place = np.ndarray((), element.dtype, base, _start(element) - _start(base))
    if (reduced := _reduce_view(place, _owner(base))) is NotImplemented:
        return NotImplemented
    return _element, reduced[1]


def _element(*place: Any) -> Any:
    return view(*place)[()]


_outside: dict[int, int] = {}
"""Arrays whose memory was saved as what arrays look into, by identity, with where their memory is.

Weak references will not do: an array that has one cannot be resized. One that is taken for another here only loses
a table's memory of its own.
"""
_in_tables: dict[int, int] = {}
"""Arrays whose memory was saved as a table's own."""
_MOST = 100_000


def is_known_outside(array: Any) -> bool:
    """Whether arrays outside of tables look into the memory of a table's array; if that turns out later, it is said."""
    owner = _owner(array)
    if isinstance(owner, np.ndarray) and _outside.get(id(owner)) != _start(owner):
        _note(_in_tables, owner)
        return False
    return True


def _note_outside(owner: Any) -> None:
    if _outside.get(id(owner)) != _start(owner):
        _note(_outside, owner)
        if _in_tables.get(id(owner)) == _start(owner):
            say_unsettled()


def _note(known: dict[int, int], owner: Any) -> None:
    if len(known) == _MOST:
        known.clear()
    known[id(owner)] = _start(owner)


def _reduce(array: Any) -> Any:
    owner = _owner(array)
    if "pandas" in sys.modules and isinstance(owner, np.ndarray):
        _note_outside(owner)
    if "torch" in sys.modules and type(array) is np.ndarray:
        from . import torch_arrays

        if (shared := torch_arrays.reduce_array(array, owner)) is not None:
            return shared
    if owner is not array:
        return _reduce_view(array, owner)
    if array.flags.writeable and (memory := foreign_memory.around(_base(array))) is not None:
        remark(array, f"looks into the memory of {memory.what}, which is not saved: after a resume it has another")
        return _reduce_view(array, memory)
    if array.dtype.hasobject:
        return object_arrays.reduce(array)
    if array.dtype.itemsize == 0 or not _is_compact(array):
        return NotImplemented
    plain = _plain(array)
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    raw = pickle.PickleBuffer(plain.transpose(order).reshape(-1).view(np.uint8))
    return own, (raw, array.dtype, array.shape, tuple(order), array.flags.writeable)


def own(
    raw: Any,
    dtype: Any,
    shape: tuple[int, ...],
    order: tuple[int, ...],
    writeable: bool,  # noqa: FBT001
    kind: Any = np.ndarray,
) -> Any:
    """An array with memory of its own, whose axes lie in memory in that order, outermost first."""
    lengths = tuple(shape[axis] for axis in order)
    if (laid_out := _taken_over(raw, dtype, lengths)) is None:
        laid_out = np.empty(lengths, dtype)
        laid_out.reshape(-1).view(np.uint8)[:] = np.frombuffer(raw, np.uint8)
    if list(order) == sorted(order) and kind is np.ndarray:
        made = laid_out
    else:
        turned = laid_out.transpose(np.argsort(order))
        made = np.empty_like(turned.view(kind))
        _plain(made)[...] = turned
    made.flags.writeable = writeable
    return made


def room(size: int) -> memoryview:
    """Memory of an array, which `own` makes into the array to be."""
    return np.empty(size, np.uint8).data


def _taken_over(raw: Any, dtype: Any, lengths: tuple[int, ...]) -> Any:
    """The array that has some memory, made into another; None where the memory is not an array's own."""
    made = raw.obj if type(raw) is memoryview else None
    if type(made) is not np.ndarray or not made.flags.owndata or made.dtype != np.uint8 or not lengths:
        return None
    if hasattr(made, "_set_dtype"):  # from NumPy 2.5 on, which would rather have a view: that owns no memory
        made._set_dtype(dtype)  # noqa: SLF001
    else:
        made.dtype = dtype
    made.resize(lengths, refcheck=False)  # as many bytes as before: nothing moves
    return made


def _plain(array: Any) -> Any:
    """An array of a derived class as one of NumPy's own."""
    return array if type(array) is np.ndarray else np.ndarray.view(array, np.ndarray)


def _owner(array: Any) -> Any:
    """Whose memory an array looks into: the last of its bases that is an array; of that one, bytes of some kind."""
    owner = array
    while isinstance(base := _base(owner), (np.ndarray, np.void)):
        owner = base
    if owner is not array:
        return owner
    return base if isinstance(base, (bytes, bytearray, stdlib_array)) else array


def _base(array: Any) -> Any:
    # `as_strided`, and the windows made with it, put an object of theirs between a view and its base
    base = array.base.base if type(array.base).__name__ == "DummyArray" else array.base
    return base.obj if isinstance(base, memoryview) else base


def _reduce_view(array: Any, owner: Any) -> Any:
    if isinstance(owner, np.ndarray):
        if not _is_kept_whole(owner):
            return NotImplemented
        start = _start(owner)
    else:
        start = owner.start if isinstance(owner, foreign_memory.Memory) else _start(np.frombuffer(owner, np.uint8))
    return view, (owner, array.dtype, array.shape, array.strides, _start(array) - start, array.flags.writeable)


def _start(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _is_kept_whole(owner: Any) -> bool:
    """Whether an array comes back with the layout that views of it count on."""
    kind = type(owner)
    if kind not in (np.ndarray, np.memmap) and not _is_pickled_by_numpy(kind):
        return False
    flags = owner.flags
    return _is_compact(owner) and (not owner.dtype.hasobject or flags.c_contiguous or flags.f_contiguous)


def view(
    owner: Any,
    dtype: Any,
    shape: Any,
    strides: Any,
    offset: int,
    writeable: bool,  # noqa: FBT001
    kind: Any = np.ndarray,
) -> Any:
    """The view again, of the owner's new memory."""
    if writeable and isinstance(owner, np.ndarray) and not owner.flags.writeable:  # the owner was locked after it
        owner.flags.writeable = True
        try:
            return np.ndarray.__new__(kind, shape, dtype, owner, offset, strides)
        finally:
            owner.flags.writeable = False
    made = np.ndarray.__new__(kind, shape, dtype, owner, offset, strides)
    made.flags.writeable = writeable
    return made


def _is_compact(array: Any) -> bool:
    """Whether an array's elements fill its memory, in whatever order of its axes."""
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    return bool(array.transpose(order).flags.c_contiguous)
