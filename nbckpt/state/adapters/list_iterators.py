"""Iterators over a list that is shorter by now than they are far: Python would put them back at its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def reduce(iterator: Any) -> Any:
    """Keep the list and the index, also one that the list may reach again."""
    reduced = iterator.__reduce__()
    if len(reduced) == 3:
        source, index = reduced[1][0], reduced[2]
        step = 1 if reduced[0] is iter else -1
        if index > len(source) - (step < 0):
            return Placed, (source, index, step)
    elif "reverse" in type(iterator).__name__:  # it has ended: Python would make it one that goes forward
        return reversed, ([],)
    return reduced


class Placed:
    """What is left of a list from an index on, as long as the list reaches so far."""

    def __init__(self, source: list[Any], index: int, step: int) -> None:
        self.source, self.index, self.step = source, index, step

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not 0 <= self.index < len(self.source):
            self.source, self.index = [], 0
            raise StopIteration
        item = self.source[self.index]
        self.index += self.step
        return item
