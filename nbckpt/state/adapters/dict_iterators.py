"""Iterators over a dict's keys, values and items: they keep looking at the dict.

As Python pickles them, they come back with copies of the values that were left: what the loop's body puts under a key
to come is not seen, and a dict that grows or shrinks meanwhile is not noticed.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

_BEGIN: dict[str, Callable[[dict[Any, Any]], Iterator[Any]]] = {
    "dict_keyiterator": dict.__iter__,
    "dict_valueiterator": lambda mapping: iter(dict.values(mapping)),
    "dict_itemiterator": lambda mapping: iter(dict.items(mapping)),
    "dict_reversekeyiterator": dict.__reversed__,
    "dict_reversevalueiterator": lambda mapping: reversed(dict.values(mapping)),
    "dict_reverseitemiterator": lambda mapping: reversed(dict.items(mapping)),
}


def reduce(iterator: Any) -> Any:
    """Keep the dict, and how many of its items are left."""
    kind = type(iterator).__name__
    mapping = _mapping(iterator)
    if mapping is None:  # it has ended
        return again, ({}, kind, 0, 0)
    left = iterator.__length_hint__()
    try:
        iterator.__reduce__()  # goes through what is left, in a copy
    except RuntimeError as error:
        if left:
            raise pickle.PicklingError(f"an iterator over a dict cannot be told where it is ({error})") from error
        if _is_known():  # it says so when it is asked next, unless the dict has that many items again by then
            return strayed, (mapping, kind, *_place(iterator, mapping))
        return Changed, (str(error),)
    return again, (mapping, kind, left, len(mapping))


def is_one(iterator: Any) -> bool:
    """Whether this is such an iterator."""
    return type(iterator).__name__ in _BEGIN and type(iterator).__module__ == "builtins"


def given(iterator: Any) -> list[Any] | None:
    """The items that it has given, as they are now; None if it has ended."""
    mapping = _mapping(iterator)
    if mapping is None:
        return None
    return list(islice(_BEGIN[type(iterator).__name__](mapping), len(mapping) - iterator.__length_hint__()))


def _mapping(iterator: Any) -> dict[Any, Any] | None:
    return next((part for part in gc.get_referents(iterator) if isinstance(part, dict)), None)


def again(mapping: dict[Any, Any], kind: str, left: int, size: int) -> Iterator[Any]:
    """The iterator over the same dict, as far along; where the dict is still to be filled, one that waits for it."""
    if len(mapping) != size:
        return Waiting(mapping, kind, left, size)
    iterator = _BEGIN[kind](mapping)
    deque(islice(iterator, size - left), maxlen=0)
    if not size:
        next(iterator, None)
    return iterator


def strayed(mapping: dict[Any, Any], kind: str, size: int, place: int, left: int) -> Iterator[Any]:
    """An iterator over a dict that has grown or shrunk under it, at its place in the dict's table."""
    iterator = _BEGIN[kind](mapping)
    _fields(iterator)[1:3] = size, place
    _fields(iterator)[4] = left
    return iterator


def _place(iterator: Any, mapping: dict[Any, Any]) -> tuple[int, int, int]:
    """The size that its dict must have, its place in a table without gaps where items were, and how many are left."""
    is_reverse = "reverse" in type(iterator).__name__
    rest = dict.__reversed__(mapping) if is_reverse else dict.__iter__(mapping)
    _, size, _fields(rest)[2], _, left = _fields(iterator)
    _fields(rest)[4] = sys.maxsize
    to_come = sum(1 for _ in rest)
    return size, to_come - 1 if is_reverse else len(mapping) - to_come, left


def _fields(iterator: Any) -> Any:
    """What an iterator is: the dict's address, the size it must have, the next entry, a pair, how many are left."""
    return (ctypes.c_ssize_t * 5).from_address(id(iterator) + object.__basicsize__)


@functools.cache
def _is_known() -> bool:
    """Whether iterators look in memory as they are thought to."""
    thing = {0: 0, 1: 1, 2: 2}
    iterator = iter(thing)
    if type(iterator).__basicsize__ != object.__basicsize__ + ctypes.sizeof(ctypes.c_ssize_t) * 5:
        return False
    next(iterator)
    return list(_fields(iterator)) == [id(thing), 3, 1, 0, 2]


class Waiting:
    """An iterator over a dict that refers to it, so that neither can be there before the other."""

    def __init__(self, *made: Any) -> None:
        self.made = made
        self.iterator: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.iterator is None:
            mapping, kind, left, size = self.made
            if len(mapping) == size:
                self.iterator = again(mapping, kind, left, size)
            else:
                self.iterator = Changed("dictionary changed size during iteration")
        return next(self.iterator)


class Changed:
    """An iterator over what has changed in a way that it does not bear: it says so for ever."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        raise RuntimeError(self.message)
