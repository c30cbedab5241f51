"""What running code changes in the notebook's own classes and functions: counters, caches, mutable defaults.

A definition is made again by running its cell, so only what differs from its fresh state belongs to a snapshot. That
state is what the definition holds, and what the code in it holds: the defaults of its methods, what their decorators
count, the values that its descriptors keep, the attributes of its inner classes and of its members, if it is an enum.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import pickle
import re
import sys
import types
import weakref
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from . import caches
from .fingerprints import stable_digest
from .home import is_definition
from .pickling import digest

State = dict[tuple[str, ...], Any]
"""A definition's data, by the way to it: attributes, and in brackets a function's closure variables and cache."""


_CACHE = "<cache>"
_DEFAULT, _NAMED_DEFAULT = "<default> ", "<named default> "


def state_of(definition: Any) -> State:
    """The data that a function or class carries, and the code in it; code and descriptors are not data."""
    return {(*way, name): value for way, code in _code_in(definition) for name, value in _held(code).items()}


def put_state(definition: Any, state: Mapping[tuple[str, ...], Any]) -> None:
    """Give a definition data that was saved, as far as it still has a place for it."""
    places = dict(_code_in(definition))
    for (*way, name), value in state.items():
        if (code := places.get(tuple(way))) is None:
            continue
        if name == _CACHE:
            caches.fill(code, value)
        elif name.startswith((_DEFAULT, _NAMED_DEFAULT)):
            _put_default(code, name, value)
        elif name.startswith("<"):
            if (cell := _cells(code).get(name)) is not None:
                cell.cell_contents = value
        elif isinstance(code, enum.Enum):
            _put_in_member(code, name, value)
        elif isinstance(code, (type, types.FunctionType, caches.CACHED)):
            setattr(code, name, value)
        else:
            object.__setattr__(code, name, value)


def code_digest(definition: Any) -> str | None:
    """A hash of what a definition does, which another process finds too: of its code, and of defaults that are plain.

    Where it stands, and the comments in it, make no difference.
    """
    functions = [(way, part) for way, part in _code_in(definition) if _is_function(part)]
    return stable_digest([(way, _defaults(part), _facts(part.__code__)) for way, part in functions])


def _defaults(function: types.FunctionType) -> list[Any]:
    given = [*enumerate(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
    return [(name, value if type(value) in {*_SIMPLE, float} else None) for name, value in given]


def _facts(code: types.CodeType) -> list[Any]:
    found: list[Any] = []
    waiting = [code]
    for one in waiting:
        waiting += [part for part in one.co_consts if isinstance(part, types.CodeType)]
        plain = [part for part in one.co_consts if not isinstance(part, types.CodeType)]
        values = [repr(part) if part is ... else part for part in plain]
        found.append((one.co_code, one.co_names, one.co_varnames, one.co_freevars, values))
    return found


def _code_in(definition: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A definition and all code in it that has data, once each, with the way to it."""
    seen = {id(definition)}
    waiting: list[tuple[tuple[str, ...], Any]] = [((), definition)]
    for way, code in waiting:
        yield way, code
        for name, part in _inside(code):
            if id(part) not in seen:
                seen.add(id(part))
                waiting.append(((*way, name), part))


def _inside(code: Any) -> Iterator[tuple[str, Any]]:
    """The code that a definition, or code in one, is made of; other definitions are not."""
    if isinstance(code, type):
        for name, value in list(vars(code).items()):
            if isinstance(value, property):
                parts = {"fget": value.fget, "fset": value.fset, "fdel": value.fdel}
                yield from ((f"{name}.{part}", inner) for part, inner in parts.items() if _is_function(inner))
            elif isinstance(value, functools.singledispatchmethod):
                yield from _implementations(name, value.dispatcher)
            elif isinstance(value, caches.CACHED) or not _is_put_there(name, value, code):
                inner = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
                if _is_part(inner) or (isinstance(inner, type) and inner.__module__ == "__main__"):
                    yield name, inner
        if issubclass(code, enum.Enum):
            yield from code.__members__.items()
    elif isinstance(code, caches.CACHED):
        yield "__wrapped__", code.__wrapped__
    elif isinstance(code, types.FunctionType):
        yield from _implementations("", code)
        for name, cell in _cells(code).items():
            with contextlib.suppress(ValueError):  # not bound yet
                if _is_part(cell.cell_contents) and not is_definition(cell.cell_contents):
                    yield name, cell.cell_contents
    elif not isinstance(code, enum.Enum):
        for name, value in _attributes(code).items():
            if _is_part(value) and not is_definition(value):
                yield name, value


