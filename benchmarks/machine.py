"""What a process and those that it started have used: time of the processors, and memory. Known on Linux only."""

from __future__ import annotations

import os
import time
from pathlib import Path

MARK = "NBCKPT_BENCHMARK_SESSION"
"""The variable by whose value the processes of one session know each other, whoever is their parent."""
_TICK = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01


def companions(session: str = "") -> list[int]:
    """The other processes of this session or another, such as a detached writer."""
    wanted = f"{MARK}={session or os.environ.get(MARK, '')}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int(folder.name) != os.getpid() and wanted in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended, or is not ours to look at
            continue
    return found


def processor_seconds(others: list[int]) -> float:
    """What this process, its children that have ended and `others` have used so far."""
    used = os.times()
    return time.process_time() + used.children_user + used.children_system + sum(map(used_by, others))


def used_by(pid: int) -> float:
    """What another process has used so far; nothing if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * _TICK


def _field(pid: int | str, name: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def forget_peak() -> None:
    """Let the peak begin anew, at what is in memory now."""
    place = Path("/proc/self/clear_refs")
    if place.exists():
        place.write_text("5")


def memory() -> int:
    """Bytes in memory now."""
    return _field("self", "VmRSS")


def room() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def peak(others: list[int]) -> int:
    """The most bytes that were in memory: this process's, and what `others` did not share with it."""
    return _field("self", "VmHWM") + sum(_field(pid, "VmHWM") - _field(pid, "RssShmem") for pid in others)


def limits() -> dict[str, int]:
    """What nbckpt has here: bytes that may wait to be written, and whether the kernel tells which pages were."""
    from nbckpt.storage.arena import Arena
    from nbckpt.storage.pages import Pages

    arena = Arena()
    staging = arena.room(room())
    arena.close()
    try:
        Pages().close()
    except OSError:
        return {"staging": staging, "pages": False}
    return {"staging": staging, "pages": True}


def described() -> dict[str, str]:
    """What a reader of the numbers has to know of the machine."""
    import platform

    model = ""
    if (place := Path("/proc/cpuinfo")).exists():
        lines = [line for line in place.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else ""
    return {
        "processors": f"{os.cpu_count()} x {model or platform.machine()}",
        "memory": f"{room() / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
