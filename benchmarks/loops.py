"""What a tracked loop costs an iteration, beside tqdm and doing nothing: `python -m benchmarks.loops`."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

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
        self.schedule.stop()


def through_tqdm(items: Iterable[Any]) -> Iterable[Any]:
    from tqdm import tqdm

    shown: Iterable[Any] = tqdm(items, file=io.StringIO())
    return shown


def tracked(items: Iterable[Any], *, nested: bool = False) -> Iterable[Any]:
    return turns(Keeper(), Loop("0", open_cursor(items), nested=nested))


LOOPS: dict[str, Callable[[], Iterable[Any]]] = {
    "plain for over a range": lambda: range(ITERATIONS),
    "tracked, tight loop over a range": lambda: tracked(range(ITERATIONS)),
    "tracked, tight loop over an iterator": lambda: tracked(enumerate(range(ITERATIONS))),
    "tracked, loop around others": lambda: tracked(range(ITERATIONS), nested=True),
    "tqdm": lambda: through_tqdm(range(ITERATIONS)),
    "plain for over an iterator": lambda: enumerate(range(ITERATIONS)),
}


def loop_costs() -> dict[str, float]:
    """Nanoseconds an iteration: the median over interleaved rounds; without tqdm where it is not installed."""
    loops = {name: make for name, make in LOOPS.items() if name != "tqdm" or find_spec("tqdm")}
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, make in loops.items():
            items = make()
            began = time.perf_counter()
            count = 0
            for _item in items:
                count += 1
            times[name].append((time.perf_counter() - began) / ITERATIONS * 1e9)
            assert count == ITERATIONS
    return {name: statistics.median(measured) for name, measured in times.items()}


def described(costs: dict[str, float]) -> list[tuple[str, float, float]]:
    """Each loop with its cost and what it costs beyond the plain loop over the same."""
    plain, iterator = costs["plain for over a range"], costs["plain for over an iterator"]
    return [(name, cost, cost - (iterator if "iterator" in name else plain)) for name, cost in costs.items()]


if __name__ == "__main__":
    for name, cost, over in described(loop_costs()):
        print(f"{name:40}{cost:10.1f} ns an iteration, {over:8.1f} over the plain loop")
