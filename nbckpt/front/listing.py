"""What a store holds, for people: the list of checkpoints, one of them in detail, and whether all is intact.

A description is what some version of nbckpt wrote down, so anything in it may be missing or odd.
"""

from __future__ import annotations

import os
import shlex
import socket
import time
from typing import TYPE_CHECKING, Any

from ..errors import DamagedSnapshot, OptionError, UnknownCheckpoint, UnsupportedFormat, UntrustedSnapshot
from ..run.pace import SHORTEST
from ..settings import duration
from .display import View, age, brief, clock, code, rhythm, says, size, table, titled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..storage.repository import Repository, SnapshotInfo

USAGE = "%checkpoints [list | show NAME | verify [NAME] | remove NAME ...] [--store URL]"


def summaries(repository: Repository) -> list[dict[str, Any]]:
    """Return for each checkpoint its name, state, progress, size, when it was saved, and how many snapshots.

    `state` is `running`, `unfinished`, `finished`, `empty`, `damaged`, `foreign` (signed by a key that is not
    here) or `newer` (written by a newer nbckpt); `problems` says what is wrong, a sentence each.
    """
    return [_summary(repository, name) for name in repository.names()]


def description(repository: Repository, name: str) -> dict[str, Any]:
    """Return all there is to know about one checkpoint, as JSON can hold it.

    Raises:
        UnknownCheckpoint: there is none of that name.
    """
    if name not in repository.names():
        there = ", ".join(repository.names()) or "none"
        raise UnknownCheckpoint(f"there is no checkpoint {name!r} in {repository.url}; there is {there}")
    history, _ = _read(repository, name)
    newest = _newest(history)
    told = newest.description if newest else {}
    parts = [_mapping(info) for info in newest.parts.values()] if newest else []
    writer = newest.writer if newest else {}
    return {
        **_summary(repository, name),
        "store": repository.url,
        "history": [_snapshot(info) for info in history],
        "variables": [
            {"name": _text(row.get("name")), "type": _text(row.get("type"))}
            for row in sorted(
                (_mapping(row) for part in parts for row in _list(part.get("variables"))),
                key=lambda row: _text(row.get("name")),
            )
        ],
        "left_out": [{"name": _text(left), "why": _text(why)} for left, why in _mapping(told.get("left_out")).items()],
        "worked": _number(told.get("worked")),
        "every": _text(told.get("every")),
        "notice": _text(told.get("notice")),
        "pace": {key: value for key, value in _mapping(told.get("pace")).items() if _number(value) is not None},
        "capture": _mapping((repository.status(name) or {}).get("capture")),
        "kind": _text(told.get("kind")),
        "notebook": _text(told.get("notebook")),
        "python": _text(told.get("python")),
        "packages": {_text(package): _text(version) for package, version in _mapping(told.get("packages")).items()},
        "metrics": _mapping(told.get("metrics")),
        "host": _text(writer.get("host")),
        "pid": _text(writer.get("pid")),
        "source": _text(told.get("source")),
    }


def overview(repository: Repository) -> View:
    """Return the table of all checkpoints, or a sentence where there is none."""
    rows = summaries(repository)
    if not rows:
        there = "holds no checkpoint" if repository.store_id else "does not exist yet; the first saved cell makes it"
        return says(f"The store {repository.url} {there}.")
    now = time.time()
    columns = ["name", "state", "progress", "saved", "size"]
    listed = [[row["name"], row["state"], row["progress"], _when(row["saved_at"], now), _size(row)] for row in rows]
    parts = {"": table(columns, listed)}
    if problems := [problem for row in rows for problem in row["problems"]]:
        parts["problems"] = says("\n".join(problems))
    return titled(parts)


