"""One process: restores what a session saved, and says what it is. It prints a line of JSON for each save.

`python -m benchmarks.restoring PEER WORKLOAD SCALE FOLDER warm|cold NUMBER...`: from files that are all in the page
cache, or none of them.
"""

from __future__ import annotations

import json
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
    else:
        forget(Path(folder))
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


def forget(folder: Path) -> None:
    """Have none of them there; raises an error where that cannot be had."""
    for file in files(folder):
        os.fsync(file)  # what is not on the disk yet would stay
        for _ in range(2):  # to ask reads ahead
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            if is_cached(file):
                raise RuntimeError("the page cache does not let go of a file")
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def is_cached(file: int) -> bool:
    """Whether the beginning of a file can be read without a look at the disk."""
    try:
        return bool(os.preadv(file, [bytearray(1)], 0, os.RWF_NOWAIT))
    except BlockingIOError:
        return False


if __name__ == "__main__":
    main()
