"""The forked copy of a kernel that captures a snapshot, as its writer sees it: is it getting on?"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

PATIENCE = 20.0
"""Seconds in which a copy uses no processor and touches no memory, after which it hangs: it is ended then."""


class Ward:
    """A process to be looked after, which may hang: it left the threads behind that would release a lock."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._begun, self._used = _stat(pid) or ("", ())
        self._since = time.monotonic()

    def has_ended(self) -> bool:
        """Whether there is no such process any more, or nothing of it but its end."""
        found = _stat(self.pid)
        return found is None or found[0] != self._begun

    def is_moving(self) -> bool:
        """Whether it did anything since this was asked last; one that has not for long is killed."""
        _, used = _stat(self.pid) or ("", ())
        if used != self._used:
            self._used, self._since = used, time.monotonic()
            return True
        if time.monotonic() - self._since > PATIENCE and not self.has_ended():
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
        return False


def _stat(pid: int) -> tuple[str, tuple[str, ...]] | None:
    """When a process was begun; what it has used of the processor, and how often it got a page of memory."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (fields[19], (fields[7], fields[9], fields[11], fields[12]))
