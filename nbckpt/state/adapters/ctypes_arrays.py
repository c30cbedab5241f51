"""The classes of C arrays, like `ctypes.c_int * 4`, which ctypes makes when they are asked for."""

from __future__ import annotations

import ctypes
from typing import Any


def reduce(kind: Any) -> Any:
    """Keep what an array class is made of, unless it was derived from one."""
    if kind.__bases__ != (ctypes.Array,):
        return NotImplemented
    return _array_class, (kind._type_, kind._length_)


def _array_class(element: Any, length: int) -> Any:
    return element * length
