"""How the cost of a save grows: with the state, its variables, its chunks, the snapshots in the store, and the loop.

`python -m benchmarks.curves snapshots|loop FOLDER SECONDS` measures, in one process, the two that are no sessions, and
prints a line of JSON for each point.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .peers import OURS
from .rounds import Plan, Row, is_record, run, take_turn
from .workloads import W1, Workload, many_chunks, many_variables

Point = dict[str, float]
Curve = list[Point]
"""`at` is where on the axis; the others are seconds, bytes, or nanoseconds."""

TITLES = {
    "size": "state, MiB",
    "variables": "variables",
    "chunks": "chunks",
    "snapshots": "snapshots in the store",
    "loop": "iterations of a script's ckpt.loop",
}
_CURVES: dict[str, tuple[list[int], Callable[[int], Workload]]] = {
    "variables": ([10, 100, 1_000, 10_000], many_variables),
    "chunks": ([10, 100, 1_000, 10_000, 100_000], many_chunks),
}
_SIZES = [1, 4, 16, 64, 256, 1024, 4096]


def measure(seconds: float, scratch: Path, say: Callable[[str], None]) -> dict[str, Curve]:
    """Each curve as far as it gets in so many seconds."""
    found: dict[str, Curve] = {}
    plan = Plan(saves=3, limit=seconds)
    found["size"] = _sessions(
        seconds, [(size, W1, replace(plan, scale=size / 1024)) for size in _SIZES], scratch / "size", say
    )
    for name, (points, make) in _CURVES.items():
        found[name] = _sessions(seconds, [(at, make(at), plan) for at in points], scratch / name, say)
    for name in ("snapshots", "loop"):
        say(f"curve: {TITLES[name]}")
        place = scratch / name
        place.mkdir(parents=True)
        code, out, words = run("curves", name, place, seconds, folder=place, limit=4 * seconds + 60)
        found[name] = [json.loads(line) for line in filter(is_record, out.splitlines())]
        if code:
            say(f"curve: {TITLES[name]} ended: {words}")
        shutil.rmtree(place)
    return found


def _sessions(
    seconds: float, points: list[tuple[int, Workload, Plan]], scratch: Path, say: Callable[[str], None]
) -> Curve:
    """A session of nbckpt at each point, until the next would take too long."""
    curve: Curve = []
    began = time.monotonic()
    took = 0.0
    for number, (at, workload, plan) in enumerate(points):
        if number > 1 and time.monotonic() - began + 3 * took > seconds:
            break
        say(f"curve: {at} {TITLES[scratch.name]}")
        row, place, started = Row(), scratch / str(number), time.monotonic()
        place.mkdir(parents=True)
        take_turn(OURS, workload, plan, place, row)
        shutil.rmtree(place)
        took = time.monotonic() - started
        if row.problem:
            say(f"curve: {at} {TITLES[scratch.name]}: {row.problem}")
            break
        measured = {what: row.median(what) for what in ("first", "stall", "durable", "written", "restore")}
        curve.append({"at": at, **{what: value for what, value in measured.items() if value is not None}})
    return curve


def snapshots(folder: Path, seconds: float, most: int = 10_000) -> Iterator[Point]:
    """Save a small state again and again, all of which is kept: what do the last save and a look cost?"""
    import nbckpt

    end = time.monotonic() + seconds
    marks = [10**power for power in range(len(str(most)))]
    store = str(folder / "store")
    with nbckpt.checkpointed("bench", store=store, every="1it", keep=10**6, quiet=True) as ckpt:
        state: Any = ckpt.state
        state.total = 0
        ended = 0.0
        for number in ckpt.loop(range(marks[-1] + 1)):
            stood = time.perf_counter() - ended
            if number in marks:
                entry = folder / "store" / "bench" / "log" / f"{number:08d}.json"
                while not entry.exists():  # on its way
                    time.sleep(0.001)
                began = time.perf_counter()
                found = nbckpt.load("bench", store=store)
                loaded = time.perf_counter() - began
                assert found["total"] == sum(range(number)), "restores something else than was saved"
                yield {"at": number, "stall": stood, "restore": loaded, "entry": entry.stat().st_size}
            if time.monotonic() > end:
                break
            state.total += number
            ended = time.perf_counter()


def loop(folder: Path, seconds: float, most: int = 10**8) -> Iterator[Point]:
    """Go through ever longer loops that do nothing, plain and tracked."""
    import nbckpt

    end = time.monotonic() + seconds
    for exponent in range(3, len(str(most))):
        length = 10**exponent
        began = time.perf_counter()
        for _ in range(length):
            pass
        plain = time.perf_counter() - began
        if time.monotonic() + 3 * plain > end:
            break
        with nbckpt.checkpointed(f"loop{exponent}", store=str(folder / "store"), every="1h", quiet=True) as ckpt:
            began = time.perf_counter()
            for _ in ckpt.loop(range(length)):
                pass
            tracked = time.perf_counter() - began
        yield {"at": length, "plain": plain / length * 1e9, "tracked": tracked / length * 1e9}
        if time.monotonic() + 15 * (plain + tracked) > end:
            break


if __name__ == "__main__":
    which, place, given = sys.argv[1:]
    for point in {"snapshots": snapshots, "loop": loop}[which](Path(place), float(given)):
        print(json.dumps(point), flush=True)
