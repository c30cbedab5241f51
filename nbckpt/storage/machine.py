"""What this machine has for this process: memory, and processors."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_LIMITS = (
    (_GROUPS, "memory.max", "memory.current"),
    (_GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Where a container is told how much memory it may have, and has: in the two versions of control groups."""


def processors() -> int:
    """How many processors there are for this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> float:
    """Bytes that can be had before the machine, or the container, starts to kill processes."""
    available = _told("MemAvailable")
    free = float("inf") if available is None else float(available)
    for group, most, used in _LIMITS:
        with contextlib.suppress(OSError, ValueError):
            limit, taken = (int((group / name).read_text(encoding="ascii")) for name in (most, used))
            stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
            # what only caches files counts as taken, and is given up before anything is killed
            cached = sum(int(stat.get(f"total_{kind}", stat.get(kind, 0))) for kind in ("inactive_file", "active_file"))
            free = min(free, limit - taken + cached)
    return free


def physical_memory() -> int:
    """Return the bytes of memory and swap, 0 where the system does not say."""
    try:
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
    return room + (_told("SwapTotal") or 0)  # elsewhere than on Linux, swap is not counted


def _told(word: str) -> int | None:
    """Return the bytes that Linux tells of its memory under a word, None where nothing does."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{word}:")), None)
    except (OSError, ValueError, IndexError):
        return None
