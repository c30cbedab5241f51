"""What was pickled at the save before, to be used again for what is made of the very same values.

Values that never change are told by their addresses, as long as somebody holds them so that nothing else gets these: a
look at a million addresses takes a hundredth of what pickling a million values does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

MOST = 1 << 28
"""Bytes of pieces that are kept from one save to the next."""


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

    def find(self, key: bytes) -> bytes | None:
        """The pickle of the values that a key tells; None if it is not known."""
        held, piece = self._coming.get(key) or self._newest.get(key) or (None, None)
        if piece is not None:
            self.keep(key, held, piece)
        return piece

    def keep(self, key: bytes, held: Any, piece: bytes) -> None:
        """Know a pickle at the next save; `held` holds its values."""
        if key not in self._coming and len(piece) <= self._room:
            self._room -= len(piece)
            self._coming[key] = held, piece


_in_use: ContextVar[Pieces | None] = ContextVar("pieces", default=None)


def in_use() -> Pieces | None:
    """Those to look at while a snapshot is pickled; None where something else is."""
    return _in_use.get()