def details(repository: Repository, name: str) -> View:
    """Return one checkpoint in full.

    Raises:
        UnknownCheckpoint: there is none of that name.
    """
    known = description(repository, name)
    now = time.time()
    head = [f"{name} in {known['store']}: {known['state']}"]
    if known["worked"] is not None:
        head.append(f"{duration(known['worked'])} of work")
    if known["host"]:
        head.append(f"saved by process {known['pid']} on {known['host']}")
    if known["notebook"]:
        head.append(f"from {known['notebook']}")
    parts = {"": says(", ".join(head))}
    if known["problems"]:
        parts["problems"] = says("\n".join(known["problems"]))
    if known["notice"]:
        parts["notice before the newest snapshot"] = says(known["notice"])
    if rhythm := _rhythm(known["every"], known["pace"]):
        parts["when"] = says(rhythm)
    if how := _how(known["capture"]):
        parts["how"] = says(how)
    if known["history"]:
        rows = [
            [str(one["seq"]), one["progress"], _when(one["saved_at"], now), _size(one), _metrics(one)]
            for one in known["history"]
        ]
        columns = ["number", "progress", "saved", "size", "metrics"]
        width = len(columns) - (not any(row[-1] for row in rows))
        parts["snapshots"] = table(columns[:width], [row[:width] for row in rows])
    if known["variables"]:
        parts["variables"] = table(["name", "type"], [[row["name"], row["type"]] for row in known["variables"]])
    if known["left_out"]:
        parts["left out"] = table(["name", "why"], [[row["name"], row["why"]] for row in known["left_out"]])
    if known["metrics"]:
        parts["metrics"] = table(["name", "value"], [[str(key), str(value)] for key, value in known["metrics"].items()])
    if known["python"]:
        versions = [
            ["Python", known["python"]],
            *([one, version] for one, version in known["packages"].items()),
        ]
        parts["versions"] = table(["package", "version"], versions)
    if known["source"]:
        parts["code"] = code(known["source"])
    return titled(parts)


def verified(repository: Repository, names: Sequence[str]) -> tuple[View, bool]:
    """Read every byte of these checkpoints, or of all; return what was found, and whether all is well.

    Raises:
        UnknownCheckpoint: there is none of that name.
    """
    known = repository.names()
    if unknown := [name for name in names if name not in known]:
        raise UnknownCheckpoint(f"there is no checkpoint {unknown[0]!r} in {repository.url}")
    found, intact = [], True
    for name in names or known:
        problems = repository.verify(name)
        history = repository.history(name)
        count = len(history)
        intact = intact and not problems
        if problems:
            whole = [str(info.seq) for info in history if not any(f"Snapshot {info.seq} of" in one for one in problems)]
            problems.append(f"{name}: {' and '.join(whole) or 'nothing'} can be restored")
        found += problems or [f"{name}: {_several(count)}" + (", every byte as it was saved" if count else "")]
    return says("\n".join(found) or f"The store {repository.url} holds no checkpoint."), intact


def removed(repository: Repository, names: Sequence[str]) -> View:
    """Delete checkpoints for good.

    Raises:
        UnknownCheckpoint: there is none of that name; nothing was removed then.
    """
    known = repository.names()
    if unknown := [name for name in names if name not in known]:
        raise UnknownCheckpoint(f"there is no checkpoint {unknown[0]!r} in {repository.url}, and nothing was removed")
    for name in names:
        repository.remove(name)
    return says(f"removed {', '.join(names)} from {repository.url}")


def checkpoints(line: str, store: str) -> View:
    """Do what `%checkpoints` is asked for; `store` is where, unless the line says otherwise.

    Raises:
        OptionError: the line makes no sense.
        UnknownCheckpoint: there is no checkpoint of the name.
    """
    from ..storage.repository import Repository

    words, store = _split(line, store)
    verb, *names = words or ["list"]
    repository = Repository.open(store, create=False)
    match verb, names:
        case "list", []:
            return overview(repository)
        case "show", [name]:
            return details(repository, name)
        case "verify", ([] | [_]):
            return verified(repository, names)[0]
        case "remove", [_, *_]:
            return removed(repository, names)
    raise OptionError(f"%checkpoints {line.strip()} makes no sense: write {USAGE}")


