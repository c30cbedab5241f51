"""Lists and dicts of plain values, and of rows: lists and dicts of such in turn that nobody else refers to.

They are pickled in stretches, and each stretch level by level: how long its rows are, their keys, and all their values
in one list. That takes a fraction of pickling row after row, and what is as it was at the save before is told by the
addresses of keys and values and not pickled again. What is not plain, or known to others, is pickled beside the
stretches, as it would be anyway.
"""

from __future__ import annotations

import functools
import pickle
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, compress, islice, repeat
from operator import is_
from typing import Any

from . import pieces
from .home import uncollected
from .pieces import Pieces

Level = tuple[bytes, list[Any], list[int] | int, list[Any], list[int]]
"""Which of the values are dicts and lists, if not all are of one kind; the others; the lengths of the dicts, and their
keys, or how many dicts there are that all have these; the lengths of the lists."""

_KINDS: dict[type, int] = {list: 1, dict: 2}
MOST = 16
"""Values that may be beside the pieces: to find more of them takes as long as pickling all anew."""


class Flat:
    """What stands for a list or dict of such values: it comes back as that."""

    def __init__(self, make: Callable[..., Any], *columns: Any) -> None:
        self.made = make, columns

    def __reduce__(self) -> Any:
        return self.made


def flat(thing: Any) -> Flat | None:
    """What is to be pickled for a list or dict, if there are such values in it and few others.

    Its identity is not kept, nor are those of texts and tuples but within a stretch.
    """
    known = pieces.in_use()
    if known is None or type(thing) not in (list, dict) or len(thing) < pieces.LEAST or not pieces.is_known():
        return None
    with uncollected():
        if type(thing) is list:
            column = _column(known, thing.copy())
            return None if column is None else Flat(make_list, *column)
        keys, values = _halves(chain(thing, thing.values()))
        column = _column(known, values)
        names = None if column is None else pieces.column(known, keys)
        return None if names is None or column is None else Flat(make_dict, names, *column)


def make_list(found: list[Any], odd: dict[int, Any]) -> list[Any]:
    """The values in pieces, and those beside them by their places."""
    values = list(chain.from_iterable(_built(*pieces.loaded(piece)) for piece in found))
    for at, value in odd.items():
        values[at] = value
    return values


def make_dict(keys: list[Any], found: list[Any], odd: dict[int, Any]) -> dict[Any, Any]:
    """The same by the keys in pieces."""
    return dict(zip(pieces.make_list(keys), make_list(found, odd), strict=True))


def _column(known: Pieces, values: list[Any]) -> tuple[list[pickle.PickleBuffer], dict[int, Any]] | None:
    """The pieces of values, in each None for what is beside them, and that by its place; None if there is too much."""
    found: list[pickle.PickleBuffer] = []
    beside: dict[int, Any] = {}
    for at in range(0, len(values), pieces.STRETCH):
        stretch = values[at : at + pieces.STRETCH]
        piece = _piece(known, stretch, places=3)
        if piece is None:
            odd = list(islice(_odd(stretch, places=3), MOST + 1 - len(beside)))
            beside |= {at + place: stretch[place] for place in odd}
            for place in odd:
                stretch[place] = None
            if len(beside) > MOST or (piece := _piece(known, stretch, places=3)) is None:
                return None
        found.append(pickle.PickleBuffer(piece))
    return found, beside


