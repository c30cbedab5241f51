"""Who is writing a snapshot on this machine right now, so that a new kernel can wait for the writer of a dead one.

A file per checkpoint in the user's data folder is locked while a snapshot is on its way. The lock belongs to what
was opened, which the kernel and its writer share: the kernel takes it before it hands a snapshot over, the writer
gives it back when that is durable, and it is gone when both are. So a file that was left behind means nothing, and
no lock is needed for safety: it only tells whether it is worth waiting.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbckpt.storage.signing import data_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 30.0
"""Seconds without progress after which a writer is not waited for any longer."""
_PAUSE = 0.02
BEAT = 5.0
"""Seconds between two signs of life while something is written, which may take longer than `PATIENCE`."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to say that a snapshot is on its way."""

    fd: int

    @classmethod
    def open(cls, store_id: str, name: str) -> Lease | None:
        """Return the lease of a checkpoint, None where there is no such thing."""
        if os.name == "nt":
            return None
        path = _path(store_id, name)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError:  # a folder that cannot be written: then nobody waits
            return None

    def take(self) -> None:
        """Say that a snapshot is on its way; somebody else who says so for theirs is fine."""
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def sign(self, about: dict[str, Any]) -> None:
        """Write down who holds it."""
        with contextlib.suppress(OSError):
            raw = json.dumps(about).encode("ascii")
            os.pwrite(self.fd, raw, 0)
            os.ftruncate(self.fd, len(raw))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold it and give signs of life until the block ends."""
        self.take()
        try:
            with self.beating():
                yield
        finally:
            self.give_back()

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Give signs of life until the block ends: every operation of a store ends at some time."""
        done = threading.Event()

        def beats() -> None:
            while not done.wait(BEAT):
                self.beat()

        thread = threading.Thread(target=beats, name="nbckpt lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def beat(self) -> None:
        """Give a sign of life."""
        with contextlib.suppress(OSError):
            os.utime(self.fd)

    def give_back(self) -> None:
        """Say that none is."""
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of it; who shares it still has it."""
        os.close(self.fd)


def wait_for_writer(
    store_id: str, name: str, tell: Callable[[dict[str, Any]], None], patience: float = PATIENCE
) -> bool:
    """Wait until no snapshot of a checkpoint is on its way on this machine; False if that takes too long.

    `tell` is called once, with what the one who is writing says of itself, if there is anything to wait for.
    """
    if os.name == "nt":
        return True
    try:
        fd = os.open(_path(store_id, name), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        if _is_free(fd):
            return True
        tell(_about(fd))
        moved, since = os.fstat(fd).st_mtime_ns, time.monotonic()
        while not _is_free(fd):
            if (now := os.fstat(fd).st_mtime_ns) != moved:
                moved, since = now, time.monotonic()
            if time.monotonic() - since > patience:
                return False
            time.sleep(_PAUSE)
    finally:
        os.close(fd)
    return True


def _is_free(fd: int) -> bool:
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that has no locks
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


def _about(fd: int) -> dict[str, Any]:
    try:
        about = json.loads(os.pread(fd, 4096, 0))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _path(store_id: str, name: str) -> Path:
    return data_folder() / "writers" / f"{store_id}-{name}.lock"
