"""What was pickled at the save before, to be used again for what is made of the very same values.

Values that never change are told by their addresses, as long as somebody holds them so that nothing else gets these: a
look at a million addresses takes a hundredth of what pickling a million values does.
"""

from __future__ import annotations

import ctypes
import functools
import io
import operator
import pickle
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain, compress
from typing import Any

from . import stand_ins
from .picklers import PLAIN

MOST = 1 << 28
"""Bytes that are kept from one save to the next: pieces, and eight for each value in them.

The values themselves are held as well; what the state has lost of them goes at the next save."""
LEAST = 1 << 12
"""Values from which on this pays."""
STRETCH = 1 << 14
"""Values of a piece."""
_WIDTH = ctypes.sizeof(ctypes.c_void_p)


class Pieces:
    """Pickles by what tells their values apart, each with its values: those of the newest save, and no others."""

    def __init__(self) -> None:
        self._newest: dict[bytes, tuple[Any, bytes]] = {}
        self._coming: dict[bytes, tuple[Any, bytes]] = {}
        self._room = MOST

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Have them looked up, and added to, by what is pickled now."""
        self._coming, self._room = {}, MOST
        token = _in_use.set(self)
        try:
            yield
            self._newest = self._coming
        finally:
            _in_use.reset(token)
            self._coming = {}

    @property
    def is_new(self) -> bool:
        """Whether there was no save before, so that nothing is known."""
        return not self._newest

    def find(self, key: bytes) -> bytes | None:
        """The pickle of the values that a key tells; None if it is not known."""
        held, piece = self._coming.get(key) or self._newest.get(key) or (None, None)
        if piece is not None:
            self.keep(key, held, piece)
        return piece

    def keep(self, key: bytes, held: Any, piece: bytes) -> None:
        """Know a pickle at the next save; `held` holds its values."""
        size = len(piece) + _WIDTH * len(held)
        if key not in self._coming and size <= self._room:
            self._room -= size
            self._coming[key] = held, piece


_in_use: ContextVar[Pieces | None] = ContextVar("pieces", default=None)


def in_use() -> Pieces | None:
    """Those to look at while a snapshot is pickled; None where something else is."""
    return _in_use.get()


# ---------------------------------------------------------------------------------------------------------
# plain values


def column(known: Pieces, values: list[Any]) -> list[pickle.PickleBuffer] | None:
    """The pieces of a list that nobody changes; None if its values are not all plain."""
    return stretches(known, _items(values), len(values), lambda at: values[at : at + STRETCH])


def make_list(found: list[Any]) -> list[Any]:
    """The values in pieces."""
    return [value for piece in found for value in loaded(piece)]


def loaded(piece: Any) -> Any:
    """What was pickled as a piece."""
    return _Unpickler(io.BytesIO(piece)).load()


def stretches(known: Pieces, start: int, count: int, held: Callable[[int], Any]) -> list[pickle.PickleBuffer] | None:
    """The pieces of so many values whose addresses begin at `start`; None if they are not all plain.

    `held` has a copy of a stretch of them, as what may be changed meanwhile is not to be relied on.
    """
    from xxhash import xxh3_128_digest

    found = []
    for at in range(0, count, STRETCH):
        size = _WIDTH * min(STRETCH, count - at)
        piece = known.find(xxh3_128_digest((ctypes.c_char * size).from_address(start + _WIDTH * at)))
        if piece is None:
            copied = held(at)
            values, place = (copied, _items(copied)) if type(copied) is list else (copied.tolist(), copied.ctypes.data)
            if (piece := pickled(values, values)) is None:
                return None
            known.keep(xxh3_128_digest((ctypes.c_char * size).from_address(place)), copied, piece)
        found.append(pickle.PickleBuffer(piece))
    return found


def pickled(thing: Any, values: list[Any]) -> bytes | None:
    """The pickle of what some values are in, if they are plain and none is told from an equal one by its identity."""
    unequal = not_numbers(values)
    return None if unequal is None else dumped(thing, unequal)


def not_numbers(values: list[Any]) -> list[float] | None:
    """The floats among plain values, and in tuples among them, that are not numbers; None if not all are plain."""
    kinds = set(map(type, values))
    if tuple in kinds:
        inner = list(chain.from_iterable(one for one in values if type(one) is tuple))
        values, kinds = values + inner, (kinds - {tuple}) | set(map(type, inner))
    if not kinds <= PLAIN:
        return None
    return list(compress(values, map(operator.ne, values, values))) if float in kinds else []


def dumped(thing: Any, unequal: list[float]) -> bytes | None:
    """The pickle of something plain with these floats in it, if each is a constant of a module, known by a word."""
    if not unequal:
        return pickle.dumps(thing, 5)
    constants = stand_ins.constants()
    if not constants.keys() >= set(map(id, unequal)):
        return None
    stream = io.BytesIO()
    _Pickler(stream, constants).dump(thing)
    return stream.getvalue()


class _Pickler(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, words: Mapping[int, str]) -> None:
        super().__init__(stream, 5)
        self._words = words

    def persistent_id(self, thing: Any) -> str | None:
        return self._words.get(id(thing))


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, word: Any) -> Any:
        return stand_ins.find(word, {}, {})


def addresses(values: list[Any]) -> Any:
    """The addresses of the values of a list, as bytes in its own memory."""
    return (ctypes.c_char * (len(values) * _WIDTH)).from_address(_items(values)) if values else b""


def _items(values: list[Any]) -> int:
    """Where a list has the addresses of its values."""
    return ctypes.c_size_t.from_address(id(values) + object.__basicsize__ + ctypes.sizeof(ctypes.c_ssize_t)).value


@functools.cache
def is_known() -> bool:
    """Whether lists look in this Python as they are thought to: that is not promised, so it is tried out."""
    size = object.__basicsize__ + 3 * ctypes.sizeof(ctypes.c_ssize_t)
    if (
        sys.implementation.name != "cpython"
        or sysconfig.get_config_var("Py_GIL_DISABLED")
        or list.__basicsize__ != size
    ):
        return False
    for count in (1, 7, 1000):
        values = [object() for _ in range(count)]
        length = ctypes.c_ssize_t.from_address(id(values) + object.__basicsize__).value
        if length != count or list((ctypes.c_size_t * count).from_address(_items(values))) != list(map(id, values)):
            return False
    return True
