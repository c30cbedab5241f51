"""One process: a loop with a peer that saves its state some times, and is killed. It leaves a report.

`python -m benchmarks.session PEER WORKLOAD SCALE FOLDER SAVES REPORT`
"""

from __future__ import annotations

import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

from . import watch
from .peers import find
from .workloads import workload_of


def main() -> None:
    peer_name, workload_name, scale, folder, saves, report = sys.argv[1:]
    workload = workload_of(workload_name)
    kind = find(peer_name)
    for module in kind.imports:
        import_module(module)
    peer = kind(workload, float(scale), Path(folder))
    variables = workload.make(float(scale))

    def done() -> None:
        Path(report).write_text(json.dumps(seen.report()))
        os.kill(os.getpid(), signal.SIGKILL)  # what was saved has to outlive it

    seen = watch.Watch(lambda: workload.digest(peer.live()), peer.wait, Path(folder), done)
    seen.wanted = int(saves)
    watch.use(seen)
    peer.run(variables)


if __name__ == "__main__":
    main()