def _split(line: str, store: str) -> tuple[list[str], str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise OptionError(f"%checkpoints {line.strip()} has an open quote: write {USAGE}") from error
    rest = []
    while words:
        word = words.pop(0)
        if word == "--store" and words:
            store = words.pop(0)
        elif word.startswith("--store="):
            store = word.removeprefix("--store=")
        elif word.startswith("-"):
            raise OptionError(f"%checkpoints does not know {word}, or it lacks a value: write {USAGE}")
        else:
            rest.append(word)
    return rest, store


# -- reading what may be odd ---------------------------------------------------------------------------------


def _summary(repository: Repository, name: str) -> dict[str, Any]:
    history, trouble = _read(repository, name)
    newest = _newest(history)
    problems = [info.damage for info in history if info.damage]
    state = trouble or ("damaged" if problems else _state(repository, name, newest))
    if (unsaved := _unsaved(repository.status(name) or {}, state)) and state in ("running", "unfinished", "empty"):
        problems.append(f"{name}: {unsaved}")
    return {
        "name": name,
        "state": state,
        "progress": _text(newest.description.get("progress")) if newest else "",
        "saved_at": newest.time if newest else None,
        "size": newest.size if newest else None,
        "snapshots": len(history),
        "problems": problems,
    }


def _unsaved(told: Mapping[str, Any], state: str) -> str:
    """What the newest run said of itself if it could not be saved: why, and since when."""
    why, since = _text(told.get("unprotected")), _number(told.get("since"))
    if not why or since is None:
        return ""
    if state == "running":
        return f"NOT PROTECTED since {clock(since)}: {why}"
    return f"what the last run did after {clock(since)} is NOT SAVED: {why}"


def _read(repository: Repository, name: str) -> tuple[list[SnapshotInfo], str]:
    """Return the snapshots, newest first, and the state that follows from not being able to read them."""
    from ..storage.repository import SnapshotInfo

    try:
        history = repository.history(name)
        repository.peek(name)
    except UntrustedSnapshot:
        return history, "foreign"
    except UnsupportedFormat as error:
        return [SnapshotInfo(0, damage=str(error))], "newer"
    except DamagedSnapshot:
        return history, "damaged"
    return history, ""


def _newest(history: Sequence[SnapshotInfo]) -> SnapshotInfo | None:
    return next((info for info in history if not info.damage), None)


def _state(repository: Repository, name: str, newest: SnapshotInfo | None) -> str:
    if newest is not None and newest.final:
        return "finished"
    if _is_running(repository.status(name) or {}, newest.writer if newest else {}):
        return "running"
    return "unfinished" if newest else "empty"


def _is_running(told: Mapping[str, Any], writer: Mapping[str, Any]) -> bool:
    """Whether the newest run still computes, as far as can be known: not if it is on another machine.

    `told` is what that run last said of itself; where it lacks its process, the one that saved last stands for it.
    """
    if told.get("state", "running") != "running":
        return False
    who = told if "pid" in told else writer
    pid = who.get("pid")
    if who.get("host") != socket.gethostname() or type(pid) is not int or pid <= 0 or pid == os.getpid():
        return False  # this very process is busy with the question, not with the cell
    if os.name == "nt":
        return False  # there signal 0 is not a question
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _snapshot(info: SnapshotInfo) -> dict[str, Any]:
    known = not info.damage
    return {
        "seq": info.seq,
        "progress": _text(info.description.get("progress")) if known else "cannot be read",
        "saved_at": info.time if known else None,
        "size": info.size if known else None,
        "metrics": _mapping(info.description.get("metrics")),
        "problem": info.damage,
    }


def _rhythm(every: str, pace: Mapping[str, float]) -> str:
    """How often it was saved; where that was for nbckpt to choose, also why."""
    if not every:
        return ""
    if not every.startswith("auto"):
        return f"saved {rhythm(every)}"
    if not pace.get("stall") or not pace.get("share"):
        return "saved automatically: nothing was known yet of what a snapshot costs"
    stall, taken, wait, share = (pace.get(key, 0.0) for key in ("stall", "taken", "wait", "share"))
    beside = f", and writing it takes {brief(taken)} beside it" if taken else ""
    more_often = (stall + taken) / share < wait
    why = "more often than once a second would gain little" if more_often else f"that is {100 * share:g} % of the time"
    step = pace.get("step", 0.0)
    long = (
        f"; an iteration takes {brief(step)}, so that it is saved before the time if what is at risk is worth it"
        if step > SHORTEST
        else ""
    )
    return (
        f"saved automatically, every {brief(wait)}: the loop stands still for {brief(stall)}{beside}, and {why}{long}"
    )


def _how(capture: Mapping[str, Any]) -> str:
    """How the newest snapshot was taken, as far as its run has said."""
    copied, whole, stall, took = (_number(capture.get(key)) for key in ("copied", "of", "stall", "took"))
    if stall is not None and took is not None and capture.get("way") == "fork":
        return f"by a forked copy of the process, which took {brief(took)}: the loop stood still for {brief(stall)}"
    if copied is None or whole is None or stall is None:
        return ""
    fork = f"; not by a fork, as {why}" if (why := _text(capture.get("no fork"))) else ""
    if capture.get("way") == "sync":
        return f"written while the loop stood still, for {brief(stall)}{fork}"
    found = {"pages": ", found by the pages that were written", "hash": ", found by hashes"}.get(
        _text(capture.get("found")), ""
    )
    return f"copied {size(copied)} of {size(whole)}{found}: the loop stood still for {brief(stall)}{fork}"


def _when(moment: float | None, now: float) -> str:
    return "" if moment is None else age(max(0.0, now - moment))


def _size(row: Mapping[str, Any]) -> str:
    return "" if row["size"] is None else size(row["size"])


def _metrics(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_text(value)}" for name, value in row["metrics"].items())


def _several(count: int) -> str:
    return f"{count or 'no'} snapshot{'s' * (count != 1)}"


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and 0 <= value < float("inf") else None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
