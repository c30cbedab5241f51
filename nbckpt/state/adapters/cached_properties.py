"""Cached properties, in the classes that a notebook defines: before Python 3.12 each of them holds a lock."""

from __future__ import annotations

import functools
from typing import Any


def reduce(descriptor: Any) -> Any:
    """Keep all but the lock."""
    if type(descriptor) is not functools.cached_property:
        return NotImplemented
    state = {name: value for name, value in vars(descriptor).items() if name != "lock"}
    return functools.cached_property, (descriptor.func,), state
