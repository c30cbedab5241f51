"""Classes that pickle saves and cannot load: their own methods would run before their attributes are there.

A `__getattr__` that looks into an attribute is asked for `__setstate__` first, and asks itself for ever; a dict whose
`__setitem__` counts is filled before it has a counter; a `__new__` that wants arguments gets none. Their objects are
put together without calling any of these.
"""

from __future__ import annotations

import copyreg
import types
from typing import Any

_MUTATORS = {dict: ("__setitem__", "update"), list: ("__setitem__", "append", "extend")}


def applies(kind: type) -> bool:
    """Whether objects of a class are to be put together by hand."""
    if any(getattr(kind, name) is not getattr(object, name) for name in ("__reduce__", "__reduce_ex__")):
        return False
    own = [base for base in kind.__mro__ if base.__flags__ & _HEAP]
    names = {name for base in own for name in vars(base)}
    if names & {"__getnewargs__", "__getnewargs_ex__"}:
        return False
    return (
        "__getattr__" in names
        or any(issubclass(kind, base) and names & set(methods) for base, methods in _MUTATORS.items())
        or isinstance(kind.__new__, types.FunctionType)
    )


_HEAP = 1 << 9
"""Python's flag for a class made by a `class` statement."""


def reduce(thing: Any) -> Any:
    """Keep what pickle would."""
    reduced = thing.__reduce_ex__(5)
    if not isinstance(reduced, tuple) or reduced[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
        return NotImplemented
    _, (kind, *arguments), state, items, pairs = (*reduced, None, None, None)[:5]
    return bare, (kind, *arguments), (state, list(items or ()), list(pairs or ())), None, None, _fill


def usual(reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same parts in the places where pickle has them."""
    if reduced[0] is not bare:
        return reduced
    return copyreg.__newobj__, reduced[1], *reduced[2]  # type: ignore[attr-defined]


def bare(kind: Any, *arguments: Any) -> Any:
    """An object without attributes."""
    try:
        return kind.__new__(kind, *arguments)
    except TypeError:  # it wants what only its first maker knew
        base: Any = next(base for base in kind.__mro__ if not base.__flags__ & _HEAP)
        return base.__new__(kind, *arguments)


def _fill(thing: Any, saved: tuple[Any, list[Any], list[tuple[Any, Any]]]) -> None:
    state, items, pairs = saved
    if items:
        list.extend(thing, items)
    if pairs:
        dict.update(thing, pairs)
    if state is None:
        return
    if setstate := getattr(type(thing), "__setstate__", None):
        setstate(thing, state)
        return
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    if attributes:
        object.__getattribute__(thing, "__dict__").update(attributes)
    for name, value in (slots or {}).items():
        object.__setattr__(thing, name, value)
