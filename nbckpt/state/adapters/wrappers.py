"""What `functools` and `typing` make of the notebook's functions: it has no name that pickle would find it by."""

from __future__ import annotations

import functools
import sys
import typing
from typing import Any


def reduce(thing: Any) -> Any:
    """Keep what was wrapped and how."""
    if isinstance(thing, functools.singledispatchmethod):
        return _dispatching_method, (thing.func, dict(thing.dispatcher.registry))
    if _found_elsewhere(thing):
        return NotImplemented
    if isinstance(thing, typing.NewType):
        return _new_type, (thing.__name__, thing.__supertype__, thing.__module__)
    return NotImplemented


def _found_elsewhere(thing: Any) -> bool:
    """Whether it is a module's own, under its name."""
    if thing.__module__ == "__main__":
        return False
    found = sys.modules.get(thing.__module__)
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is thing


def _new_type(name: str, supertype: Any, module: str) -> Any:
    made = typing.NewType(name, supertype)  # type: ignore[misc]
    made.__module__ = module
    return made


def _dispatching_method(function: Any, registry: dict[type, Any]) -> Any:
    made = functools.singledispatchmethod(function)
    for kind, implementation in registry.items():
        made.dispatcher.register(kind, implementation)
    return made