def _implementations(name: str, dispatching: Any) -> Iterator[tuple[str, Any]]:
    """What `functools.singledispatch` has been told, by the classes that it is for."""
    if isinstance(registry := getattr(dispatching, "registry", None), types.MappingProxyType):
        for kind, function in registry.items():
            if _is_function(function):
                yield f"{name}({kind.__qualname__})", function


def _held(code: Any) -> dict[str, Any]:
    """The data that one piece of code has, by the names that lead to it."""
    if isinstance(code, type):
        own = vars(code).items()
        return {name: value for name, value in own if _is_put_there(name, value, code)}
    if isinstance(code, caches.CACHED):
        held = {name: value for name, value in vars(code).items() if _is_own(name) and _is_data(value)}
        try:
            held[_CACHE] = caches.contents(code)
        except pickle.PicklingError:
            if code.cache_info().currsize:
                held[_CACHE] = caches.UNREADABLE
        return held
    if isinstance(code, types.FunctionType):
        return _held_by_function(code)
    if isinstance(code, enum.Enum):
        attributes = {name: value for name, value in vars(code).items() if name not in _OF_MEMBERS}
    else:
        attributes = _attributes(code)
    return {name: value for name, value in attributes.items() if _is_data(value) or is_definition(value)}


_OF_MEMBERS = {"_name_", "_sort_order_", "__objclass__"}
"""What Python itself puts on the members of an enum, besides their values."""


def _held_by_function(function: types.FunctionType) -> dict[str, Any]:
    if not _is_function(function):
        return {}  # a library's wrapper around the notebook's function
    held = {name: value for name, value in vars(function).items() if _is_data(value) or is_definition(value)}
    # each by itself: one may be a lock
    held |= {f"{_DEFAULT}{index}": value for index, value in enumerate(function.__defaults__ or ())}
    held |= {f"{_NAMED_DEFAULT}{name}": value for name, value in (function.__kwdefaults__ or {}).items()}
    for name, cell in _cells(function).items():
        with contextlib.suppress(ValueError):  # not bound yet
            if _is_data(cell.cell_contents) or is_definition(cell.cell_contents):
                held[name] = cell.cell_contents
    return held


def _is_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType) and value.__globals__ is vars(sys.modules["__main__"])


def _is_part(value: Any) -> bool:
    """Whether a value is code that has data of its own: a function, or a descriptor of a class of the notebook."""
    if isinstance(value, caches.CACHED) or _is_function(value):
        return True
    kind = type(value)
    return kind.__module__ == "__main__" and hasattr(kind, "__get__") and not isinstance(value, (type, enum.Enum))


def _attributes(thing: Any) -> dict[str, Any]:
    """An object's attributes, in its dict and its slots."""
    found = dict(getattr(thing, "__dict__", {}))
    for base in type(thing).__mro__:
        for name, slot in vars(base).items():
            if isinstance(slot, types.MemberDescriptorType):
                with contextlib.suppress(AttributeError):  # it is empty
                    found[name] = slot.__get__(thing)
    return found


def _put_default(function: types.FunctionType, name: str, value: Any) -> None:
    """Give an argument of a function its default; what was the default of one that is not there is nobody's."""
    kind, _, place = name.partition("> ")
    if f"{kind}> " == _NAMED_DEFAULT:
        if place in (named := function.__kwdefaults__ or {}):
            named[place] = value
    elif int(place) < len(defaults := list(function.__defaults__ or ())):
        defaults[int(place)] = value
        function.__defaults__ = tuple(defaults)


def _put_in_member(member: Any, name: str, value: Any) -> None:
    """Give an enum's member an attribute; by its value it is looked up."""
    kind: Any = type(member)
    if name == "_value_":
        try:
            kind._value2member_map_.pop(member.value, None)
            kind._value2member_map_[value] = member
        except TypeError:  # what has no hash is gone through
            by_name = getattr(kind, "_unhashable_values_map_", {})
            for known in (getattr(kind, "_unhashable_values_", []), by_name.get(member.name, [])):
                known[:] = [value if one is member.value else one for one in known]
    object.__setattr__(member, name, value)


def _cells(definition: Any) -> dict[str, types.CellType]:
    """A function's closure, but for a method's class; a class has none."""
    if not isinstance(definition, types.FunctionType):
        return {}
    names = [f"<{name}>" for name in definition.__code__.co_freevars]
    cells = dict(zip(names, definition.__closure__ or (), strict=True))
    cells.pop("<__class__>", None)
    return cells


