"""What running code changes in the notebook's own classes and functions: counters, caches, mutable defaults.

A definition is made again by running its cell, so only what differs from its fresh state belongs to a snapshot.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping
from typing import Any

from .pickling import digest

State = dict[str, Any]
"""A definition's data by attribute; a function's closure by the name of the variable, in brackets."""


def state_of(definition: Any) -> State:
    """The data that a function or class carries; code and descriptors are not data."""
    if isinstance(definition, type):
        if issubclass(definition, enum.Enum):
            return {}
        return {
            name: value
            for name, value in vars(definition).items()
            if not name.startswith(("__", "_abc_")) and _is_data(value)
        }
    state: State = dict(vars(definition))
    state |= {name: getattr(definition, name) for name in ("__defaults__", "__kwdefaults__")}
    for name, cell in zip(definition.__code__.co_freevars, definition.__closure__ or (), strict=True):
        try:
            state[f"<{name}>"] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    return {name: value for name, value in state.items() if value is not None and _is_data(value)}


def put_state(definition: Any, state: Mapping[str, Any]) -> None:
    """Give a definition data that was saved."""
    cells = {}
    if isinstance(definition, types.FunctionType):
        cells = dict(zip(definition.__code__.co_freevars, definition.__closure__ or (), strict=True))
    for name, value in state.items():
        if name.startswith("<"):
            if name[1:-1] in cells:
                cells[name[1:-1]].cell_contents = value
        else:
            setattr(definition, name, value)


def digests(definition: Any) -> dict[str, str | None]:
    """What to compare a definition's later state with."""
    return {name: digest(value) for name, value in state_of(definition).items()}


def changed_state(definition: Any, fresh: Mapping[str, str | None]) -> State:
    """The part of a definition's state that differs from what it was, and can be saved."""
    return {
        name: value
        for name, value in state_of(definition).items()
        if (now := digest(value)) is not None and now != fresh.get(name)
    }


def _is_data(value: Any) -> bool:
    return not callable(value) and not isinstance(value, types.ModuleType) and not hasattr(type(value), "__get__")
