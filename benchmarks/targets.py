"""What nbckpt should reach, and what it has reached: ratios to the floors and to the best peer of the same run.

What else was measured besides states has its own function; `reached` makes the list for a whole record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .peers import FORKED, OURS, find
from .rounds import FLOORS, Row

MIB = 1 << 20


@dataclass(frozen=True)
class Goal:
    """One line of the list: `reached` is to stay under `wanted`."""

    what: str
    beside: str
    reached: float
    wanted: float

    @property
    def is_met(self) -> bool:
        return self.reached <= self.wanted


def reached(results: Mapping[str, Any]) -> list[Goal]:
    """All for which a record has numbers."""
    found: list[Goal] = []
    for name, rows in results["workloads"].items():
        ours, forked = rows.get(OURS, Row()), rows.get(FORKED, Row())
        found += goals(name, rows) + limits(name, ours, forked, results["about"])
    loops, startup, s3 = (results.get(what) or {} for what in ("loops", "startup", "s3"))
    auto = results.get("auto")
    return [*found, *(auto_goals(auto) if auto else ()), *s3_goals(s3), *other_goals(loops, startup)]


def stall_floor(name: str, floors: Row) -> tuple[str, float] | None:
    """What a save cannot stand still for less than."""
    scan, memcpy, pickle = (floors.median(what) for what in ("scan", "memcpy", "pickle"))
    if scan is None or memcpy is None:
        return None
    if name in ("W1", "W2f"):
        return "reading all and copying what changed", scan + memcpy
    if name == "W2":
        return "copying all", memcpy
    return None if pickle is None else ("pickling all", pickle)


def best(rows: Mapping[str, Row], what: str, among: Iterable[str] | None = None) -> tuple[str, float] | None:
    """The peer with the lowest value, and that."""
    found = []
    for name, row in rows.items():
        value = row.median(what)
        if name not in (OURS, FORKED, FLOORS) and value is not None and (among is None or name in among):
            found.append((value, name))
    return (min(found)[1], min(found)[0]) if found else None


def goals(name: str, rows: Mapping[str, Row]) -> list[Goal]:
    """Those of one state for which there are numbers."""
    ours, floors = rows.get(OURS, Row()), rows.get(FLOORS, Row())
    found: list[Goal] = []

    def add(what: str, beside: str, value: float | None, floor: float | None, wanted: float | None) -> None:
        if value is not None and floor and wanted is not None:
            found.append(Goal(f"{what}, {name}", beside, value / floor, wanted))

    def add_peer(what: str, measure: str, wanted: float | None, among: Iterable[str] | None = None) -> None:
        if (peer := best(rows, measure, among)) is not None:
            add(what, f"{peer[0]}", ours.median(measure), peer[1], wanted)

    stall = ours.median("stall")
    if (floor := stall_floor(name, floors)) is not None:
        add("stall", floor[0], stall, floor[1], {"W1": 1.3, "W2f": 1.3, "W2": 1.2, "W3": 0.1, "W4": 0.1}.get(name))
    if name in ("W3", "W4") and floor is not None:
        add("stall of the first save", floor[0], ours.median("first"), floor[1], 1.1)
    if name in ("W1", "W2f"):
        add_peer("stall", "stall", 0.5)
    if name == "W2":
        add_peer("stall", "stall", 1.0, ("DCP async", "Orbax async"))
    if name in ("W1", "W2", "W2f", "W3"):
        add_peer("effective stall", "effective", 0.5)
    add("durable", "writing what changed, with fsync", ours.median("durable"), floors.median("fsync"), 1.5)
    add_peer("durable", "durable", 1.0)
    changed = floors.median("changed")
    if changed is not None and name != "W5":
        allowed = {"W1": 1.1 + MIB / changed, "W3": 1.1 + MIB / changed, "W4": 3.0, "W2": 1.1, "W2f": 1.1}[name]
        add("bytes written", "what changed", ours.median("written"), changed, allowed)
    fresh, scan = floors.median("read fresh"), floors.median("scan")
    if fresh is not None and scan is not None and name in ("W1", "W2", "W2f"):
        add("restore", "reading all into fresh memory", ours.median("restore"), fresh + scan, 1.5)
    add_peer("restore", "restore", {"W1": 1.0, "W2": 1.0, "W4": 0.5}.get(name), ("pickle",))
    add_peer("restore", "restore", 1.0, [peer for peer in rows if peer not in (OURS, FLOORS) and find(peer).verifies])
    return found


def limits(name: str, ours: Row, forked: Row, about: Mapping[str, Any]) -> list[Goal]:
    """Those of one state that are no ratios to what was measured beside it."""
    found = []
    stall, memory = ours.median("stall"), ours.median("memory")
    if name in ("W1", "W2f") and about.get("pages") and stall is not None:
        found.append(Goal(f"ms of stall, {name}", "where the kernel tells written pages", stall * 1000, 20.0))
    if name in ("W3", "W4") and (stall := forked.median("stall")) is not None:
        found.append(Goal(f"ms of stall, {name}", "with --capture fork", stall * 1000, 40.0))
    if memory is not None and about.get("staging"):
        found.append(Goal(f"memory, {name}", "what may wait to be written", memory / about["staging"], 1.0))
    return found


def auto_goals(shares: Mapping[str, float]) -> list[Goal]:
    """What all saves of a run may cost, in hundredths of its time."""
    total = 100 * (shares["stood"] + shares["taken"])
    beside = f"a run of {shares['seconds']:.0f} s, {shares['saves']:.0f} saves"
    return [Goal("% of the time in all, W1 with --every auto", beside, total, 1.0)]


def s3_goals(times: Mapping[str, Mapping[str, float]]) -> list[Goal]:
    """How long a state takes to a server of S3 and back, by the fastest that boto3 does: nine tenths of its speed."""
    found = []
    for what in ("upload", "download") if times else ():
        peer = min((name for name in times if name != OURS), key=lambda name: times[name][what])
        found.append(Goal(f"S3 {what}", peer, times[OURS][what] / times[peer][what], 1 / 0.9))
    return found


def other_goals(loops: Mapping[str, float], startup: Mapping[str, float]) -> list[Goal]:
    """Those of the tracked loop, in nanoseconds, and of loading the extension, in milliseconds."""
    found = []
    if loops:
        plain, iterator = loops["plain for over a range"], loops["plain for over an iterator"]
        for name, base, wanted in (
            ("tracked, tight loop over a range", plain, 10.0),
            ("tracked, tight loop over an iterator", iterator, 10.0),
            ("tracked, loop around others", plain, 60.0),
        ):
            found.append(Goal(f"ns an iteration, {name}", "plain for", loops[name] - base, wanted))
    if startup:
        over = startup["%load_ext nbckpt"] - startup["%load_ext of an empty extension"]
        found.append(Goal("ms, %load_ext", "an empty extension", over, 20.0))
    return found
