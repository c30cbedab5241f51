"""Iterators over a set: they keep looking at it, and say so if it grows or shrinks."""

from __future__ import annotations

import ctypes
import functools
import gc
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

from .. import set_order
from .dict_iterators import Changed


def reduce(iterator: Any) -> Any:
    """Keep the set, how it lies in memory, and the elements left: another process may order them otherwise."""
    elements = next((part for part in gc.get_referents(iterator) if isinstance(part, (set, frozenset))), None)
    if elements is None:  # it has ended
        return again, (set(), [], 0)
    try:
        left = list(iterator.__reduce__()[1][0])
        return again, (elements, left, len(elements), set_order.notes([elements], hashing=True))
    except (RuntimeError, ValueError) as error:
        # it says so when it is asked next, unless the set has that many elements again by then; or it has given more
        # than there were, as some were taken out and put in again
        if _is_known():
            return strayed, (elements, *_fields(iterator)[1:])
        if isinstance(error, ValueError):
            raise
        return Changed, (str(error),)


def again(elements: Any, left: list[Any], size: int, notes: tuple[set_order.Note, ...] = ()) -> Iterator[Any]:
    """An iterator over the elements left: the set's own, where it gives them in the same order."""
    set_order.put_back(notes)  # first: an iterator knows its place in the set's table
    iterator: Iterator[Any] = iter(elements)
    deque(islice(iterator, size - len(left)), maxlen=0)
    rest: Any = iterator.__reduce__()[1][0]
    if len(elements) == size and len(rest) == len(left) and all(map(_same, rest, left)):
        if not size:
            next(iterator, None)
        return iterator
    return Rest(elements, left, size)


def strayed(elements: Any, *numbers: int) -> Iterator[Any]:
    """An iterator over a set that has grown or shrunk under it, at its place in the set's table."""
    iterator: Iterator[Any] = iter(elements)
    _fields(iterator)[1:] = numbers
    return iterator


def _fields(iterator: Any) -> Any:
    """What an iterator is: the set's address, how many elements there must be, the next slot, how many are left."""
    return (ctypes.c_ssize_t * 4).from_address(id(iterator) + object.__basicsize__)


@functools.cache
def _is_known() -> bool:
    """Whether iterators look in memory as they are thought to."""
    thing = {0, 1, 2}
    iterator = iter(thing)
    size = object.__basicsize__ + ctypes.sizeof(ctypes.c_ssize_t) * 4
    if not set_order.is_known() or type(iterator).__basicsize__ != size:
        return False
    next(iterator)
    return list(_fields(iterator)) == [id(thing), 3, 1, 2]


def _same(one: Any, other: Any) -> bool:
    return one is other


class Rest:
    """The elements of a set that were left."""

    def __init__(self, elements: Any, left: list[Any], size: int) -> None:
        self.elements, self.left, self.size = elements, left, size
        self.place = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __length_hint__(self) -> int:
        return len(self.left) - self.place

    def __next__(self) -> Any:
        if self.size >= 0 and len(self.elements) != self.size:
            self.size, self.place = -1, 0
        if self.size < 0:
            raise RuntimeError("Set changed size during iteration")
        if self.place == len(self.left):
            raise StopIteration
        self.place += 1
        return self.left[self.place - 1]
