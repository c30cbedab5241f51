"""Patience: a store around another one that tries again when an operation fails."""

from __future__ import annotations

import errno
import random
import time
from typing import TYPE_CHECKING, TypeVar

from nbckpt.errors import AlreadyExists, NotFound, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nbckpt.storage.stores import Buffer, Entry, Store

PAUSES = (0.1, 0.5, 2.0, 5.0)  # seconds, about, before each further attempt

_HOPELESS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.ENOTSUP,
    errno.ENXIO,
}

T = TypeVar("T")


class Retrying:
    """Passes every operation on to `store`, again after a pause where trying again can help.

    An attempt that failed may have had its effect: after it, `AlreadyExists` can speak of one's own blob.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def url(self) -> str:
        """The other store's."""
        return self._store.url

    @property
    def single_writer(self) -> bool:
        """The other store's."""
        return self._store.single_writer

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        """See `Store.put`."""
        _patiently(lambda: self._store.put(key, bufs, if_absent=if_absent))

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """See `Store.get`."""
        return _patiently(lambda: self._store.get(key, start, end))

    def get_into(self, key: str, start: int, target: memoryview) -> int:
        """See `Store.get_into`."""
        return _patiently(lambda: self._store.get_into(key, start, target))

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """See `Store.list`; after a failure the listing goes on behind the last key that was seen."""
        listing: Iterator[Entry] | None = None

        def step() -> Entry | None:
            nonlocal listing
            try:
                listing = listing or self._store.list(prefix, start_after)
                return next(listing, None)
            except StoreError:
                listing = None
                raise

        while (entry := _patiently(step)) is not None:
            start_after = entry.key
            yield entry

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`."""
        doomed = list(keys)
        _patiently(lambda: self._store.delete(doomed))

    def now(self) -> float:
        """See `Store.now`."""
        return _patiently(self._store.now)


def _patiently(operation: Callable[[], T]) -> T:
    for pause in PAUSES:
        try:
            return operation()
        except (NotFound, AlreadyExists):
            raise
        except StoreError as error:
            if error.errno in _HOPELESS:
                raise
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - so that many kernels do not come back at once
    return operation()
