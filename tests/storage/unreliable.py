"""Stores for tests: one in memory, and one around another that fails, loses responses or dies on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from nbckpt.errors import AlreadyExists, NotFound, StoreError
from nbckpt.storage.stores import Buffer, Entry, Store, check_key

T = TypeVar("T")


class MemoryStore:
    """Keeps blobs in a dict. `changes` counts mutations; `written` remembers every blob ever created."""

    url = "memory"

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.written: list[tuple[str, bytes]] = []
        self.changes = 0

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        check_key(key)
        if if_absent and key in self.blobs:
            raise AlreadyExists(key)
        self.blobs[key] = b"".join(bufs)
        self.written.append((key, self.blobs[key]))
        self.changes += 1

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        if check_key(key) not in self.blobs:
            raise NotFound(key)
        return self.blobs[key][start:end]

    def get_into(self, key: str, start: int, target: memoryview) -> int:
        piece = self.get(key, start, start + len(target))
        target[: len(piece)] = piece
        return len(piece)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        keys = [key for key in sorted(self.blobs) if key.startswith(prefix) and key > start_after]
        yield from [Entry(key, len(self.blobs[key]), 0.0) for key in keys]

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            if self.blobs.pop(check_key(key), None) is not None:
                self.changes += 1

    def now(self) -> float:
        return 0.0


class Died(BaseException):
    """The process that used the store was killed: not an error that anything may handle."""


class Gate:
    """Passes every operation on one blob through `gate`, which decides what becomes of it.

    A deletion of many keys and a listing are many operations, as they are on a real store.
    """

    def __init__(self, store: Store) -> None:
        self.inner = store

    @property
    def url(self) -> str:
        return self.inner.url

    def gate(self, operation: Callable[[], T]) -> T:
        raise NotImplementedError

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        self.gate(lambda: self.inner.put(key, bufs, if_absent=if_absent))

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        return self.gate(lambda: self.inner.get(key, start, end))

    def get_into(self, key: str, start: int, target: memoryview) -> int:
        return self.gate(lambda: self.inner.get_into(key, start, target))

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        yield from self.gate(lambda: [*self.inner.list(prefix, start_after)])

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.gate(lambda key=key: self.inner.delete([key]))  # type: ignore[misc]

    def now(self) -> float:
        return self.inner.now()


class Faulty(Gate):
    """Counts operations from 1; operation `at` (and, while `times` lasts, those after it) goes wrong in one way.

    `fails`: an error, no effect. `loses`: the effect, then an error. `dies` and `dies after`: like these, but the
    process is gone: every later operation is refused as well.
    """

    def __init__(
        self, store: Store, at: int = 0, mode: str = "fails", times: int = 1, errno: int | None = None
    ) -> None:
        super().__init__(store)
        self.count = 0
        self._at, self._mode, self._times, self._errno = at, mode, times, errno

    def gate(self, operation: Callable[[], T]) -> T:
        self.count += 1
        dies = self._mode.startswith("dies")
        if not self._at or self.count < self._at or (self.count >= self._at + self._times and not dies):
            return operation()
        if dies:
            if self._mode == "dies after" and self.count == self._at:
                operation()
            raise Died
        if self._mode == "loses":
            operation()
        error = StoreError("the network is gone")
        error.errno = self._errno
        raise error
