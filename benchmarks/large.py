"""A state that takes much of the machine's memory: whether it is saved and restored, and what that takes beside it.

`python -m benchmarks.large GIB [STAGING]` saves arrays of so many GiB twice, of which a twelfth changes in between, in
a process that then dies of SIGKILL, restores them in another one, and prints how much memory the processes had at most,
in units of the state. STAGING is a number of bytes, for `NBCKPT_STAGING`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import machine, rounds
from .workloads import digest

GIB = 1 << 30
_ARRAYS = 12


def measure(size: int, scratch: Path, staging: str = "") -> dict[str, float]:
    """Save and restore a state of so many bytes; return the peaks, in bytes, and the seconds that it took.

    `saving beside it` is what there was beside the state, `restoring` the state and all.

    Raises:
        RuntimeError: it was not saved, or not restored as it was.
    """
    found: dict[str, float] = {"size": size}
    for what in ("save", "restore"):
        code, out, words = rounds.run("large", what, size, scratch, staging, folder=scratch, limit=3600)
        lines = [json.loads(line) for line in filter(rounds.is_record, out.splitlines())]
        if code != (-signal.SIGKILL if what == "save" else 0) or not lines:
            msg = f"{what}: {words or code}"
            raise RuntimeError(msg)
        found |= lines[-1]
    if found.pop("saved digest") != found.pop("restored digest"):
        msg = "it restores something else than was saved"
        raise RuntimeError(msg)
    return found


def save(size: int, folder: Path) -> None:
    """Make the state, save it twice and die."""
    import nbckpt

    length = size // _ARRAYS // 4
    with nbckpt.checkpointed("large", store=str(folder / "store"), every="1it", keep=1, quiet=True) as ckpt:
        state: Any = ckpt.state
        state.arrays = [_noise(at, length) for at in range(_ARRAYS)]
        machine.forget_peak()
        at_rest = machine.memory()
        began = time.perf_counter()
        for turn in ckpt.loop(range(3)):
            if turn == 2:  # both are on the disk, or this boundary would not have been passed
                _await(folder / "store" / "large" / "log" / "00000002.json")
                took = time.perf_counter() - began
                peak = machine.peak(machine.companions()) - at_rest
                found = {"saving beside it": peak, "saving seconds": took, "saved digest": digest(state.arrays)}
                print(json.dumps(found), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            state.arrays[turn] += 1


def restore(folder: Path) -> None:
    """Load what was saved."""
    import nbckpt

    machine.forget_peak()
    at_rest, began = machine.memory(), time.perf_counter()
    arrays = nbckpt.load("large", store=str(folder / "store"))["arrays"]
    took = time.perf_counter() - began
    found = {"restoring": machine.peak([]) - at_rest, "restoring seconds": took, "restored digest": digest(arrays)}
    print(json.dumps(found), flush=True)


def _noise(seed: int, length: int) -> Any:
    return np.random.default_rng(seed).random(length, np.float32)


def _await(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def main() -> None:
    if sys.argv[1] == "save":
        if sys.argv[4]:
            os.environ["NBCKPT_STAGING"] = sys.argv[4]
        save(int(sys.argv[2]), Path(sys.argv[3]))
    elif sys.argv[1] == "restore":
        restore(Path(sys.argv[3]))
    else:
        with tempfile.TemporaryDirectory(prefix="nbckpt-large-") as folder:
            found = measure(int(float(sys.argv[1]) * GIB), Path(folder), *sys.argv[2:])
        size = found.pop("size")
        for what, value in found.items():
            print(f"{what}: {value:.1f} s" if "seconds" in what else f"{what}: {value / size:.2f} of the state")


if __name__ == "__main__":
    main()
