"""Iterators over a deque from its end, whose class has no name to be found by from Python 3.12 on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any


def reduce(iterator: Any) -> Any:
    """Keep the deque, and how many of its items were given."""
    return again, iterator.__reduce__()[1]


def again(source: deque[Any], given: int) -> Iterator[Any]:
    """An iterator that has given so many."""
    made: Iterator[Any] = _KIND(source, given)
    return made


_KIND: Any = type(reversed(deque[Any]()))
