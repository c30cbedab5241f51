"""Memory that arrays look into and that belongs to nothing that can be saved: that of a `mmap`, of a ctypes array.

Its bytes come back as an array of their own, which all that looked into it look into again.
"""

from __future__ import annotations

import pickle
import weakref
from typing import Any

import numpy as np


class Memory:
    """The memory of something, which it does not keep alive."""

    def __init__(self, owner: Any) -> None:
        kind = type(owner)
        self.what = f"a {kind.__module__}.{kind.__qualname__}"
        key = id(owner)
        self._owner = weakref.ref(owner, lambda _: _known.pop(key, None))
        self.start = int(self._bytes().__array_interface__["data"][0])

    def _bytes(self) -> Any:
        return np.frombuffer(self._owner(), np.uint8)

    def __reduce__(self) -> Any:
        return _array, (pickle.PickleBuffer(self._bytes()),)


def _array(raw: Any) -> Any:
    return np.array(np.frombuffer(raw, np.uint8))


_known: dict[int, Memory] = {}
"""By their owners' identity, as ctypes arrays have no hash, for as long as these live."""


def around(owner: Any) -> Memory | None:
    """The memory of what an array has as its base; None if that does not show all of it."""
    if isinstance(owner, memoryview):
        owner = owner.obj
    try:
        if (memory := _known.get(id(owner))) is None:
            memory = _known[id(owner)] = Memory(owner)
    except (TypeError, ValueError, BufferError):  # no weak reference, no buffer, or not one piece
        return None
    return memory
