"""One process: restores what a session saved, and says what it is. It prints a line of JSON for each save.

`python -m benchmarks.restoring PEER WORKLOAD SCALE FOLDER NUMBER...`
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path

from .floors import read_through
from .peers import find
from .workloads import workload_of

_TINY = 1e-6


def main() -> None:
    peer_name, workload_name, scale, folder, *numbers = sys.argv[1:]
    workload = workload_of(workload_name)
    kind = find(peer_name)
    for module in (*workload.needs, *kind.imports):
        import_module(module)
    workload.make(_TINY)  # what a library imports when it is first used is not what a restore costs
    peer = kind(workload, float(scale), Path(folder))
    for number in map(int, numbers):
        peer.ready()
        began = time.perf_counter()
        variables = peer.restore(number)
        if workload.is_buffers:  # also of those that only map a file
            read_through(workload.whole(variables))
        took = time.perf_counter() - began
        print(json.dumps({"number": number, "restore": took, "digest": workload.digest(variables)}), flush=True)
        del variables


if __name__ == "__main__":
    main()
