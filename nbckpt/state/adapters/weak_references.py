"""Weak references, and dictionaries of them: they refer to the restored objects, and keep none of them alive.

An object that only weak references know of would have been collected, so it is not there after a resume.
"""

from __future__ import annotations

import weakref
from typing import Any


def reduce(thing: Any) -> Any:
    """Keep what is referred to, as long as it lives."""
    if type(thing) in (weakref.WeakValueDictionary, weakref.WeakKeyDictionary):
        return type(thing), (), None, None, iter(list(thing.items()))
    if type(thing) is weakref.ReferenceType:
        target = thing()
        return (_dead, ()) if target is None else (weakref.ref, (target, thing.__callback__))
    if type(thing) is weakref.WeakMethod:
        method = thing()
        return (_dead, ()) if method is None else (weakref.WeakMethod, (method,))
    return NotImplemented


def _dead() -> Any:
    class Gone:
        pass

    return weakref.ref(Gone())
