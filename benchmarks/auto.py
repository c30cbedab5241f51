"""What all saves of a run cost under `--every auto`, which is to keep that below a hundredth of the time.

`python -m benchmarks.auto WORKLOAD SCALE FOLDER SECONDS` runs a cell for so long, in one process, and prints a line of
JSON: the share of the time that the loop stood still, the share that the writer took of the processors, and how often
it was saved. Both are counted: a loop that uses all processors has that much less of them.
"""

from __future__ import annotations

import json
import sys
import textwrap
import time
from pathlib import Path

from nbckpt.storage.machine import processors

from . import machine
from .workloads import workload_of

_CELL = """\
%%checkpointed bench --every auto --store {store}
for turn in range(10**9):
    clock.begins()
{body}
    clock.ends()
    if clock.is_over:
        break
"""
_LOOK = 0.5
"""Seconds between two looks at what other processes have used."""


class Clock:
    """Counts the time between the bodies of a loop, and what is used of the processors beside it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = self._ended = self._looked = 0.0
        self._used: dict[int, float] = {}
        self.stood = 0.0
        self.iterations = 0

    def begins(self) -> None:
        """Say that a body begins."""
        now = time.perf_counter()
        if self.iterations:
            self.stood += now - self._ended
        else:
            self._began = now
        self.iterations += 1

    def ends(self) -> None:
        """Say that a body ends."""
        if time.perf_counter() > self._looked + _LOOK:
            for number in machine.companions():
                self._used[number] = machine.used_by(number)
            self._looked = time.perf_counter()
        self._ended = time.perf_counter()

    @property
    def is_over(self) -> bool:
        return self._ended > self._began + self._seconds

    def report(self) -> dict[str, float]:
        elapsed = self._ended - self._began
        taken = sum(self._used.values()) / processors()
        return {"stood": self.stood / elapsed, "taken": taken / elapsed, "seconds": elapsed}


def main() -> None:
    from IPython.core.interactiveshell import InteractiveShell

    name, scale, folder, seconds = sys.argv[1:]
    workload = workload_of(name)
    clock = Clock(float(seconds))
    shell = InteractiveShell.instance()
    shell.user_ns.update(workload.make(float(scale)), clock=clock)
    shell.run_line_magic("load_ext", "nbckpt")
    store = Path(folder) / "auto"
    cell = _CELL.format(store=store, body=textwrap.indent(workload.body, "    "))
    shell.run_cell(cell).raise_error()
    saves = len(list((store / "bench" / "log").iterdir())) - 1  # the last is that of the end
    print(json.dumps({**clock.report(), "saves": saves}))


if __name__ == "__main__":
    main()
