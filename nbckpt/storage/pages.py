"""Which pages of memory were written since they were looked at last, as the kernel of Linux knows it, from 6.7 on.

Memory is *watched*: its pages are write-protected by `userfaultfd`, and the first write to one takes the protection
away again, by itself, a microsecond or two later. `ioctl(PAGEMAP_SCAN)` lists the pages that have none and protects
them anew in the same breath, so that no write falls between two looks. That needs no privileges. It sees what threads
of this process write and what the kernel writes for them (`read`, `recv`), not what a device writes into pages that it
holds for itself; so where devices may do that, nothing is watched.

Whole mappings are registered with the kernel, and only what is watched is protected: to split a mapping would make
`mremap`, and with it a `realloc` of large memory, fail. What is mapped anew at an address is not registered, and so is
not taken for what was watched there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import re
import struct
import sys
import weakref
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":  # at once: where an interpreter ends, nothing can be imported any more
    import fcntl

_CALLS = {"x86_64": 323, "aarch64": 282}
"""The numbers of the system call `userfaultfd`."""
_USER_MODE_ONLY = 1
_API = struct.Struct("3Q")  # version, features, ioctls
_API_VERSION, _WP_UNPOPULATED, _WP_ASYNC = 0xAA, 1 << 13, 1 << 15
_REGISTRATION = struct.Struct("4Q")  # start, length, mode, ioctls
_MODE_WP = 1 << 1
_PROTECTION = struct.Struct("3Q")  # start, length, whether
_RANGE = struct.Struct("2Q")
_UFFDIO_API, _UFFDIO_REGISTER, _UFFDIO_UNREGISTER, _UFFDIO_WRITEPROTECT = 0xC018AA3F, 0xC020AA00, 0x8010AA01, 0xC018AA06

_SCAN = struct.Struct("12Q")
_PAGEMAP_SCAN = 0xC0606610
_PROTECTING, _ONLY_REGISTERED = 1 << 0, 1 << 1
_WRITTEN, _FILE, _PRESENT, _SWAPPED = 1 << 1, 1 << 2, 1 << 3, 1 << 4
_WALK_END = 4 * 8  # bytes into the request
_REGIONS = 4096
"""Ranges of pages of one kind that one call may tell of."""

_OWN_WRITERS = re.compile(rb" /dev/(?!shm/|zero\b)|\[io_uring\]|/\[aio\]")
"""Mappings by which a device, or the kernel on its own, may write into memory of this process later on."""
_FILES = Path("/proc/self/fd")
_PAST_THE_CACHE = getattr(os, "O_DIRECT", 0)
"""How a file is open whose device writes what is read straight into the reader's pages: a look while it does so would
protect them too early."""

PAGE = mmap.PAGESIZE


class Pages:
    """The memory of this process that is watched. Raises `OSError` if that cannot be done here.

    There is one at a time, as a look hides from all others what was written before it: a new one takes the place of the
    one before, which is closed. A forked child has none.
    """

    def __init__(self) -> None:
        self._uffd = self._map = -1
        self._registered: set[tuple[int, int]] = set()
        if sys.platform != "linux" or PAGE != 4096 or platform.machine() not in _CALLS or sys.maxsize < 1 << 32:
            msg = "written pages are known on Linux only"
            raise OSError(msg)
        self._regions = (ctypes.c_uint64 * (3 * _REGIONS))()
        libc = ctypes.CDLL(None, use_errno=True)
        number = libc.syscall(_CALLS[platform.machine()], os.O_CLOEXEC | os.O_NONBLOCK | _USER_MODE_ONLY)
        if number < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._uffd = number
        try:
            _open.add(self)  # first: of two threads that do this at once none is left rather than both
            for earlier in [one for one in _open if one is not self]:
                earlier.close()
            self._ask(_UFFDIO_API, _API.pack(_API_VERSION, _WP_UNPOPULATED | _WP_ASYNC, 0))
            self._map = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
            self._try_out()
        except BaseException:
            self.close()
            raise

    @property
    def are_open(self) -> bool:
        """Whether they are watched still: nobody has taken their place."""
        return self._uffd >= 0

    @staticmethod
    def are_in_use() -> bool:
        """Whether somebody watches memory of this process."""
        return bool(_open)

    def watch(self, start: int, end: int, mappings: Mappings) -> None:
        """Begin to watch whole pages; raises `OSError` if they are not private memory of this process alone."""
        around = mappings.around(start, end)
        if around is None:
            msg = "memory that others may write to is not watched"
            raise OSError(msg)
        self._register(*around)
        self._ask(_UFFDIO_WRITEPROTECT, _PROTECTION.pack(start, end - start, 1))

    def written(self, start: int, end: int, *, protect: bool = True) -> Iterator[tuple[int, int]]:
        """Yield where watched pages were written, from address to address; `protect` them anew.

        What the computation gave back to the kernel counts as written. Raises `OSError` if any of it is not watched any
        more; what was yielded before that is of no use then.
        """
        flags = _ONLY_REGISTERED | (_PROTECTING if protect else 0)
        at = start
        while at < end:
            # all but those that are there and protected: of those that are not, some were swapped out
            asked = (flags, at, end, 0, ctypes.addressof(self._regions), _REGIONS, 0)
            kinds = (_PRESENT, 0, _WRITTEN | _FILE | _PRESENT, _WRITTEN | _FILE | _PRESENT | _SWAPPED)
            count, answer = self._ask(_PAGEMAP_SCAN, _SCAN.pack(_SCAN.size, *asked, *kinds), self._map)
            found = memoryview(self._regions).cast("B")[: 24 * count]
            for begin, until, kind in struct.iter_unpack("3Q", found):
                if kind & _FILE:
                    msg = "memory of a file is not watched"
                    raise OSError(msg)
                if kind & _WRITTEN or not kind & (_PRESENT | _SWAPPED):
                    yield begin, until
            (reached,) = struct.unpack_from("Q", answer, _WALK_END)
            if reached <= at:
                msg = "the kernel looks at no pages"
                raise OSError(msg)
            at = reached

    def release(self, start: int, end: int) -> None:
        """Watch some pages no more: the next write to them costs nothing."""
        with contextlib.suppress(OSError):  # they are gone
            self._ask(_UFFDIO_WRITEPROTECT, _PROTECTION.pack(start, end - start, 0))

    def close(self) -> None:
        """Watch nothing any more, and leave nothing of it."""
        for start, end in list(self._registered):
            with contextlib.suppress(OSError):  # it is gone; what is there now is not ours
                self._ask(_UFFDIO_UNREGISTER, _RANGE.pack(start, end - start))
        self.abandon()

    def __del__(self) -> None:
        self.close()

    def abandon(self) -> None:
        """Close the descriptors and nothing else, as in a forked child, which shares them with its parent."""
        self._registered.clear()
        numbers, self._uffd, self._map = (self._uffd, self._map), -1, -1
        _open.discard(self)
        for number in numbers:
            if number >= 0:
                os.close(number)

    def _register(self, start: int, end: int) -> None:
        self._registered.add((start, end))  # first: an interrupt may come at any moment
        try:
            self._ask(_UFFDIO_REGISTER, _REGISTRATION.pack(start, end - start, _MODE_WP, 0))
        except OSError:
            self._registered.discard((start, end))  # it may be somebody else's, who watches it for another purpose
            raise

    def _ask(self, request: int, raw: bytes, number: int | None = None) -> tuple[int, bytes]:
        given = bytearray(raw)
        asked = self._uffd if number is None else number
        result: int = fcntl.ioctl(asked, request, given, True) if asked >= 0 else -1  # noqa: FBT003
        if self._uffd < 0:  # also if it was closed meanwhile: what was seen then may be another's look
            raise OSError(errno.EBADF, "memory is not watched any more")
        return result, bytes(given)

    def _try_out(self) -> None:
        """See whether what is written here, in three ways, is told, and nothing else; raises `OSError`."""
        with mmap.mmap(-1, 8 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as scratch:
            holder = ctypes.c_char.from_buffer(scratch)
            start, end = ctypes.addressof(holder), ctypes.addressof(holder) + len(scratch)
            del holder
            scratch[: 7 * PAGE : PAGE] = bytes(7)  # the last one is never touched
            reading, writing = os.pipe()
            try:
                self._register(start, end)
                self._ask(_UFFDIO_WRITEPROTECT, _PROTECTION.pack(start, end - start, 1))
                seen = [self._numbers(start, end)]
                scratch[PAGE] = 1
                os.write(writing, b"written by the kernel")
                with memoryview(scratch) as view:
                    os.readv(reading, [view[3 * PAGE : 4 * PAGE]])
                scratch.madvise(mmap.MADV_DONTNEED, 5 * PAGE, PAGE)
                seen += [self._numbers(start, end), self._numbers(start, end)]
                scratch[PAGE] = 2
                seen.append(self._numbers(start, end))
            finally:
                os.close(reading)
                os.close(writing)
                self._registered.discard((start, end))
                with contextlib.suppress(OSError):
                    self._ask(_UFFDIO_UNREGISTER, _RANGE.pack(start, end - start))
        if seen != [[], [1, 3, 5], [], [1]]:
            msg = f"the kernel tells of other pages than were written: {seen}"
            raise OSError(msg)

    def _numbers(self, start: int, end: int) -> list[int]:
        return [
            number
            for begin, until in self.written(start, end)
            for number in range((begin - start) // PAGE, (until - start) // PAGE)
        ]


_open: weakref.WeakSet[Pages] = weakref.WeakSet()


def _after_fork() -> None:
    for pages in list(_open):
        pages.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Mappings:
    """The mappings of this process at a moment. Raises `OSError`."""

    def __init__(self) -> None:
        self._lines = Path("/proc/self/maps").read_bytes()
        self._private: list[tuple[int, int]] | None = None
        nothing_is_held = re.search(rb"^VmPin:\s+0 kB", Path("/proc/self/status").read_bytes(), re.MULTILINE)
        self.are_ours_alone = (
            nothing_is_held is not None
            and not _OWN_WRITERS.search(self._lines)
            and not any(_is_read_by_a_device(int(file.name)) for file in _FILES.iterdir())
        )
        """Whether nobody writes into this process's memory whom the kernel does not see at it."""

    def around(self, start: int, end: int) -> tuple[int, int] | None:
        """The mappings that have some pages, from where to where; None if not all are private memory without a file."""
        if self._private is None:
            self._private = list(self._without_file())
        begun = bisect_right(self._private, start, key=lambda one: one[0]) - 1
        if begun < 0 or start >= self._private[begun][1]:
            return None
        until = begun
        while self._private[until][1] < end:
            until += 1
            if until == len(self._private) or self._private[until][0] != self._private[until - 1][1]:
                return None
        return self._private[begun][0], self._private[until][1]

    def _without_file(self) -> Iterator[tuple[int, int]]:
        for line in self._lines.splitlines():
            place, rights, _, _, file, *path = line.split(maxsplit=5)
            if (
                rights == b"rw-p"
                and file == b"0"
                and (not path or path[0] == b"[heap]" or path[0].startswith(b"[anon:"))
            ):
                first, last = (int(one, 16) for one in place.split(b"-"))
                yield first, last


def _is_read_by_a_device(number: int) -> bool:
    """Whether a file that is open, by its number, is read past the system's cache."""
    try:
        return bool(fcntl.fcntl(number, fcntl.F_GETFL) & _PAST_THE_CACHE)
    except OSError:  # it was closed meanwhile, as the one is by which the folder was listed
        return False
