"""Weak references: they refer to the object that came back, and do not keep it alive either.

One that is to call somebody when its object dies cannot be saved: what it would call belongs to this process.
"""

from __future__ import annotations

import pickle
import weakref
from typing import Any


def reduce(thing: Any) -> Any:
    """Keep what is referred to, if it is still alive."""
    if isinstance(thing, weakref.WeakValueDictionary):
        return _mapping, (type(thing), list(thing.items()))
    if isinstance(thing, weakref.WeakKeyDictionary):
        return _mapping, (type(thing), list(thing.items()))
    if type(thing) is not weakref.ref or thing.__callback__ is not None:
        raise pickle.PicklingError("a weak reference that calls somebody belongs to this process")
    return _reference, (thing(),)


class _Gone:
    pass


def _reference(target: Any) -> Any:
    return weakref.ref(_Gone() if target is None else target)


def _mapping(kind: Any, items: list[tuple[Any, Any]]) -> Any:
    made = kind()
    for key, value in items:
        made[key] = value
    return made
