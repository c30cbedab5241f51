"""One process: restores what a session saved, and says what it is. It prints a line of JSON for each save.

`python -m benchmarks.restoring PEER WORKLOAD SCALE FOLDER warm|cold NUMBER...`: from files that are all in the page
cache, or none of them. It prints nothing where the cache does not let go of them.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from .floors import read_through
from .peers import find
from .peers.peer import Peer
from .watch import settle
from .workloads import Workload, workload_of

_TINY = 1e-6
_BLOCK = 1 << 20


def main() -> None:
    peer_name, workload_name, scale, folder, cache, *numbers = sys.argv[1:]
    workload = workload_of(workload_name)
    kind = find(peer_name)
    for module in (*workload.needs, *kind.imports):
        import_module(module)
    workload.make(_TINY)  # what a library imports when it is first used is not what a restore costs
    peer = kind(workload, float(scale), Path(folder))
    if cache == "warm":
        warm(Path(folder))
    elif not forget(Path(folder)):
        return
    for number in map(int, numbers):
        took, variables = restored(peer, workload, number)
        print(json.dumps({"number": number, "restore": took, "digest": workload.digest(variables)}), flush=True)
        del variables


def restored(peer: Peer, workload: Workload, number: int) -> tuple[float, dict[str, Any]]:
    """How long a save takes to be back, every byte of it, and the variables."""
    peer.ready()
    began = time.perf_counter()
    variables = peer.restore(number)
    if workload.is_buffers:  # also of those that only map a file
        read_through(workload.whole(variables))
    return time.perf_counter() - began, variables


def files(folder: Path) -> Iterator[int]:
    """Every file below a folder, open for reading."""
    for path in filter(Path.is_file, folder.rglob("*")):
        with path.open("rb", buffering=0) as file:
            yield file.fileno()


def warm(folder: Path) -> None:
    """Have all files in the page cache, whoever wrote them in whichever way."""
    for file in files(folder):
        while os.read(file, _BLOCK):
            pass


def forget(folder: Path) -> bool:
    """Have none of them there; False where that cannot be had."""
    if not hasattr(os, "posix_fadvise"):
        return False
    settle(folder)  # what is not on the disk yet would stay
    for file in files(folder):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    return not any(map(cached, files(folder)))


def cached(file: int) -> int:
    """How many pages of a file are in the cache."""
    if not (size := os.fstat(file).st_size):
        return 0
    with mmap.mmap(file, size, access=mmap.ACCESS_COPY) as mapped:
        found = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        begin = ctypes.c_char.from_buffer(mapped)
        failed = ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(begin)), ctypes.c_size_t(size), found)
        del begin
    assert not failed, "the system does not say what is in the cache"
    return bytes(found).count(1)


if __name__ == "__main__":
    main()
