"""One process: how fast this machine does what no save can do without. It prints a line of JSON, in seconds and bytes.

`python -m benchmarks.floors WORKLOAD SCALE FOLDER`
"""

from __future__ import annotations

import json
import os
import pickle
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from .watch import CYCLE
from .workloads import Workload, workload_of

_BLOCK = 1 << 20
_READERS = 2
_TRIES = 3


def flat(buffer: Any) -> Any:
    """The bytes of a buffer, as an array."""
    array = buffer if isinstance(buffer, np.ndarray) else np.frombuffer(buffer, np.uint8)
    return array.reshape(-1).view(np.uint8) if array.flags.c_contiguous else array.T.reshape(-1).view(np.uint8)


def read_through(buffers: Sequence[Any]) -> None:
    """Read every byte once, at the speed of memory."""
    for buffer in buffers:
        xxhash.xxh3_64_intdigest(flat(buffer))


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def copy(pieces: Sequence[Any], into: Any) -> None:
    """Copy pieces one behind the other."""
    at = 0
    for piece in pieces:
        into[at : at + piece.nbytes] = piece
        at += piece.nbytes


def write(pieces: Sequence[Any], path: Path) -> tuple[float, float]:
    """Write them to a new file; return when they were written, and when they were on the disk."""
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for piece in pieces:
            for at in range(0, piece.nbytes, _BLOCK):
                file.write(piece[at : at + _BLOCK])
        written = time.perf_counter() - began
        os.fsync(file.fileno())
    return written, time.perf_counter() - began


def read(path: Path, into: Any) -> None:
    """Read a file with two threads."""
    share = -(-into.nbytes // _READERS)

    def some(at: int) -> None:
        with path.open("rb", buffering=0) as file:
            file.seek(at)
            rest = memoryview(into)[at : at + share]
            while rest:
                rest = rest[file.readinto(rest) :]

    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(some, range(0, into.nbytes, share)))


def measure(workload: Workload, scale: float, folder: Path) -> dict[str, float]:
    """The floors of one state, each the median of some tries, after as many iterations as lie between two saves."""
    variables = workload.make(scale)
    code = compile(workload.body, workload.name, "exec")
    for turn in range(CYCLE):
        variables["turn"] = turn
        exec(code, variables)  # noqa: S102
    whole = [flat(one) for one in workload.whole(variables)]
    changed = [flat(one) for one in workload.changed(variables)]
    total, new = (sum(one.nbytes for one in pieces) for pieces in (whole, changed))
    staging: Any = np.ones(new, np.uint8)
    write(whole, folder / "whole")
    kept = {name: one for name, one in variables.items() if name not in ("__builtins__", "turn")}
    tries: dict[str, list[float]] = {}
    for number in range(_TRIES):
        found = {"scan": timed(lambda: read_through(whole)), "memcpy": timed(lambda: copy(changed, staging))}
        found["write"], found["fsync"] = write(changed, folder / f"changed-{number}")
        found["read fresh"], found["read warm"] = reading(folder / "whole", total)
        if not workload.is_buffers:
            found["pickle"], found["unpickle"] = pickling(kept)
        for what, value in found.items():
            tries.setdefault(what, []).append(value)
    return {"bytes": total, "changed": new, **{what: statistics.median(values) for what, values in tries.items()}}


def reading(path: Path, size: int) -> tuple[float, float]:
    """Read a file into memory that no page of is there yet, and into the same again."""
    memory: Any = np.empty(size, np.uint8)
    return timed(lambda: read(path, memory)), timed(lambda: read(path, memory))


def pickling(kept: dict[str, Any]) -> tuple[float, float]:
    """Pickle objects, their buffers apart, and unpickle them."""
    buffers: list[Any] = []
    streams: list[bytes] = []
    there = timed(lambda: streams.append(pickle.dumps(kept, 5, buffer_callback=buffers.append)))
    return there, timed(lambda: pickle.loads(streams[0], buffers=buffers))


def main() -> None:
    workload, scale, folder = sys.argv[1:]
    print(json.dumps(measure(workload_of(workload), float(scale), Path(folder))))


if __name__ == "__main__":
    main()
