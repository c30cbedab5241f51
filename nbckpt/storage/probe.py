"""What a store can do, found out by trying, before anything is saved in it."""

from __future__ import annotations

import contextlib
import errno
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from nbckpt.errors import AlreadyExists, StoreError

if TYPE_CHECKING:
    from nbckpt.storage.stores import Store

CREATES_ONCE = "if_absent"
_CONTENT = b"nbckpt looks whether it can save here"
_RACERS = 6


def probe(store: Store, *, vouched: bool, race: bool) -> list[str]:
    """Return what the store can do; raises `StoreError` if snapshots would not be safe there.

    Some servers accept "only if absent" and overwrite all the same: there, two kernels would lose each other's
    work. Such a store is refused unless somebody `vouched` for it that only one run at a time will save. With
    `race`, several create one key at the same time: some servers look first and write then, and two get through.
    """
    key, contested = (f"{what}-{secrets.token_hex(8)}" for what in ("probe", "race"))
    try:
        once = _creates_once(store, key) and not (race and _two_get_through(store, contested))
        if not once and not vouched:
            msg = (
                f"The store {store.url} replaces what it was asked to create only where there is nothing, so two "
                "kernels could lose each other's snapshots: choose another store, or add ?single_writer=true to its "
                "URL if never two runs at once save there. Nothing was saved."
            )
            raise StoreError(msg)
        store.put(key, [_CONTENT])
        piece = memoryview(bytearray(4))
        ranged = store.get_into(key, 3, piece) == 4 and bytes(piece) == _CONTENT[3:7] == store.get(key, 3, 7)
        listed = [entry.key for entry in store.list(key)] == [key]
        if not (ranged and listed and store.get(key) == _CONTENT):
            msg = (
                f"The store {store.url} does not give back what was just written to it: nothing would be safe there, "
                "so choose another. Nothing was saved."
            )
            raise StoreError(msg)
    finally:
        with contextlib.suppress(StoreError):
            store.delete([key, contested])
    return [*([CREATES_ONCE] if once else []), "list", "range"]


def _creates_once(store: Store, key: str) -> bool:
    try:
        with contextlib.suppress(AlreadyExists):  # our own, when its first response was lost
            store.put(key, [_CONTENT], if_absent=True)
        store.put(key, [b"replaced"], if_absent=True)
    except AlreadyExists:
        return store.get(key) == _CONTENT
    except StoreError as error:
        if error.errno != errno.ENOTSUP:
            raise
    return False


def _two_get_through(store: Store, key: str) -> bool:
    start = threading.Barrier(_RACERS)

    def create(me: int) -> bool:
        start.wait()
        try:
            store.put(key, [b"%d" % me], if_absent=True)
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(_RACERS) as pool:
        return sum(pool.map(create, range(_RACERS))) > 1
