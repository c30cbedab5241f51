"""Writing much to a disk without leaving it in the page cache, where the system can do that.

What is written the usual way is copied to pages that the system has to find first, and waits there for the disk; a
gigabyte of them for each snapshot takes the processor from the loop and the memory from everybody, for bytes that are
read after a crash at most. So much goes to the disk straight from one small piece of memory, used again and again
(`O_DIRECT`). FastPersist (arXiv 2406.13768) saves models that way.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MUCH = 1024 * 1024
"""Bytes of a file from which on it is worth the steps."""
_AT_ONCE = 4 * 1024 * 1024
_ALIGNED = 4096  # whole blocks, of all disks that we know
_CANNOT = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_DIRECT = getattr(os, "O_DIRECT", 0)  # Linux and the BSDs have it

_spare: deque[mmap.mmap] = deque()
"""Memory between two uses: to get it anew takes longer than to write it."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_spare.clear)  # both would write by way of the same memory


def write(fd: int, pieces: Iterable[memoryview]) -> bool:
    """Write pieces one after another to a new file; False, and nothing is written, where that cannot be had.

    What the disk refuses to take so, such as less than a block at the end, goes as usual.
    """
    memory = _memory() if _DIRECT else None
    if memory is None:
        return False
    try:
        if not _turn(fd, on=True):
            return False
        with memoryview(memory) as view:
            _fill_and_put(fd, pieces, view)
        return True
    finally:
        _spare.append(memory)


def _fill_and_put(fd: int, pieces: Iterable[memoryview], memory: memoryview) -> None:
    filled = 0
    for piece in pieces:
        at = 0
        while at < len(piece):
            count = min(len(piece) - at, _AT_ONCE - filled)
            memory[filled : filled + count] = piece[at : at + count]
            at, filled = at + count, filled + count
            if filled == _AT_ONCE:
                _put(fd, memory)
                filled = 0
    blocks = filled - filled % _ALIGNED
    _put(fd, memory[:blocks])
    _turn(fd, on=False)
    _put(fd, memory[blocks:filled])


def _put(fd: int, rest: memoryview) -> None:
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except OSError as error:  # a disk of larger blocks, or one that has taken half a block
            if error.errno not in _CANNOT or not _is_direct(fd) or not _turn(fd, on=False):
                raise


def _memory() -> mmap.mmap | None:
    """Return memory that begins where a page does; None if there is none."""
    try:
        return _spare.pop()
    except IndexError:
        pass
    try:
        return mmap.mmap(-1, _AT_ONCE)  # shared: a private one must not be in use while the process forks, by open(2)
    except OSError:
        return None


def _is_direct(fd: int) -> bool:
    import fcntl

    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & _DIRECT)


def _turn(fd: int, *, on: bool) -> bool:
    """Switch between the two ways; False where the file system knows but one."""
    import fcntl

    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | _DIRECT if on else flags & ~_DIRECT)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    return True
