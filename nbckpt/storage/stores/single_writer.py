"""A store around one that cannot create only what is absent, for a person who says that nobody else writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbckpt.errors import AlreadyExists, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nbckpt.storage.stores import Buffer, Entry, Store


class SingleWriter:
    """Looks whether a key is taken, and writes then: of two that do so at the same moment both succeed.

    A second run that comes later is still noticed, so two runs one after the other never mix.
    """

    single_writer = True

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def url(self) -> str:
        """The other store's."""
        return self._store.url

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        """See `Store.put`."""
        if if_absent:
            try:
                self._store.get(key, 0, 1)
            except NotFound:
                pass
            else:
                msg = f"{key} exists already in the store {self.url}."
                raise AlreadyExists(msg)
        self._store.put(key, bufs)

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """See `Store.get`."""
        return self._store.get(key, start, end)

    def get_into(self, key: str, start: int, target: memoryview) -> int:
        """See `Store.get_into`."""
        return self._store.get_into(key, start, target)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """See `Store.list`."""
        return self._store.list(prefix, start_after)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`."""
        self._store.delete(keys)

    def now(self) -> float:
        """See `Store.now`."""
        return self._store.now()