def _odd(values: list[Any], places: int) -> Iterator[int]:
    """Where those of the values are that cannot be in a piece; one of them at least is such."""
    if len(values) == 1:
        yield 0
        return
    size = -(-len(values) // 16)
    for at in range(0, len(values), size):
        some = values[at : at + size]
        if _piece(Pieces(), some, places + 1) is None:
            for place in _odd(some, places + 1):
                yield at + place


def _piece(known: Pieces, values: list[Any], places: int) -> bytes | None:
    """The pickle of a stretch; None if something in it is not plain, or others refer to it.

    `places` is in how many places the values are known to be.
    """
    from xxhash import xxh3_128

    hasher = xxh3_128()
    levels: list[Level] = []
    while True:
        leaves = hasher.copy()
        leaves.update(b"leaves")
        leaves.update(pieces.addresses(values))
        if (piece := known.find(leaves.digest())) is not None:
            return piece
        kinds = list(map(type, values))
        if not (kinds.count(dict) or kinds.count(list)):
            held = [*chain.from_iterable([*plain, *keys] for _, plain, _, keys, _ in levels), *values]
            if (piece := pieces.pickled((levels, values), held)) is not None:
                known.keep(leaves.digest(), held, piece)
            return piece
        opened = _opened(values, kinds, places)
        if opened is None:
            return None
        level, marks, values = opened
        for mark in marks:
            hasher.update(b"%d " % memoryview(mark).nbytes)
            hasher.update(mark)
        levels.append(level)
        places = 2


def _opened(values: list[Any], kinds: list[type], places: int) -> tuple[Level, list[Any], list[Any]] | None:
    """A level of a stretch, what tells it from others while its values are held, and the values of the level below.

    None if others refer to a list or dict in it.
    """
    dicts, lists = _of(dict, values, kinds), _of(list, values, kinds)
    for boxes in (dicts, lists):
        own = places + (boxes is not values)
        if boxes and max(map(sys.getrefcount, boxes)) > _counted_once() + own - 1:
            return None
    boxed = len(dicts) + len(lists) == len(values)
    codes = b"" if boxed and not (dicts and lists) else bytes(map(defaultdict(int, _KINDS).__getitem__, kinds))
    plain = [] if boxed else list(compress(values, map((0).__eq__, codes)))
    # what belongs together in one call of C, so that no other thread changes a row meanwhile
    sizes, items = _split(list(chain(map(len, lists), chain.from_iterable(lists))), len(lists))
    lengths, keys, below = _alike(dicts) or _unlike(dicts)
    marks = [codes, pieces.addresses(plain), pickle.dumps((lengths, sizes), 5), pieces.addresses(keys)]
    return (codes, plain, lengths, keys, sizes), marks, below + items if items else below


def _alike(dicts: list[dict[Any, Any]]) -> tuple[int, list[Any], list[Any]] | None:
    """How many dicts these are, their keys if all have the very same in the same order, and the values of them all."""
    keys, values = _halves(chain(chain.from_iterable(dicts), chain.from_iterable(map(dict.values, dicts))))
    first = keys[: len(keys) // (len(dicts) or 1)]
    # none has a key twice, so none is longer than this, and none shorter as they are as many
    if first and len(first) == len(set(map(id, first))) and _same(keys, first * len(dicts)):
        return len(dicts), first, values
    return None


def _unlike(dicts: list[dict[Any, Any]]) -> tuple[list[int], list[Any], list[Any]]:
    """The lengths of some dicts, and the keys and values of them all."""
    parts = chain(map(len, dicts), chain.from_iterable(dicts), chain.from_iterable(map(dict.values, dicts)))
    lengths, rest = _split(list(parts), len(dicts))
    return lengths, *_halves(rest)


def _halves(parts: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """The two halves of what comes, which is taken in one call of C."""
    found = list(parts)
    return _split(found, len(found) // 2)


def _split(parts: list[Any], at: int) -> tuple[list[Any], list[Any]]:
    return parts[:at], parts[at:]


def _same(one: list[Any], other: list[Any]) -> bool:
    """Whether two lists hold the very same things."""
    return bytes(pieces.addresses(one)) == bytes(pieces.addresses(other))


def _built(levels: list[Level], values: list[Any]) -> list[Any]:
    """The values of the uppermost of some levels, from those of the lowest."""
    for codes, plain, lengths, keys, sizes in reversed(levels):
        items = iter(values)
        if isinstance(lengths, int):
            dicts = list(map(dict.copy, repeat(dict.fromkeys(keys), lengths)))
            columns = list(islice(items, lengths * len(keys)))
            for at, key in enumerate(keys):  # by C alone, for there may be millions of them
                deque(map(dict.__setitem__, dicts, repeat(key), columns[at :: len(keys)]), maxlen=0)
        else:
            names = iter(keys)
            dicts = [dict(zip(islice(names, size), islice(items, size), strict=True)) for size in lengths]
        lists = [list(islice(items, size)) for size in sizes]
        kinds = iter(plain), iter(lists), iter(dicts)
        values = [next(kinds[code]) for code in codes] if codes else dicts or lists
    return values


def _of(kind: type, values: list[Any], kinds: list[type]) -> list[Any]:
    """The values of a kind; the very list if that is all."""
    count = kinds.count(kind)
    if count in (0, len(values)):
        return values if count else []
    return list(compress(values, map(is_, kinds, repeat(kind))))


@functools.cache
def _counted_once() -> int:
    """What Python counts for a list that is in one place, and is asked for as above."""
    return max(map(sys.getrefcount, [[]]))
