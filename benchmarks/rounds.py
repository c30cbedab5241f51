"""Runs the sessions of all peers in turn, several rounds, and gathers what they report.

Each session is a process of its own that ends by SIGKILL, and what it saved is restored in another one and compared.
The peers take turns, so that what else the machine does meets all of them.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import machine
from .peers import PEERS, find, missing
from .workloads import Workload

ROOT = Path(__file__).parents[1]
FLOORS = "floors"
MEASURES = ("stall", "effective", "slower", "durable", "written", "memory", "restore", "cold")


@dataclass
class Row:
    """What a peer was measured at, for one state: a list of values for each of `MEASURES`, and what went wrong."""

    values: dict[str, list[float]] = field(default_factory=dict)
    problem: str = ""

    def add(self, what: str, value: float) -> None:
        self.values.setdefault(what, []).append(value)

    def median(self, what: str) -> float | None:
        """The middle of what was measured; nothing if what it restored was wrong."""
        values = self.values.get(what)
        return None if not values or self.problem else statistics.median(values)


@dataclass(frozen=True)
class Plan:
    """How much to measure."""

    scale: float = 1.0
    rounds: int = 3
    saves: int = 3
    """Saves of a session, the first of which is not counted: it saves everything."""
    limit: float = 180.0
    """Seconds after which a process is given up."""


def environment(folder: Path, session: str) -> dict[str, str]:
    """Where nothing of the user's is read or written."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NBCKPT_")}
    own = {name: str(folder / name.lower()) for name in ("NBCKPT_DATA_DIR", "IPYTHONDIR", "KISHU_PATH_ROOT")}
    for path in own.values():
        Path(path).mkdir(parents=True, exist_ok=True)
    # threads of a library that wait for work do not take the processors from what is measured
    calm = {"OMP_WAIT_POLICY": "PASSIVE", "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}
    return {**kept, **own, **calm, machine.MARK: session}


def run(module: str, *given: object, folder: Path, limit: float) -> tuple[int, str, str]:
    """Run a module of the benchmark in a process; return its code, what it printed and its last words."""
    session = secrets.token_hex(8)
    with subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *map(str, given)],
        cwd=ROOT,
        env=environment(folder, session),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return 1, "", f"took longer than {limit:.0f} s"
    end = time.monotonic() + 10
    while machine.companions(session) and time.monotonic() < end:
        time.sleep(0.05)  # a writer that finishes would disturb the next
    said = [line for line in (err.strip() or out).splitlines() if line.strip()]
    return process.returncode, out, said[-1] if said else ""


def record(what: str, module: str, *given: object, folder: Path, limit: float) -> Any:
    """What a module of the benchmark prints, run in a process of its own; ends the benchmark where that fails."""
    code, out, words = run(module, *given, folder=folder, limit=limit)
    if code:
        sys.exit(f"{what} failed: {words}")
    return json.loads(next(filter(is_record, out.splitlines())))


def take_turn(name: str, workload: Workload, plan: Plan, place: Path, row: Row) -> None:
    """One session of a peer, and the restore of each of its saves."""
    folder, report = place / "saved", place / "report.json"
    folder.mkdir(parents=True)
    code, _, words = run(
        "session", name, workload.name, plan.scale, folder, plan.saves, report, folder=place, limit=plan.limit
    )
    if code != -signal.SIGKILL or not report.exists():
        row.problem = words or f"ended with {code}"
        return
    saves = json.loads(report.read_text())
    for save in saves[1:]:
        for what in ("stall", "effective", "slower", "durable", "written", "memory", "background"):
            row.add(what, save[what])
    row.add("first", saves[0]["stall"])
    digests = {save["number"]: save["digest"] for save in saves}
    for what, cache, numbers in (("restore", "warm", [*digests]), ("cold", "cold", [*digests][-1:])):
        code, out, words = run(
            "restoring", name, workload.name, plan.scale, folder, cache, *numbers, folder=place, limit=plan.limit
        )
        restored = {one["number"]: one for one in map(json.loads, filter(is_record, out.splitlines()))}
        if not code and not restored and cache == "cold":
            continue  # this machine's cache is no fault of the peer's
        if code or [*restored] != numbers:
            row.problem = f"cannot be restored: {words}"
        elif any(one["digest"] != digests[number] for number, one in restored.items()):
            row.problem = "restores something else than was saved"
        for one in restored.values():
            row.add(what, one["restore"])


def is_record(line: str) -> bool:
    """Whether a line is one of those that a process of the benchmark prints, and not a library's."""
    return line.startswith("{")


def measure(
    workload: Workload, peers: Iterable[str], plan: Plan, scratch: Path, say: Callable[[str], None]
) -> dict[str, Row]:
    """All peers on one state, and the floors; a peer that failed is not tried again."""
    chosen = [name for name in PEERS if name in peers and find(name).suits(workload)]
    rows = {name: Row(problem=missing(name, workload)) for name in chosen}
    rows[FLOORS] = Row()
    for number in range(plan.rounds):
        turns = [FLOORS, *chosen] if number % 2 == 0 else [*reversed(chosen), FLOORS]
        for name in turns:
            if rows[name].problem:
                continue
            say(f"{workload.name}, round {number + 1} of {plan.rounds}: {name}")
            place = scratch / f"{workload.name}-{number}-{name.replace(' ', '-')}"
            place.mkdir(parents=True)
            try:
                if name == FLOORS:
                    take_floors(workload, plan, place, rows[name])
                else:
                    take_turn(name, workload, plan, place, rows[name])
            finally:
                shutil.rmtree(place)
    return rows


def take_floors(workload: Workload, plan: Plan, place: Path, row: Row) -> None:
    """What the machine does in this round."""
    code, out, words = run("floors", workload.name, plan.scale, place, folder=place, limit=plan.limit)
    if code:
        row.problem = words
        return
    found: dict[str, Any] = json.loads(next(filter(is_record, out.splitlines())))
    for what, value in found.items():
        row.add(what, value)
