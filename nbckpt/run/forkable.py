"""Whether this process can be forked now without harm to itself or to the copy.

Nobody can see from outside whether a thread is in a library's native code. But where it waits can be seen: the kernel
tells in which system call a thread sleeps, and Python at which line. A thread that waits for the clock, a file or a
socket, or that stands in one of Python's own waits for a lock, is in nobody else's code. Every other one may be
computing in a library, beside which a fork hangs the whole process, not only the copy: so then there is none.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import threading
from pathlib import Path
from types import FrameType

from ..storage.machine import free_memory

_PROC = Path("/proc/self")
_DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dxg")
_HARMLESS = ("/memfd:nbckpt", "/dev/shm/sem.", "/dev/shm/__KMP_REGISTERED_LIB")  # noqa: S108 - names to be compared
"""Memory that is shared with others and part of no state: our own, semaphores, and how OpenMP finds itself."""
_THREADED = {"jaxlib": "JAX", "tensorflow": "TensorFlow", "ray": "Ray"}
"""Libraries whose own threads compute while Python goes on, and are missing in a copy."""
_CALLS = {
    "x86_64": {0, 7, 23, 35, 43, 45, 47, 61, 74, 75, 230, 232, 247, 270, 271, 281, 288, 441},
    "aarch64": {22, 63, 72, 73, 82, 83, 95, 101, 115, 202, 207, 212, 242, 260, 441},
}
"""The numbers of read, recvfrom, recvmsg, accept, accept4, poll, ppoll, select, pselect6, epoll_wait, epoll_pwait,
epoll_pwait2, nanosleep, clock_nanosleep, wait4, waitid, fsync and fdatasync."""
_WAITS = {
    "threading": {"wait", "join", "_wait_for_tstate_lock"},
    "queue": {"get", "put"},
    "selectors": {"select"},
    "concurrent.futures.thread": {"_worker"},
}
"""Functions of Python's own, by module, that wait for a lock and call nothing else."""


class Threads:
    """The other threads that Python knows, as they stand now. Look again a moment later if one is `busy`."""

    def __init__(self) -> None:
        natives = {thread.ident: thread for thread in threading.enumerate()}
        self._stand = _standing()
        self.busy = ""
        """The name of one that may be in native code, or nothing."""
        for ident, frame in _others().items():
            thread = natives.get(ident)
            at_rest = _waits(frame) or (thread is not None and _sleeps(thread.native_id))
            if not at_rest:
                self.busy = thread.name if thread is not None else f"number {ident}"
                return

    def still(self) -> bool:
        """Whether they stand where they stood."""
        return _standing() == self._stand


def why_not() -> str | None:
    """Return why this process cannot be forked at all, or None; what its `Threads` do is another question."""
    if sys.platform != "linux" or not hasattr(os, "memfd_create"):
        return "only Linux can"
    for package, name in _THREADED.items():
        if package in sys.modules:
            return f"{name} is loaded, whose threads are missing in a copy"
    if _has_devices():
        return "a GPU is in use"
    if (place := _shared_memory()) is not None:
        return f"memory is shared ({place}), and a copy would see what is written to it later"
    if free_memory() < (own := _own_memory()):
        return f"memory is short ({own:,} bytes are in use here, which a copy may come to need again)"
    return None


def _own_memory() -> int:
    """Bytes of this process that are doubled page by page as either of two copies writes to them."""
    lines = (_PROC / "status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def _others() -> dict[int, FrameType]:
    """The lines at which all other threads stand but our own, which compute nothing."""
    ours = {thread.ident for thread in threading.enumerate() if thread.name.startswith("nbckpt ")}
    frames = sys._current_frames()  # noqa: SLF001 - the only way to ask
    return {ident: frames[ident] for ident in frames.keys() - ours - {threading.get_ident()}}


def _standing() -> dict[int, tuple[int, int]]:
    """Where each of the others stands: reading this lets none of them go on."""
    return {ident: (id(frame), frame.f_lasti) for ident, frame in _others().items()}


def _waits(frame: FrameType) -> bool:
    return frame.f_code.co_name in _WAITS.get(frame.f_globals.get("__name__", ""), ())


def _sleeps(number: int | None) -> bool:
    """Whether a thread is in a system call that waits for something outside this process."""
    try:
        word = (_PROC / "task" / str(number) / "syscall").read_text(encoding="ascii").split()[0]
    except (OSError, IndexError):  # it has ended, or is not told of here
        return False
    return word.isdecimal() and int(word) in _CALLS.get(platform.machine(), ())


def _has_devices() -> bool:
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized():
        return True
    for fd in os.listdir(_PROC / "fd"):  # noqa: PTH208 - names are enough
        with contextlib.suppress(OSError):  # closed meanwhile
            if os.readlink(_PROC / "fd" / fd).startswith(_DEVICES):  # noqa: PTH115 - text, to be compared
                return True
    return False


def _shared_memory() -> str | None:
    """What memory that can be written to is mapped from, if others see what is written."""
    for line in (_PROC / "maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, kind, _, _, _, *rest = line.split(maxsplit=5)
        place = rest[0] if rest else ""
        if kind.startswith("rw-s") and not place.startswith(_HARMLESS) and not place.endswith("-shm"):
            return place.removesuffix(" (deleted)") or "without a name"
    return None
