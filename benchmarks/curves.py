"""How the cost of a save grows: with the state, its variables, its chunks, the snapshots in the store, and the loop.

`python -m benchmarks.curves snapshots|history|loop FOLDER SECONDS` measures, in one process, those that are no
sessions, and prints a line of JSON for each point.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

from . import machine, s3
from .floors import timed
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
    "history": "snapshots on an S3 server",
    "loop": "iterations of a script's ckpt.loop",
}
_CURVES: dict[str, tuple[list[int], Callable[[int], Workload]]] = {
    "variables": ([10, 100, 1_000, 10_000], many_variables),
    "chunks": ([10, 100, 1_000, 10_000, 100_000], many_chunks),
}
_SIZES = [1, 4, 16, 64, 256, 1024, 4096, 12288]
_ROOM = 0.7
"""The share of the machine's memory that a state may take."""
_ALONE = ("snapshots", "history", "loop")


def measure(seconds: float, scratch: Path, say: Callable[[str], None]) -> dict[str, Curve]:
    """Each curve as far as it gets in so many seconds."""
    found: dict[str, Curve] = {}
    plan = Plan(saves=3, limit=seconds)
    sizes = [size for size in _SIZES if size << 20 < _ROOM * machine.room()]
    found["size"] = _sessions(
        seconds, [(size, W1, replace(plan, scale=size / 1024)) for size in sizes], scratch / "size", say
    )
    for name, (points, make) in _CURVES.items():
        found[name] = _sessions(seconds, [(at, make(at), plan) for at in points], scratch / name, say)
    for name in _ALONE:
        if name == "history" and find_spec("moto") is None:
            say(f"curve: {TITLES[name]}: moto is missing")
            continue
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


def history(_: Path, seconds: float, most: int = 10_000) -> Iterator[Point]:
    """The same on a server of S3: what do the last save, a restore, and to begin to save there again cost?"""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # or it tells of each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with patch.dict(os.environ, s3.CREDENTIALS):
            yield from _history(f"http://{host}:{port}", seconds, [10**power for power in range(len(str(most)))])
    finally:
        server.stop()


def _history(endpoint: str, seconds: float, marks: list[int]) -> Iterator[Point]:
    import boto3

    from nbckpt.storage.repository import Repository
    from nbckpt.storage.snapshot import PartData

    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="bench")
    end = time.monotonic() + seconds
    repository = Repository.open(f"s3://bench/store?region=us-east-1&endpoint_url={endpoint}")
    writer = repository.writer("bench", keep=10**6)
    for number in range(1, marks[-1] + 1):
        saved = timed(lambda: writer.commit({}, [PartData("total", b"%d" % number, [], {})]))  # noqa: B023
        if number in marks:
            restored = timed(lambda: repository.load("bench"))
            found = repository.load("bench")
            assert found is not None, "nothing is there"
            assert bytes(found.parts["total"].stream) == b"%d" % number, "restores something else than was saved"
            begun = timed(lambda: repository.writer("bench", keep=10**6))
            yield {"at": number, "durable": saved, "restore": restored, "begin": begun}
        if time.monotonic() > end:
            break


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
    for point in {"snapshots": snapshots, "history": history, "loop": loop}[which](Path(place), float(given)):
        print(json.dumps(point), flush=True)
