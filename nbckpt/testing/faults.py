"""Stores for tests: one in memory, and one around another that fails, loses responses or dies on demand."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from nbckpt.errors import AlreadyExists, NotFound, StoreError
from nbckpt.storage.stores import Buffer, Entry, Store, check_key

T = TypeVar("T")


class MemoryStore:
    """Keeps blobs in a dict. `changes` counts mutations; `written` remembers every blob ever created."""

    url = "memory"
    single_writer = False

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.written: list[tuple[str, bytes]] = []
        self.changes = 0
        self._one_at_a_time = threading.Lock()

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        """See `Store.put`."""
        blob = b"".join(bufs)
        with self._one_at_a_time:
            if check_key(key) in self.blobs and if_absent:
                raise AlreadyExists(key)
            self.blobs[key] = blob
            self.written.append((key, blob))
            self.changes += 1

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """See `Store.get`."""
        if check_key(key) not in self.blobs:
            raise NotFound(key)
        return self.blobs[key][start:end]

    def get_into(self, key: str, start: int, target: memoryview) -> int:
        """See `Store.get_into`."""
        piece = self.get(key, start, start + len(target))
        target[: len(piece)] = piece
        return len(piece)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """See `Store.list`."""
        keys = [key for key in sorted(self.blobs) if key.startswith(prefix) and key > start_after]
        yield from [Entry(key, len(self.blobs[key]), 0.0) for key in keys]

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`."""
        for key in keys:
            if self.blobs.pop(check_key(key), None) is not None:
                self.changes += 1

    def now(self) -> float:
        """Return the time, which stands still here."""
        return 0.0


class Died(BaseException):
    """The process that used the store was killed: not an error that anything may handle."""


class Gate:
    """Passes every operation on one blob through `gate`, which decides what becomes of it.

    A deletion of many keys is many operations, as it is on a real store.
    """

    def __init__(self, store: Store) -> None:
        self.inner = store

    @property
    def url(self) -> str:
        """The other store's."""
        return self.inner.url

    @property
    def single_writer(self) -> bool:
        """The other store's."""
        return self.inner.single_writer

    def gate(self, operation: Callable[[], T]) -> T:
        """Let an operation happen, or not; to be overridden."""
        raise NotImplementedError

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        """See `Store.put`."""
        self.gate(lambda: self.inner.put(key, bufs, if_absent=if_absent))

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """See `Store.get`."""
        return self.gate(lambda: self.inner.get(key, start, end))

    def get_into(self, key: str, start: int, target: memoryview) -> int:
        """See `Store.get_into`."""
        return self.gate(lambda: self.inner.get_into(key, start, target))

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """See `Store.list`."""
        yield from self.gate(lambda: [*self.inner.list(prefix, start_after)])

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`."""
        for key in keys:
            self.gate(lambda key=key: self.inner.delete([key]))  # type: ignore[misc]

    def now(self) -> float:
        """See `Store.now`."""
        return self.inner.now()


class Faulty(Gate):
    """Makes operations go wrong: number `at` (counted from 1) and, while `times` lasts, those after it.

    `mode` says how. `fails`: an error, no effect. `loses`: the effect, then an error. `truncates`: half of what
    was read, as from a server that hangs up, and of anything else the effect, then an error. `waits`: `pause` is
    called, then the operation goes well. `dies` and `dies after`: like `fails` and `loses`, but the process is
    gone: every later operation is refused as well.

    With `chance` instead of `at`, each operation goes wrong with that probability, in one of `modes`; a run with
    the same `seed` and the same operations goes wrong in the same places.
    """

    def __init__(
        self,
        store: Store,
        at: int = 0,
        mode: str = "fails",
        times: int = 1,
        errno: int | None = None,
        *,
        chance: float = 0.0,
        seed: int = 0,
        modes: Sequence[str] = ("fails", "loses"),
        pause: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(store)
        self.count = 0
        self.faults = 0
        self._at, self._mode, self._times, self._errno = at, mode, times, errno
        self._chance, self._modes, self._rng = chance, modes, random.Random(seed)
        self._pause = pause
        self._dead = False

    def gate(self, operation: Callable[[], T]) -> T:
        """Let an operation happen if it is not its turn to go wrong."""
        self.count += 1
        mode = self._turn()
        if self._dead:
            raise Died
        if mode == "":
            return operation()
        self.faults += 1
        if mode == "waits":
            self._pause()
            return operation()
        if mode.startswith("dies"):
            self._dead = True
            if mode == "dies after":
                operation()
            raise Died
        if mode == "truncates" and isinstance(result := operation(), bytes):
            return result[: len(result) // 2]  # type: ignore[return-value]
        if mode == "loses":
            operation()
        error = StoreError("the network is gone")
        error.errno = self._errno
        raise error

    def get_into(self, key: str, start: int, target: memoryview) -> int:
        """See `Store.get_into`: it is `get` that goes wrong, so that half of it can be there."""
        piece = self.get(key, start, start + len(target))
        target[: len(piece)] = piece
        return len(piece)

    def _turn(self) -> str:
        if self._chance:
            return self._rng.choice(list(self._modes)) if self._rng.random() < self._chance else ""
        return self._mode if self._at and self._at <= self.count < self._at + self._times else ""
