"""Copying much memory at once: in stretches as long as they come, by several threads.

What the processor is told to copy in one long piece it writes past its caches, in half the time; and one thread alone
does not use all the speed that memory has.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from nbckpt.storage.machine import processors
from nbckpt.storage.stores import Buffer

_LONG = 1024 * 1024
"""Bytes of a piece from which on it is worth asking where it lies."""
_MUCH = 16 * 1024 * 1024
"""Bytes that another thread is worth starting for."""
_LEAST, _MOST = 4 * 1024 * 1024, 128 * 1024 * 1024
"""Bytes that one thread copies at a stretch: few enough to share, and enough to go past the caches."""
_MOST_THREADS = 4


class _Stretch(NamedTuple):
    """Bytes that lie one after another, both where they are and where they go: two addresses and how many."""

    source: int
    target: int
    length: int


class Copier:
    """Copies pieces of memory, each to its place.

    When an exception ends a copy half way, as an interrupt may, other threads may be at their last stretch still: the
    next copy begins after them, and `wait` waits for them. What they copy from and to stays as long as they are at it.
    """

    def __init__(self) -> None:
        self._left: deque[_Stretch] = deque()
        self._at_work: list[threading.Lock] = []
        """One for each other thread, which has it while it copies."""
        self._held: list[memoryview] = []

    def copy(self, pieces: Iterable[tuple[Buffer, slice]], target: memoryview) -> None:
        """Copy each to where it belongs in `target`, which is writable bytes."""
        self.wait()
        try:
            self._copy(self._stretches(pieces, target))
        finally:
            self.wait()

    def _stretches(self, pieces: Iterable[tuple[Buffer, slice]], target: memoryview) -> list[_Stretch]:
        """Copy what is short, and return what is left to copy."""
        self._held.append(memoryview(target))
        stretches: list[_Stretch] = []
        begin = address(target)
        for piece, place in pieces:
            if len(piece) < _LONG:
                target[place] = piece
                continue
            view = memoryview(piece)
            self._held.append(view)
            found = _Stretch(address(view), begin + place.start, view.nbytes)
            last = stretches[-1] if stretches else found
            if (last.source + last.length, last.target + last.length) == (found.source, found.target):
                stretches[-1] = last._replace(length=last.length + found.length)
            else:
                stretches.append(found)
        return stretches

    def _copy(self, stretches: list[_Stretch]) -> None:
        total = sum(stretch.length for stretch in stretches)
        threads = min(_MOST_THREADS, processors(), 1 + total // _MUCH)
        longest = max(_LEAST, min(_MOST, total // (4 * threads)))
        self._left = deque(part for stretch in stretches for part in _parts(stretch, longest))
        self._at_work = [threading.Lock() for _ in range(threads - 1)]
        for lock in self._at_work:
            with contextlib.suppress(RuntimeError):  # there can be no more threads: those that there are do it all
                threading.Thread(target=_help, args=(self._left, lock), name="nbckpt copy", daemon=True).start()
        _work(self._left)

    def wait(self) -> None:
        """Wait until no thread copies any more."""
        self._left.clear()  # a thread that comes late finds nothing
        for lock in self._at_work:
            with lock:
                pass
        for view in self._held:
            view.release()
        self._at_work, self._held = [], []


def _parts(stretch: _Stretch, longest: int) -> Iterable[_Stretch]:
    source, target, length = stretch
    for at in range(0, length, longest):
        yield _Stretch(source + at, target + at, min(longest, length - at))


def _help(left: deque[_Stretch], lock: threading.Lock) -> None:
    with lock:
        _work(left)


def _work(left: deque[_Stretch]) -> None:
    while True:
        try:
            source, target, length = left.popleft()
        except IndexError:
            return
        ctypes.memmove(target, source, length)


class _Buffer(ctypes.Structure):
    """What C has for a buffer (`Py_buffer`)."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        *((name, ctypes.c_void_p) for name in ("format", "shape", "strides", "suboffsets", "internal")),
    )


_get = ctypes.pythonapi.PyObject_GetBuffer
_give_back = ctypes.pythonapi.PyBuffer_Release


def address(view: memoryview) -> int:
    """Where the bytes of a flat view begin."""
    buffer = _Buffer()
    reference, of = ctypes.byref(buffer), ctypes.py_object(view)
    try:  # an interrupt may come as soon as the call is over
        _get(of, reference, 0)
        return int(buffer.buf or 0)
    finally:
        _give_back(reference)
