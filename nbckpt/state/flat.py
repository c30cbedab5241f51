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
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import chain, compress, cycle, islice, repeat
from operator import is_
from typing import Any

from . import pieces
from .home import uncollected
from .pieces import Pieces

Level = tuple[bytes, list[Any], list[int], list[Any], list[int]]
"""Which of the values are dicts and lists, if not all are of one kind; the others; the lengths of the dicts and their
keys, those of the first one only where all have the same; the lengths of the lists."""

_KINDS: dict[type, int] = {list: 1, dict: 2}
_FEW = 1 << 8
"""One in so many values may be odd; where more are, pickling them all anew is as good."""


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
        held = thing.copy()  # at once: another thread may go on to change it
        keys, values = list(held), list(held.values())
        del held
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
            most = len(stretch) // _FEW + 1
            odd = list(islice(_odd(stretch, places=3), most + 1))
            beside |= {at + place: stretch[place] for place in odd}
            for place in odd:
                stretch[place] = None
            if len(odd) > most or (piece := _piece(known, stretch, places=3)) is None:
                return None
        found.append(pickle.PickleBuffer(piece))
    return found, beside


def _odd(values: list[Any], places: int) -> Iterator[int]:
    """Where the values are that cannot be in a piece."""
    if _piece(Pieces(), values, places) is not None:
        return
    if len(values) == 1:
        yield 0
        return
    half = len(values) // 2
    yield from _odd(values[:half], places + 1)
    for at in _odd(values[half:], places + 1):
        yield half + at


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
            levels = list(map(_folded, levels))
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
    # in one call of C, so that no other thread changes a row meanwhile
    parts = list(
        chain(
            map(len, dicts),
            map(len, lists),
            chain.from_iterable(dicts),
            chain.from_iterable(map(dict.values, dicts)),
            chain.from_iterable(lists),
        )
    )
    lengths, sizes = parts[: len(dicts)], parts[len(dicts) : len(dicts) + len(lists)]
    first = len(dicts) + len(lists)
    last = first + sum(lengths)
    keys = parts[first:last]
    boxed = len(dicts) + len(lists) == len(values)
    codes = b"" if boxed and not (dicts and lists) else bytes(map(defaultdict(int, _KINDS).__getitem__, kinds))
    plain = [] if boxed else list(compress(values, map((0).__eq__, codes)))
    marks = [codes, pieces.addresses(plain), pickle.dumps((lengths, sizes), 5), pieces.addresses(keys)]
    return (codes, plain, lengths, keys, sizes), marks, parts[last:]


def _folded(level: Level) -> Level:
    """The same with the keys once, if all dicts have the very same in the same order."""
    codes, plain, lengths, keys, sizes = level
    if len(set(lengths)) == 1 and keys and all(map(is_, keys, cycle(keys[: lengths[0]]))):
        return codes, plain, lengths, keys[: lengths[0]], sizes
    return level


def _built(levels: list[Level], values: list[Any]) -> list[Any]:
    """The values of the uppermost of some levels, from those of the lowest."""
    for codes, plain, lengths, keys, sizes in reversed(levels):
        items = iter(values)
        if len(keys) < sum(lengths):
            rows = islice(zip(*repeat(items, len(keys)), strict=False), len(lengths))
            dicts = [dict(zip(keys, row, strict=True)) for row in rows]
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
