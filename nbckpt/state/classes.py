"""Classes as data: what one of the notebook is made with, before it is filled with what it holds.

cloudpickle makes a plain class and gives it all attributes afterwards. What decides how its objects are laid out
cannot come later: the slots, and whether there is a `__dict__` and a `__weakref__` beside them. It forgets what is
around a class that was defined inside something, too.
"""

from __future__ import annotations

import enum
import pickle
import types
import typing
from collections.abc import Iterator
from typing import Any

from .adapters import flax_structs


def completed(kind: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """What cloudpickle would make a class of, and what it has to be given from the start."""
    if issubclass(kind, enum.Enum):
        _check_members(kind)
        make, (bases, name, qualname, _, *rest), (attributes, other), *more = reduced
        members = dict(_members(kind))
        attributes = {name: value for name, value in attributes.items() if name not in members}
        return make, (bases, name, qualname, members, *rest), (attributes, other), *more
    if len(reduced) == _CALLED:
        return reduced
    make, (constructor, name, bases, given, *rest), (attributes, other), *more = reduced
    given = {**given, "__qualname__": kind.__qualname__}
    own = vars(kind)
    # a named tuple's maker gives it its own
    if "__slots__" in own and typing.NamedTuple not in own.get("__orig_bases__", ()):
        given["__slots__"] = slots = tuple(_slots(kind))
        # cloudpickle knows no private slots, and leaves out what has a slot's name though it is another thing
        attributes = {name: value for name, value in attributes.items() if not _is_slot(value, kind)}
        attributes |= {name: own[name] for name in slots if name not in _ASKED and not _is_slot(own[name], kind)}
    if flax_structs.MARK in own:
        more[-1] = flax_structs.fill
    return make, (constructor, name, bases, given, *rest), (attributes, other), *more


def _check_members(kind: Any) -> None:
    """Refuse an enum whose members are made by its own `__new__` of something else than their values.

    Raises:
        pickle.PicklingError: it is one.
    """
    make = getattr(kind, "_new_member_", None) or getattr(kind, "__new_member__", None)
    if kind._member_type_ is not object and isinstance(make, types.FunctionType) and make.__module__ == "__main__":
        raise pickle.PicklingError("its members are made by a __new__ of its own")


def _members(kind: Any) -> Iterator[tuple[str, Any]]:
    """All names of an enum's members with their values: cloudpickle leaves out aliases, and combinations of flags.

    A value that Python would take for no member, as a function or an inner class, is marked as one.
    """
    mark = getattr(enum, "member", None)  # from Python 3.11 on
    for name, member in kind.__members__.items():
        value = member.value
        is_unlike = isinstance(value, type) or any(hasattr(value, way) for way in ("__get__", "__set__", "__delete__"))
        yield name, mark(value) if mark and is_unlike else value


def _slots(kind: type) -> Iterator[str]:
    own = vars(kind)
    declared = own["__slots__"]
    names = [declared] if isinstance(declared, str) else [] if isinstance(declared, Iterator) else list(declared)
    mangled = [_mangled(kind, name) for name in names]
    found = [name for name, value in own.items() if _is_slot(value, kind)]
    yield from dict.fromkeys([*(name for name in mangled if name in own and name not in _ASKED), *found])
    # a class that has one of these of its own may have it from another base than the one its layout began with
    base: Any = kind.__base__
    yield from (name for name, offset in _ASKED.items() if getattr(kind, offset) and not getattr(base, offset))


_ASKED = {"__dict__": "__dictoffset__", "__weakref__": "__weakrefoffset__"}
"""What stands in `__slots__` and is none, and where a class tells whether its objects have it."""


def _is_slot(value: Any, kind: type) -> bool:
    return isinstance(value, types.MemberDescriptorType) and value.__objclass__ is kind


def _mangled(kind: type, name: str) -> str:
    return f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name


_CALLED = 2
"""How much there is to a class that is not made but asked for, as `type(None)` is."""
