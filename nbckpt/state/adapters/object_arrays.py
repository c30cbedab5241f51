"""Arrays of texts and other plain values, as tables have them: what of one is as it was is not pickled again.

They are pickled in stretches, each told by the addresses of its values. Texts come back as one object where they were
one within a stretch; floats that are not numbers keep the array from it, unless they are a module's constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import pieces


def reduce(array: Any) -> Any:
    """Keep an array of plain values as pickles of its stretches, in the order of its memory."""
    known = pieces.in_use()
    if known is None or type(array) is not np.ndarray or array.size < pieces.LEAST:
        return NotImplemented
    if array.dtype.kind != "O" or array.dtype.metadata is not None or not array.flags.forc:
        return NotImplemented
    flat = array.ravel(order="K")  # which is no copy
    found = pieces.stretches(known, flat.ctypes.data, flat.size, lambda at: flat[at : at + pieces.STRETCH].copy())
    return NotImplemented if found is None else (make_array, (found, array.shape, array.flags.fnc))


def make_array(found: list[Any], shape: tuple[int, ...], turned: bool) -> Any:  # noqa: FBT001 - as it was pickled
    """The values in pieces, in that shape; `turned` ones lie in memory column by column."""
    values = pieces.make_list(found)
    if turned:
        values = np.fromiter(values, object, len(values)).reshape(shape[::-1]).T.ravel().tolist()
    array = np.ndarray((0,), "b")
    array.__setstate__((1, shape, np.dtype(object), turned, values))  # as NumPy does it: the array owns its memory
    return array
