"""Loops over tables and their labels: they go on over what they went over when they began.

pandas iterates with generators, which cannot be saved. Made again on a table that the loop's body has changed, they
would yield other rows, or the columns that it has added; so what a generator was made of is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pandas as pd

from .pandas_blocks import copies_on_write


def kept(generator: Any) -> Rows | None:
    """A generator that has not begun, in a form that can be saved; None where there is none."""
    code, frame = generator.gi_code, generator.gi_frame
    if not copies_on_write() or not code.co_argcount:
        return None
    owner, *arguments = (_as_it_is(frame.f_locals[name]) for name in code.co_varnames[: code.co_argcount])
    return Rows(owner, code.co_name, arguments) if hasattr(type(owner), code.co_name) else None


def _as_it_is(thing: Any) -> Any:
    """A table that shares its memory with this one until one of them is written to."""
    return thing.copy(deep=False) if isinstance(thing, (pd.DataFrame, pd.Series)) else thing


class Rows:
    """What a generator method of pandas' yields: `place` items in, it begins anew and leaves those out."""

    def __init__(self, owner: Any, method: str, arguments: list[Any], place: int = 0) -> None:
        self.owner, self.method, self.arguments, self.place = owner, method, arguments, place
        self._items: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._items is None:
            self._items = islice(getattr(self.owner, self.method)(*self.arguments), self.place, None)
        item = next(self._items)
        self.place += 1
        return item

    def __reduce__(self) -> Any:
        return type(self), (self.owner, self.method, self.arguments, self.place)
