"""What `functools` and `typing` make of the notebook's functions: it has no name that pickle would find it by."""

from __future__ import annotations

import functools
import sys
import typing
from typing import Any

from ..home import _home, _resolve as resolve


def reduce(thing: Any) -> Any:
    """Keep what was wrapped and how. A cache of results comes back empty."""
    if isinstance(thing, functools.cached_property):
        return functools.cached_property, (thing.func,), {"attrname": thing.attrname}
    if isinstance(thing, functools.singledispatchmethod):
        return _dispatching_method, (thing.func, dict(thing.dispatcher.registry))
    if _found_elsewhere(thing):
        return NotImplemented
    if isinstance(thing, typing.NewType):
        return _new_type, (thing.__name__, thing.__supertype__, thing.__module__)
    name = thing.__qualname__ if resolve(vars(sys.modules["__main__"]), thing.__qualname__) is thing else ""
    return _caching, (name, thing.__wrapped__, thing.cache_parameters())


def _found_elsewhere(thing: Any) -> bool:
    """Whether it is a module's own, under its name."""
    if thing.__module__ == "__main__":
        return False
    found = sys.modules.get(thing.__module__)
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is thing


def _caching(name: str, function: Any, parameters: dict[str, Any]) -> Any:
    """The live one of that name, as for functions without a cache."""
    live = resolve(_home.get().namespace, name) if name else None
    if hasattr(live, "cache_parameters"):
        return live
    return functools.lru_cache(**parameters)(function)


def _new_type(name: str, supertype: Any, module: str) -> Any:
    made = typing.NewType(name, supertype)  # type: ignore[misc]
    made.__module__ = module
    return made


def _dispatching_method(function: Any, registry: dict[type, Any]) -> Any:
    made = functools.singledispatchmethod(function)
    for kind, implementation in registry.items():
        made.dispatcher.register(kind, implementation)
    return made
