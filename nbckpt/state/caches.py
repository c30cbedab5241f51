"""Functions under `functools.lru_cache` and `functools.cache`: what they have cached, and how often it was of use.

The cache is out of Python's sight. It is read through the garbage collector, and filled by calling the function
while its code is one that gives the saved results: so nothing is computed, and the statistics come out right.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import pickle
import types
from collections import deque
from collections.abc import Callable
from itertools import repeat, starmap
from typing import Any

CACHED = functools._lru_cache_wrapper  # noqa: SLF001 - its type has no other name

Entry = tuple[tuple[Any, ...], dict[str, Any], Any]
"""Positional arguments, keyword arguments, result."""


class _Unreadable:
    def __reduce__(self) -> Any:
        raise pickle.PicklingError("what the function has cached cannot be read")


UNREADABLE = _Unreadable()
"""Stands for results that are there and out of reach."""


def contents(function: Any) -> tuple[list[Entry], int, int]:
    """What a cached function holds, least recently used first, and its hits and misses.

    Raises:
        pickle.PicklingError: it cannot be read, or could not be put back.
    """
    wrapped, info = getattr(function, "__wrapped__", None), function.cache_info()
    if not isinstance(wrapped, types.FunctionType):
        raise pickle.PicklingError("only the cache of a function that is written in Python can be saved")
    parts = gc.get_referents(function)
    at = next((n for n in range(len(parts) - 1, 0, -1) if parts[n] is wrapped and type(parts[n - 1]) is dict), 0)
    table = parts[at - 1] if at else None
    if table is None or len(table) != info.currsize:
        raise pickle.PicklingError("this Python does not show what the function has cached")
    mark = next((part for part in parts[at:] if type(part) is object), None)
    # a bounded cache has links, in the order of use: key, result, the links' own type
    links = parts[1 : at - 1]
    items = list(zip(links[::3], links[1::3], strict=True)) or list(table.items())
    found = [(*_arguments(key, mark, typed=_is_typed(function)), result) for key, result in items]
    return found, info.hits, info.misses


def _arguments(key: Any, mark: Any, *, typed: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a call was made with, from its key: positional, mark, name, value, ..., types."""
    if not isinstance(key, tuple):
        return (key,), {}
    at = next((n for n, part in enumerate(key) if part is mark), None)
    if at is None:
        return key[: len(key) // 2] if typed else key, {}
    rest = key[at + 1 :]
    named = rest[: 2 * ((len(rest) - at) // 3)] if typed else rest
    return key[:at], dict(zip(named[::2], named[1::2], strict=True))


def _is_typed(function: Any) -> bool:
    return bool(function.cache_parameters()["typed"])


def fill(function: Any, saved: tuple[list[Entry], int, int]) -> None:
    """Make a cached function hold what another one held, without computing any of it."""
    entries, hits, misses = saved
    function.cache_clear()
    wrapped = function.__wrapped__
    results = iter([result for *_, result in entries])
    code = wrapped.__code__
    try:
        wrapped.__code__ = _answering(code, _refuse)
        for _ in range(misses - len(entries)):
            with contextlib.suppress(_Uncached):
                function()
        wrapped.__code__ = _answering(code, results.__next__)
        for positional, named, _ in entries:
            function(*positional, **named)
    finally:
        wrapped.__code__ = code
    if entries:
        positional, named, _ = entries[-1]
        deque(starmap(functools.partial(function, **named), repeat(positional, hits)), maxlen=0)


class _Uncached(Exception):  # noqa: N818
    """A call that counts as a miss, and leaves nothing."""


def _refuse() -> Any:
    raise _Uncached


def rebuild(function: Any, maxsize: int | None, typed: bool) -> Any:  # noqa: FBT001
    """The cached function again, empty."""
    return functools.lru_cache(maxsize, typed)(function)


def _answering(code: types.CodeType, answer: Callable[[], Any]) -> types.CodeType:
    """Code that takes the place of a function's, whatever its arguments, and gives an answer's result."""
    constants = tuple(answer if constant == _PLACE else constant for constant in _template.__code__.co_consts)
    return _template.__code__.replace(co_consts=constants, co_freevars=code.co_freevars, co_name=code.co_name)


_PLACE = "nbckpt: the answer"


def _template(*_: Any, **__: Any) -> Any:
    answer: Any = "nbckpt: the answer"
    return answer()