def fresh_digests(definition: Any) -> dict[tuple[str, ...], str | None]:
    """What to compare a definition's later state with: its state when a run in this process first met it.

    What another cell has added since then belongs to it, too.
    """
    known, found, added = _met.get(id(definition), (None, {}, set()))
    if known is None or known() is not definition:
        key = id(definition)
        found, added = {}, set()
        _met[key] = weakref.ref(definition, lambda _: _met.pop(key, None)), found, added
    for way, value in state_of(definition).items():
        if way not in found and way not in added:
            found[way] = _digest(value)
    return found


_met: dict[int, tuple[weakref.ref[Any], dict[tuple[str, ...], str | None], set[tuple[str, ...]]]] = {}
"""Definitions with what their state was, and the ways to what runs in this process were seen to add to it."""


def split_state(
    definition: Any, fresh: Mapping[tuple[str, ...], str | None]
) -> tuple[State, State, list[tuple[str, ...]]]:
    """The part of a definition's state that differs from what it was, and the rest; and the caches in neither.

    These hold what cannot be saved. All else that cannot be is made again with the definition.
    """
    parts: tuple[State, State] = {}, {}
    lost = []
    _, before, added = _met.get(id(definition), (None, {}, set()))
    for way, value in state_of(definition).items():
        if (now := _digest(value)) is not None:
            parts[now == fresh.get(way)][way] = value
            if way not in before:
                added.add(way)
        elif way[-1] == _CACHE:
            lost.append(way)
    return *parts, lost


def lost_caches(name: str, ways: Iterable[tuple[str, ...]]) -> str:
    """What a person should know of caches that cannot be saved, in a definition of some name."""
    inner = [(part for part in way if not part.startswith(("<", "__"))) for way in ways]
    functions = [f"{'.'.join((name, *parts))}()" for parts in inner]
    return (
        f"{', '.join(functions)} keeps results that cannot be saved in its cache: a resumed run computes them again"
        if functions
        else ""
    )


def put_unchanged(definition: Any, state: State) -> None:
    """Give a definition state that had not changed, for what shares it; what was edited since stays as it is."""
    live, fresh = state_of(definition), fresh_digests(definition)
    now = {way: _digest(live.get(way)) for way in state}
    same = {way for way, value in state.items() if now[way] == _digest(value) or now[way] != fresh.get(way, now[way])}
    put_state(definition, {way: value for way, value in state.items() if way in same})


def _digest(value: Any) -> str | None:
    """A hash of a value, or of what most values here are what can be said shorter."""
    if type(value) is tuple and _SIMPLE.issuperset(map(type, value)):
        return f"({','.join(map(repr, value))})"
    return repr(value) if type(value) in _SIMPLE else digest(value)


_SIMPLE = {int, bool, str, bytes, type(None)}


def _is_own(name: str) -> bool:
    return not name.startswith(("__", "_abc_"))


def drop_added(definition: Any, saved: Container[tuple[str, ...]]) -> None:
    """Take from a definition the attributes that a run in this process gave it, and that were not there yet."""
    _, _, added = _met.get(id(definition), (None, {}, set()))
    places = dict(_code_in(definition))
    for way in [way for way in added if way not in saved and not way[-1].startswith("<")]:
        code = places.get(way[:-1])
        if code is not None and way[-1] in _held(code):
            delattr(code, way[-1])
        added.discard(way)


def _is_data(value: Any) -> bool:
    """Whether a value is no code: functions are, and descriptors, which answer for attributes."""
    if isinstance(value, (types.MethodType, functools.partial)):
        return True  # they pass for descriptors
    return not isinstance(value, types.ModuleType) and not hasattr(type(value), "__get__")


def _is_put_there(name: str, value: Any, owner: type) -> bool:
    """Whether a class's attribute is data, or was made elsewhere and put there; not what its own body defines."""
    if issubclass(owner, enum.Enum) and (isinstance(value, owner) or re.fullmatch("_.*_", name)):
        return False
    inner = value
    if isinstance(value, (staticmethod, classmethod)):
        inner = value.__func__
    elif isinstance(value, property):
        inner = value.fget
    if not isinstance(inner, (types.FunctionType, type)):
        return _is_own(name) and (_is_data(value) or inner is not value)
    if not _is_own(name) and not (isinstance(value, types.FunctionType) and value.__module__ == "__main__"):
        return False
    own, _, rest = inner.__qualname__.partition(f"{owner.__qualname__}.")
    if own or not rest or "<locals>" in rest:
        return True
    return rest != name and is_definition(inner)  # under another name than it was defined by
