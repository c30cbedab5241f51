"""Iterators that cannot be saved as they are, and are known well enough to begin them as ones that can.

Evaluated again on resume, they would go over what the loop's body has made of a table or a folder by then.
"""

from __future__ import annotations

import dis
import glob
import inspect
import pathlib
import sys
import types
from collections import deque
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

from .pickling import digest

_LISTINGS = (glob.__file__, str(Path(pathlib.__file__).parent / "pathlib"))
"""Generators from here list files: what a loop has left of them is what it began with, whatever it does to a folder."""


def onward(iterator: Any) -> Iterator[Any]:
    """The items that are left of an iterator, for what would ask it for its iterator once more.

    The `__iter__` of classes that are their own iterators often begins anew, and some iterators have none.
    """
    asks = getattr(type(iterator), "__iter__", None)
    left: Iterator[Any] = iterator if isinstance(asks, types.WrapperDescriptorType) else map(next, repeat(iterator))
    return left


def savable(iterator: Any) -> Any:
    """The same iteration in a form that can be saved; the iterator itself where none is known or it is under way."""
    if isinstance(iterator, types.GeneratorType):
        return _begun(iterator)
    if type(iterator) not in (zip, map, enumerate):
        return iterator
    # what is made of iterators is taken apart, and put together again with those that can be saved
    make, arguments, *state = iterator.__reduce__()
    parts = [savable(part) if isinstance(part, Iterator) else part for part in arguments]
    if all(new is old for new, old in zip(parts, arguments, strict=True)):
        return iterator
    return make(*parts, strict=True) if make is zip and state else make(*parts)


def _begun(generator: Any) -> Any:
    file = generator.gi_code.co_filename
    if inspect.getgeneratorstate(generator) != inspect.GEN_CREATED:
        return generator
    if file.startswith(_LISTINGS):
        return iter(list(generator))
    if (pandas := sys.modules.get("pandas")) and file.startswith(str(Path(pandas.__file__ or "").parent)):
        from .adapters import pandas_iterators

        return pandas_iterators.kept(generator) or generator
    return Elements.of(generator) or generator


class Elements:
    """A generator expression over one iterator: between two elements it has no state but that iterator's.

    It can be made again from its code and the items that are left, as they were when it began: what the loop's body
    does to what the expression named makes no difference.
    """

    def __init__(self, make: types.FunctionType, items: Iterator[Any], elements: Iterator[Any]) -> None:
        self.make, self.items = make, items
        self._elements = elements

    @classmethod
    def of(cls, generator: Any) -> Elements | None:
        """The same for a generator that has not begun, if it is such an expression of the notebook."""
        code, frame = generator.gi_code, generator.gi_frame
        if code.co_name != "<genexpr>" or code.co_freevars or frame.f_globals is not vars(sys.modules["__main__"]):
            return None
        items = frame.f_locals.get(".0")
        if not isinstance(items, Iterator) or _count_loops(code) != 1 or not pickles(left := savable(items)):
            return None
        make = types.FunctionType(code, frame.f_globals)
        return cls(make, items, generator) if left is items else elements_of(make, left)

    def __iter__(self) -> Elements:
        return self

    def __next__(self) -> Any:
        return next(self._elements)

    def __reduce__(self) -> Any:
        return elements_of, (self.make, self.items)


def elements_of(make: types.FunctionType, items: Iterator[Any]) -> Elements:
    """What a generator expression's code makes of the items that are left."""
    return Elements(make, items, make(items))


def _count_loops(code: types.CodeType) -> int:
    return sum(step.opname == "FOR_ITER" for step in dis.get_instructions(code))


# ---------------------------------------------------------------------------------------------------------
# which iterators pickle

_SOURCES: tuple[Any, ...] = (
    (),
    [],
    {},
    set(),
    "",
    "é",
    b"",
    bytearray(),
    range(0),
    range(1 << 80),
    {}.values(),
    {}.items(),
)
_SOUND: set[type] = {type(iter(source)) for source in _SOURCES} | {type(iter(deque())), type(reversed([]))}
_SOUND |= {type(reversed({})), type(reversed({}.values())), type(reversed({}.items()))}
PLACED: set[type] = {type(iter(source)) for source in _SOURCES if isinstance(source, (tuple, list, range))}
"""Iterators that tell where they are."""

_MADE_OF_OTHERS = {enumerate, zip, map, filter, reversed, Elements}


def pickles(iterator: Any) -> bool:
    """Whether an iterator comes back from a pickle where it was, without drawing from it."""
    return is_sound(iterator) or digest(iterator) is not None


def is_sound(iterator: Any) -> bool:
    """The same, as far as its kind tells."""
    if type(iterator) in _MADE_OF_OTHERS:
        return all(pickles(part) for part in iterator.__reduce__()[1] if isinstance(part, Iterator))
    return type(iterator) in _SOUND
