"""What a tracked loop and loading the extension cost, beside tqdm and doing nothing: `python benchmarks/loops.py`."""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

from tqdm import tqdm

from nbckpt.run.cursors import open_cursor
from nbckpt.run.loops import Loop, turns
from nbckpt.run.schedule import Schedule
from nbckpt.settings import Every

ITERATIONS = 1_000_000
ROUNDS = 9


class Keeper:
    """A run whose boundaries do nothing, with the clock of a real one."""

    def __init__(self) -> None:
        self.schedule = Schedule(Every(seconds=600.0))
        self.schedule.start()
        self.boundaries = 0

    def top(self, loop: Loop) -> None:
        self.boundaries += 1
        self.schedule.wants_snapshot(turn=True)

    def left(self, loop: Loop) -> None:
        pass


def tracked(items: Iterable[int], *, nested: bool = False) -> Iterable[int]:
    return turns(Keeper(), Loop("0", open_cursor(items), nested=nested))


LOOPS: dict[str, Callable[[], Iterable[int]]] = {
    "plain for over a range": lambda: range(ITERATIONS),
    "tracked, tight loop over a range": lambda: tracked(range(ITERATIONS)),
    "tracked, tight loop over an iterator": lambda: tracked(enumerate(range(ITERATIONS))),  # type: ignore[arg-type]
    "tracked, loop around others": lambda: tracked(range(ITERATIONS), nested=True),
    "tqdm": lambda: tqdm(range(ITERATIONS), file=io.StringIO()),
    "plain for over an iterator": lambda: enumerate(range(ITERATIONS)),  # type: ignore[return-value]
}


def loop_costs() -> dict[str, float]:
    """Nanoseconds an iteration: the median over interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in LOOPS}
    for _ in range(ROUNDS):
        for name, make in LOOPS.items():
            items = make()
            began = time.perf_counter()
            count = 0
            for _item in items:
                count += 1
            times[name].append((time.perf_counter() - began) / ITERATIONS * 1e9)
            assert count == ITERATIONS
    return {name: statistics.median(measured) for name, measured in times.items()}


LOAD = """
import json, pathlib, sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
sys.path.insert(0, sys.argv[1])
began = time.perf_counter()
shell.run_line_magic("load_ext", sys.argv[2])
print(json.dumps((time.perf_counter() - began) * 1000))
"""


def load_costs(folder: str) -> dict[str, float]:
    """Milliseconds to load an extension in a shell that runs: the median over interleaved rounds."""
    times: dict[str, list[float]] = {"nbckpt_empty": [], "nbckpt": []}
    for _ in range(ROUNDS):
        for name, measured in times.items():
            run = subprocess.run([sys.executable, "-c", LOAD, folder, name], check=True, capture_output=True, text=True)
            measured.append(json.loads(run.stdout.splitlines()[-1]))
    return {name: statistics.median(measured) for name, measured in times.items()}


def main() -> None:
    import tempfile
    from pathlib import Path

    costs = loop_costs()
    plain, iterator = costs["plain for over a range"], costs["plain for over an iterator"]
    print(f"{'loop':40}{'ns an iteration':>18}{'over the plain loop':>22}")
    for name, cost in costs.items():
        base = iterator if "iterator" in name else plain
        print(f"{name:40}{cost:18.1f}{cost - base:22.1f}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "nbckpt_empty.py").write_text("def load_ipython_extension(shell): pass\n")
        loads = load_costs(folder)
    print(f"\n%load_ext of an empty extension {loads['nbckpt_empty']:.1f} ms, of nbckpt {loads['nbckpt']:.1f} ms")


if __name__ == "__main__":
    main()
