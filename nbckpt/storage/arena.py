"""Memory that a run shares with its writer: what is to be saved is copied here, and the loop goes on."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import tempfile
from typing import TYPE_CHECKING

from nbckpt.errors import OptionError
from nbckpt.settings import bytes_from_environment
from nbckpt.storage.copying import Copier
from nbckpt.storage.machine import free_memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nbckpt.storage.stores import Buffer

_ALIGNED = 64  # bytes: copies between lines of the cache are slower
_STEP = 16 * 1024 * 1024  # bytes that it grows by, at least
_LEAST, _SHARE, _USUAL = 64 * 1024 * 1024, 0.25, 1024 * 1024 * 1024
"""Bytes that may be filled at once in any case, the share of the free memory, and bytes where nobody knows that."""
_SPARED = 0.1  # the share of the free memory that is left to the computation


class Arena:
    """One shared piece of memory without a name: when the last process that has it ends, it is gone.

    Pages are slow to get and fast to use again, so it stays as long as the run does and only ever grows.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _anonymous() if fd is None else fd
        self.size = 0
        self._map: mmap.mmap | None = None
        self._copier = Copier()

    def fill(self, pieces: Sequence[Buffer]) -> None:
        """Copy pieces to where `places` says.

        Raises `MemoryError` if there is no room for them; what was there before is there no more.
        """
        placed = list(zip(pieces, places(map(len, pieces)), strict=True))
        self.settle()
        self._reserve(placed[-1][1].stop if placed else 0)
        if self._map is not None:
            with memoryview(self._map) as target:
                self._copier.copy(placed, target)

    def settle(self) -> None:
        """Wait for what an interrupted `fill` has left at work."""
        self._copier.wait()

    def view(self, size: int) -> memoryview:
        """Return what another process has filled; `size` is the arena's there."""
        if size > self.size:
            self._map = mmap.mmap(self.fd, size)
            self.size = size
        return memoryview(self._map).toreadonly() if self._map is not None else memoryview(b"")

    def catch_up(self) -> None:
        """See all of it, where another process has made it larger."""
        self.view(os.fstat(self.fd).st_size)

    def write(self, raw: bytes) -> None:
        """Answer, over the beginning of what was filled and is done with."""
        if raw:
            assert self._map is not None  # noqa: S101 - what is answered is longer than the answer
            self._map[: len(raw)] = raw

    def read(self, size: int) -> bytes:
        """Return what another process has answered."""
        return self._map[:size] if self._map is not None else b""

    def room(self, size: int) -> int:
        """Return how many of `size` bytes should be filled at once: `NBCKPT_STAGING`, or a share of the free memory."""
        if size <= _LEAST and not asked_room():
            return _LEAST
        free = free_memory() + self.size
        return asked_room() or (int(max(_LEAST, _SHARE * free)) if free < float("inf") else _USUAL)

    def close(self) -> None:
        """Give the memory back, unless another process still has it."""
        self.settle()
        if self._map is not None:
            with contextlib.suppress(BufferError):  # somebody still looks at it: it goes when they do
                self._map.close()
            self._map = None
        os.close(self.fd)

    def _reserve(self, size: int) -> None:
        if size <= self.size:
            return
        wanted = -(-max(size, self.size + self.size // 4) // _STEP) * _STEP
        if wanted - self.size > (1 - _SPARED) * free_memory():
            msg = f"there is no room for a copy of the {size:,} bytes that are to be saved"
            raise MemoryError(msg)
        self.size = 0  # until it is mapped: an interrupt may come at any moment
        try:
            if hasattr(os, "memfd_create"):
                os.ftruncate(self.fd, wanted)
            else:  # a file: a full disk shows now, not as a crash when the page is touched
                os.posix_fallocate(self.fd, 0, wanted) if hasattr(os, "posix_fallocate") else _stretch(self.fd, wanted)
            if self._map is not None:
                self._map.close()
                self._map = None
            self._map = mmap.mmap(self.fd, wanted)
        except OSError as error:
            if error.errno not in {errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise
            msg = f"there is no room for a copy of the {size:,} bytes that are to be saved ({error.strerror})"
            raise MemoryError(msg) from error
        self.size = wanted


def asked_room() -> int | None:
    """Return what `NBCKPT_STAGING` says, if it says anything.

    Raises `OptionError` if that is no number of bytes.
    """
    asked = bytes_from_environment("NBCKPT_STAGING", "write 1000000000, or leave it out")
    if asked == 0:
        msg = "NBCKPT_STAGING=0 leaves no room to copy anything: write 1000000000, or leave it out"
        raise OptionError(msg)
    return asked


def places(sizes: Iterable[int]) -> Iterator[slice]:
    """Yield where in an arena pieces of these sizes are, one after another."""
    at = 0
    for size in sizes:
        yield slice(at, at + size)
        at = -(-(at + size) // _ALIGNED) * _ALIGNED


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("nbckpt", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile(prefix="nbckpt-") as file:
        return os.dup(file.fileno())


def _stretch(fd: int, size: int) -> None:
    """Write zeros: the way to reserve room on a disk that works everywhere."""
    zeros = bytes(1024 * 1024)
    at = os.fstat(fd).st_size
    while at < size:
        at += os.pwrite(fd, zeros[: size - at], at)
