"""One process: restores what a session saved, and says what it is. It prints a line of JSON for each save.

From files in the page cache, and the last save once more from the disk.

`python -m benchmarks.restoring PEER WORKLOAD SCALE FOLDER NUMBER...`
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
    peer_name, workload_name, scale, folder, *numbers = sys.argv[1:]
    workload = workload_of(workload_name)
    kind = find(peer_name)
    for module in (*workload.needs, *kind.imports):
        import_module(module)
    workload.make(_TINY)  # what a library imports when it is first used is not what a restore costs
    peer = kind(workload, float(scale), Path(folder))
    warm(Path(folder))
    for number in map(int, numbers):
        took, variables = restored(peer, workload, number)
        print(json.dumps({"number": number, "restore": took, "digest": workload.digest(variables)}), flush=True)
        del variables
    if forget(Path(folder)):
        took, variables = restored(peer, workload, number)
        print(json.dumps({"number": number, "cold": took, "digest": workload.digest(variables)}), flush=True)


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
    """Have none of them there; False where that cannot be asked for."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for file in files(folder):
        os.fsync(file)  # what is not on the disk yet would stay
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    return True


if __name__ == "__main__":
    main()
