"""Arrays of texts and other plain values, as tables have them: what of one is as it was is not pickled again.

They are pickled in stretches, each told by the addresses of its values. Texts come back as one object where they were
one within a stretch; floats that are not numbers keep the array from it, unless they are a module's constant.
"""

from __future__ import annotations

import ctypes
import io
import operator
import pickle
from itertools import compress
from typing import Any

import numpy as np

from .. import pieces, stand_ins
from ..picklers import PLAIN

LEAST = 1 << 12
"""Elements of an array from which on this pays."""
STRETCH = 1 << 16
_KEYED = ctypes.sizeof(ctypes.c_void_p)


def reduce(array: Any) -> Any:
    """Keep an array of plain values as pickles of its stretches, in the order of its memory."""
    known = pieces.in_use()
    if known is None or type(array) is not np.ndarray or array.size < LEAST:
        return NotImplemented
    if array.dtype.kind != "O" or array.dtype.metadata is not None or not array.flags.forc:
        return NotImplemented
    flat = array.ravel(order="K")  # which is no copy
    found = []
    for at in range(0, flat.size, STRETCH):
        stretch = flat[at : at + STRETCH]
        if (piece := known.find(_key(stretch))) is None:
            held = stretch.copy()  # another thread may go on to change the array
            if (piece := _pickled(held.tolist())) is None:
                return NotImplemented
            known.keep(_key(held), held, piece)
        found.append(pickle.PickleBuffer(piece))
    return _array, (found, array.shape, array.flags.fnc)


def _key(stretch: Any) -> bytes:
    """What tells values apart that are held: their addresses."""
    from xxhash import xxh3_128_digest

    start = int(stretch.__array_interface__["data"][0])
    return xxh3_128_digest((ctypes.c_char * (_KEYED * stretch.size)).from_address(start))


def _pickled(values: list[Any]) -> bytes | None:
    """The pickle of some values, if they are plain and none of them is told from an equal one by its identity."""
    kinds = set(map(type, values))
    if not kinds <= PLAIN:
        return None
    if float not in kinds or not any(unequal := list(map(operator.ne, values, values))):
        return pickle.dumps(values, 5)
    constants = stand_ins.constants()
    if not constants.keys() >= set(map(id, compress(values, unequal))):
        return None
    stream = io.BytesIO()
    pickler: Any = pickle.Pickler(stream, 5)
    pickler.persistent_id = lambda thing: constants.get(id(thing))
    pickler.dump(values)
    return stream.getvalue()


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, word: Any) -> Any:
        return stand_ins.find(word, {}, {})


def _array(found: list[Any], shape: tuple[int, ...], turned: bool) -> Any:  # noqa: FBT001 - as it was pickled
    values = [value for piece in found for value in _Unpickler(io.BytesIO(piece)).load()]
    if turned:
        values = np.fromiter(values, object, len(values)).reshape(shape[::-1]).T.ravel().tolist()
    array = np.ndarray((0,), "b")
    array.__setstate__((1, shape, np.dtype(object), turned, values))  # as NumPy does it: the array owns its memory
    return array
