"""Weak references, and dictionaries of them: they refer to the restored objects, and keep none of them alive.

An object that only weak references know of would have been collected, so it is not there after a resume. One that is
to call somebody when its object dies cannot be saved: what it would call belongs to this process.
"""

from __future__ import annotations

import pickle
import weakref
from typing import Any


def reduce(thing: Any) -> Any:
    """Keep what is referred to, as long as it lives."""
    if isinstance(thing, (weakref.WeakValueDictionary, weakref.WeakKeyDictionary)):
        return type(thing), (), None, None, iter(list(thing.items()))
    if type(thing) is weakref.WeakMethod:
        method = thing()
        return (_dead, ()) if method is None else (weakref.WeakMethod, (method,))
    if type(thing) is not weakref.ref or thing.__callback__ is not None:
        raise pickle.PicklingError("a weak reference that calls somebody belongs to this process")
    target = thing()
    return (_dead, ()) if target is None else (weakref.ref, (target,))


def _dead() -> Any:
    class Gone:
        pass

    return weakref.ref(Gone())
