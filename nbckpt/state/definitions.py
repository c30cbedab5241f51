"""What running code changes in the notebook's own classes and functions: counters, caches, mutable defaults.

A definition is made again by running its cell, so only what differs from its fresh state belongs to a snapshot.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import pickle
import sys
import types
import weakref
from collections.abc import Container, Mapping
from typing import Any

from . import caches
from .home import is_definition
from .pickling import digest

State = dict[tuple[str, ...], Any]
"""A definition's data, by the way to it: attributes, and in brackets a function's closure variables and cache."""


_CACHE = "<cache>"


def state_of(definition: Any) -> State:
    """The data that a function or class carries; code and descriptors are not data."""
    if isinstance(definition, type):
        if issubclass(definition, enum.Enum):
            return {}
        own = vars(definition).items()
        state: State = {(name,): value for name, value in own if _is_put_there(name, value, definition)}
        for name, value in own:
            if isinstance(value, caches.CACHED):
                state |= {(name, *way): inner for way, inner in state_of(value).items()}
        return state
    if isinstance(definition, caches.CACHED):
        wrapped = definition.__wrapped__
        inside = state_of(wrapped) if isinstance(wrapped, types.FunctionType) else {}
        state = {("__wrapped__", *way): inner for way, inner in inside.items()}
        state |= {(name,): value for name, value in vars(definition).items() if _is_own(name) and _is_data(value)}
        with contextlib.suppress(pickle.PicklingError):
            state[_CACHE,] = caches.contents(definition)
        return state
    if definition.__globals__ is not vars(sys.modules["__main__"]):
        return {}  # a library's wrapper around the notebook's function
    state = {(name,): value for name, value in vars(definition).items() if _is_data(value) or is_definition(value)}
    for name in ("__defaults__", "__kwdefaults__"):
        if (value := getattr(definition, name)) is not None:
            state[name,] = value
    for name, cell in _cells(definition).items():
        try:
            value = cell.cell_contents
        except ValueError:  # not bound yet
            continue
        if isinstance(value, types.FunctionType) and value.__module__ == "__main__" and not is_definition(value):
            state |= {(name, *way): inner for way, inner in state_of(value).items()}
        elif _is_data(value) or is_definition(value):
            state[name,] = value
    return state


def put_state(definition: Any, state: Mapping[tuple[str, ...], Any]) -> None:
    """Give a definition data that was saved, as far as it still has a place for it."""
    for (name, *rest), value in state.items():
        if name == _CACHE:
            caches.fill(definition, value)
        elif not name.startswith("<"):
            if rest:
                put_state(vars(definition)[name], {tuple(rest): value})
            else:
                setattr(definition, name, value)
        elif (cell := _cells(definition).get(name)) is not None:
            if rest:
                put_state(cell.cell_contents, {tuple(rest): value})
            else:
                cell.cell_contents = value


def _cells(definition: Any) -> dict[str, types.CellType]:
    """A function's closure; a class has none."""
    if not isinstance(definition, types.FunctionType):
        return {}
    names = [f"<{name}>" for name in definition.__code__.co_freevars]
    return dict(zip(names, definition.__closure__ or (), strict=True))


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
            found[way] = digest(value)
    return found


_met: dict[int, tuple[weakref.ref[Any], dict[tuple[str, ...], str | None], set[tuple[str, ...]]]] = {}
"""Definitions with what their state was, and the ways to what runs in this process were seen to add to it."""


def split_state(definition: Any, fresh: Mapping[tuple[str, ...], str | None]) -> tuple[State, State]:
    """The part of a definition's state that differs from what it was, and the rest; as far as it can be saved."""
    parts: tuple[State, State] = {}, {}
    _, before, added = _met.get(id(definition), (None, {}, set()))
    for way, value in state_of(definition).items():
        if (now := digest(value)) is not None:
            parts[now == fresh.get(way)][way] = value
            if way not in before:
                added.add(way)
    return parts


def put_unchanged(definition: Any, state: State) -> None:
    """Give a definition state that had not changed, for what shares it; what was edited since stays as it is."""
    live, fresh = state_of(definition), fresh_digests(definition)
    for way, value in state.items():
        now = digest(live.get(way))
        if now == digest(value) or (way in fresh and now != fresh[way]):
            put_state(definition, {way: value})


def _is_own(name: str) -> bool:
    return not name.startswith(("__", "_abc_"))


def drop_added(definition: Any, saved: Container[tuple[str, ...]]) -> None:
    """Take from a definition the attributes that a run in this process gave it, and that were not there yet."""
    _, _, added = _met.get(id(definition), (None, {}, set()))
    for way in [way for way in added if way not in saved and len(way) == 1 and not way[0].startswith("<")]:
        if way in state_of(definition):
            delattr(definition, way[0])
        added.discard(way)


def _is_data(value: Any) -> bool:
    """Whether a value is no code: functions are, and descriptors, which answer for attributes."""
    if isinstance(value, (types.MethodType, functools.partial)):
        return True  # they pass for descriptors
    return not isinstance(value, types.ModuleType) and not hasattr(type(value), "__get__")


def _is_put_there(name: str, value: Any, owner: type) -> bool:
    """Whether a class's attribute is data, or was made elsewhere and put there; not what its own body defines."""
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
