"""Lists and dicts of plain values, and of rows: lists and dicts of such in turn that nobody else refers to.

They are pickled in stretches, by C alone. Of a stretch of plain values their addresses tell whether it is as it was at
the save before, and nothing is pickled. A stretch of rows is pickled each time, which takes no longer than any other
look at all its keys and values; its bytes tell what was found out about such a stretch before, so that only who else
refers to its rows is to be seen. What is not plain, or known to others, is pickled beside the stretches, as it would be
anyway.
"""

from __future__ import annotations

import functools
import gc
import io
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, compress, islice
from operator import not_
from typing import Any

from . import pieces
from .home import uncollected
from .pieces import Pieces

_ROWS: set[type] = {dict, list}
_PLAIN, _OTHER = b"plain", b"other"
"""What bytes of rows tell: that all in them is plain and no float is told by its identity, or that it is to be seen."""
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
            column = _column(known, thing.copy(), 0)
            return None if column is None else Flat(make_list, *column)
        # in one call of C, so that no other thread changes it meanwhile
        parts = list(chain(thing, thing.values()))
        column = _column(known, parts, len(parts) // 2)
        keys = None if column is None else pieces.column(known, parts)
        return None if keys is None or column is None else Flat(make_dict, keys, *column)


def make_list(found: list[Any], odd: dict[int, Any]) -> list[Any]:
    """The values in pieces, and those beside them by their places."""
    return list(chain.from_iterable(_stretches(found, odd)))


def make_dict(keys: list[Any], found: list[Any], odd: dict[int, Any]) -> dict[Any, Any]:
    """The same by the keys in pieces."""
    made: dict[Any, Any] = {}
    # stretch by stretch: of millions the first would have left the processor's cache when they are looked at again
    for piece, values in zip(keys, _stretches(found, odd), strict=True):
        names = pieces.loaded(piece)
        items = zip(names, values, strict=True)
        # Texts take long to hash, and the large dict waits for memory at each key: all of the one before the other.
        made.update(dict(items) if type(names[0]) is str else items)
    return made


def _stretches(found: list[Any], odd: dict[int, Any]) -> Iterator[list[Any]]:
    begin = 0
    for piece in found:
        values: list[Any] = pieces.loaded(piece)
        end = begin + len(values)
        for at in odd.keys() & range(begin, end) if odd else ():
            values[at - begin] = odd[at]
        yield values
        begin = end


def _column(known: Pieces, parts: list[Any], start: int) -> tuple[list[pickle.PickleBuffer], dict[int, Any]] | None:
    """The pieces of the values from `start` on, in each None for what is beside them, and that by its place.

    None if there is too much beside them. They are taken out of `parts`.
    """
    found: list[pickle.PickleBuffer] = []
    beside: dict[int, Any] = {}
    for at in reversed(range(start, len(parts), pieces.STRETCH)):
        stretch = parts[at:]
        del parts[at:]
        piece = _piece(known, stretch, places=2)
        if piece is None:
            odd = list(islice(_odd(stretch, places=2), MOST + 1 - len(beside)))
            beside |= {at - start + place: stretch[place] for place in odd}
            for place in odd:
                stretch[place] = None
            if len(beside) > MOST or (piece := _piece(known, stretch, places=2)) is None:
                return None
        found.append(pickle.PickleBuffer(piece))
    return found[::-1], beside


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
    """The pickle of a stretch; None if something in it is not plain, or others refer to a row.

    `places` is in how many places the values are known to be.
    """
    from xxhash import xxh3_128_digest

    told = xxh3_128_digest(pieces.addresses(values))
    if (piece := known.find(told)) is not None:
        return piece
    if not _ROWS.isdisjoint(map(type, values)):
        return None if _are_shared(values, places) else _piece_of_rows(known, values)
    if (piece := pieces.pickled(values, values)) is not None:
        known.keep(told, values, piece)
    return piece


def _piece_of_rows(known: Pieces, values: list[Any]) -> bytes | None:
    """The same of a stretch with rows in it, to which nobody else refers."""
    from xxhash import xxh3_128_digest

    piece = found = None
    if not known.is_new:
        piece, _ = _pickled(values)
        if piece is None or (found := known.find(xxh3_128_digest(piece))) == _PLAIN:
            return piece
    rows, plain = _split(values)
    if found is None:
        # before that is pickled: it may be large, and there may be many rows that refer to it
        if _hold_what_is_shared(rows):
            return None
        piece, inside = _pickled(values, rows)
    else:
        inside = gc.get_referents(*rows)
    is_plain = found is None
    while True:
        rows, leaves = _split(inside)
        plain += leaves
        if not rows:
            break
        if _are_shared(rows, places=2 + (rows is not inside)):
            return None
        is_plain, inside = False, gc.get_referents(*rows)
    unequal = pieces.not_numbers(plain)
    if piece is None or unequal is None:
        return None
    known.keep(xxh3_128_digest(piece), [], _PLAIN if is_plain and not unequal else _OTHER)
    if not unequal:
        return piece
    told = xxh3_128_digest(piece + pieces.addresses(unequal))
    if (words := known.find(told)) is None and (words := pieces.dumped(values, unequal)) is not None:
        known.keep(told, unequal, words)
    return words


def _pickled(values: list[Any], rows: Iterable[Any] = ()) -> tuple[bytes | None, list[Any]]:
    """The pickle of some values, if C alone can make it, and at the same moment what rows among them refer to.

    Of a dict whose keys are all texts that is its values only.
    """
    stream = io.BytesIO()
    calls: list[partial[Any]] = [partial(_Pickler(stream, 5).dump, values), partial(gc.get_referents, *rows)]
    inside: list[Any]
    try:
        # in one call of C, so that no other thread changes a row meanwhile
        _, inside = list(map(partial.__call__, calls))
    except Exception:  # noqa: BLE001 - what is not plain, or nested too deeply, is pickled otherwise, which says why
        return None, []
    return stream.getvalue(), inside


class _Pickler(pickle.Pickler):
    """Refuses all but what it has a way of its own for: those classes, and none that is derived from them."""

    def reducer_override(self, thing: Any) -> Any:
        """Say that C has no way of its own for a thing."""
        raise pickle.PicklingError(type(thing))


def _hold_what_is_shared(rows: list[Any]) -> bool:
    """Whether others refer to a row that is in one of these rows."""
    inside = gc.get_referents(*rows)
    below, _ = _split(inside)
    return bool(below) and _are_shared(below, places=2 + (below is not inside))


def _are_shared(values: list[Any], places: int) -> bool:
    """Whether others refer to a row among these values, which are known to be in so many places."""
    most = _counted_once() + places - 1
    if max(map(sys.getrefcount, values)) <= most:
        return False
    rows, _ = _split(values)
    return max(map(sys.getrefcount, rows)) > most + (rows is not values)


def _split(values: list[Any]) -> tuple[list[Any], list[Any]]:
    """The rows among some values, and the others; the very list if it is all of one kind."""
    if _ROWS.isdisjoint(map(type, values)):
        return [], values
    are_rows = list(map(_ROWS.__contains__, map(type, values)))
    if all(are_rows):
        return values, []
    return list(compress(values, are_rows)), list(compress(values, map(not_, are_rows)))


@functools.cache
def _counted_once() -> int:
    """What Python counts for a list that is in one place, and is asked for as above."""
    return max(map(sys.getrefcount, [[]]))
