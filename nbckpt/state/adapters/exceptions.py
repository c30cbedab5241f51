"""Exceptions that were kept: they come back without their class's `__init__`, which may want other arguments.

Their causes and contexts come along; their tracebacks, which hold live frames, do not.
"""

from __future__ import annotations

import types
from typing import Any

_CHAIN = ("__cause__", "__context__", "__suppress_context__")
_FIELDS = ("name", "path")
"""What Python keeps beside the arguments of errors about names and imports."""


def reduce(error: Any) -> Any:
    """Keep an exception's arguments and attributes; one that pickles in a way of its own does as it likes."""
    kind = type(error)
    if isinstance(kind.__reduce__, types.FunctionType) or isinstance(kind.__reduce_ex__, types.FunctionType):
        return NotImplemented
    _, arguments, *state = error.__reduce__()
    fields = {
        name: getattr(error, name) for name in _FIELDS if isinstance(getattr(_built_in(kind), name, None), _MEMBER)
    }
    chain = {name: getattr(error, name) for name in _CHAIN}
    return bare, (kind, arguments), (state[0] if state else None, fields, chain), None, None, _fill


_MEMBER = types.MemberDescriptorType


def _built_in(kind: type) -> Any:
    """The exception of Python's own that a class is made from."""
    return next(base for base in kind.__mro__ if base.__module__ == "builtins")


def bare(kind: type, arguments: tuple[Any, ...]) -> Any:
    """An exception with its arguments, made as Python itself makes one."""
    base = _built_in(kind)
    error = base.__new__(kind, *arguments)
    base.__init__(error, *arguments)
    return error


def _fill(error: Any, state: tuple[Any, dict[str, Any], dict[str, Any]]) -> None:
    own, fields, chain = state
    if own is not None:
        error.__setstate__(own)
    for name, value in (fields | chain).items():  # the cause sets the suppression, which comes last
        setattr(error, name, value)
