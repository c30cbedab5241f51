"""Going on in a loop's header that was edited: whether today's iterator begins with what the saved one has given.

Iterators that are made of others (`map`, `zip`, `filter`, ...) are compared part by part, so that no function is called
for items that are done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from types import FunctionType
from typing import Any

from ..state import fingerprints, pickling
from ..state.adapters import dict_iterators
from ..state.home import quiet
from ..state.iterators import Elements, onward
from .resumable import same_code

_MADE_OF_OTHERS = (enumerate, zip, map, filter, Elements)
_PICK = (filter, Elements)
"""Those that may give fewer items than they have drawn."""
_PLAIN = (int, str, bytes, bool, type(None))


def brought(new: Iterator[Any], old: Iterator[Any], count: int | None, *, trust: bool = False) -> Iterator[Any] | None:
    """Bring an iterator that has not begun to where an old one is, which has given `count` items, where that is known.

    None if it is not known to begin with these; `trust` that it does where it has as many.
    """
    if new is old:  # both headers name an iterator that came back where it was
        return new
    if type(old) in _MADE_OF_OTHERS and type(new) is type(old):
        return _made_of_brought(new, old, count, trust=trust)
    done = _given(old, count)
    if done is None and trust and count is not None:
        return new if len(list(islice(onward(new), count))) == count else None
    if done is None or count not in (None, len(done)):
        return None
    again = list(islice(onward(new), len(done)))
    stands = len(again) == len(done) and (trust or all(map(_same, done, again)))
    return new if stands else None


def _made_of_brought(new: Any, old: Any, count: int | None, *, trust: bool) -> Iterator[Any] | None:
    with quiet():
        make, news, *state = new.__reduce__()
        olds = old.__reduce__()[1]
    if len(news) != len(olds):
        return None
    drawn = None if isinstance(old, _PICK) else count
    parts: list[Any] = []
    for part, before in zip(news, olds, strict=True):
        if isinstance(part, Iterator) and isinstance(before, Iterator):
            inner = brought(part, before, drawn, trust=trust)
            if inner is None:
                return None
            parts.append(inner)
        elif type(old) is enumerate:
            if count is None or before - part != count:
                return None
            parts.append(before)
        elif trust or _same(part, before):
            parts.append(part)
        else:
            return None
    made: Iterator[Any] = make(*parts, strict=True) if make is zip and state else make(*parts)
    return made


def _given(iterator: Any, count: int | None) -> Sequence[Any] | None:
    """The items that an iterator has given, where it still knows them."""
    if dict_iterators.is_one(iterator):
        return dict_iterators.given(iterator)
    kind: Any = type(iterator)
    if kind.__reduce__ is object.__reduce__:
        return None
    with quiet():
        source = iterator.__reduce__()
    if source[0] in (iter, reversed) and len(source[1]) == 1:
        items, index = source[1][0], source[2] if len(source) == 3 else None
    elif len(source[1]) == 2 and isinstance(source[1][1], int):  # a deque's
        items, index = source[1]
    else:
        return None
    if index is None and isinstance(items, range) and count is not None:
        # newer Pythons keep the rest of a range, whose beginning can be told from it
        index, items = count, range(items.start - count * items.step, items.stop, items.step)
    if index is None or not hasattr(items, "__getitem__"):
        return None
    places = range(len(items) - 1, index, -1) if source[0] is reversed else range(index)
    return [items[at] for at in places] if len(places) <= len(items) else None


def _same(one: Any, other: Any) -> bool:
    if type(one) is type(other) and type(one) in _PLAIN:
        return bool(one == other)
    if isinstance(one, FunctionType) and isinstance(other, FunctionType) and one is not other:
        return same_code(one.__code__, other.__code__) and _same(_holds(one), _holds(other))
    for fingerprint in (fingerprints.stable_digest, pickling.digest):
        if (known := fingerprint(one)) is not None:
            return known == fingerprint(other)
    return one is other


def _holds(function: FunctionType) -> list[Any]:
    """What a function has besides its code."""
    return [function.__defaults__, function.__kwdefaults__, [cell.cell_contents for cell in function.__closure__ or ()]]
