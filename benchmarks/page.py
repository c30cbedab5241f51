"""The results as text: tables for a terminal, for docs/speed.md and for README.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nbckpt.front.display import size

from .curves import TITLES, Curve
from .loops import described
from .peers import FORKED, OURS, PEERS, find
from .reasons import reason
from .rounds import FLOORS, MEASURES, Row
from .targets import Goal, reached
from .workloads import WORKLOADS

_HEAD = """\
# Speed

This page is written by `{command}`.

{machine}. {when}.

{size}, rounds: {rounds}. The peers take turns, and each value is the median of {samples} later saves (the first of a
session, which writes everything, is not among them), with the lowest and the highest in brackets. On a machine that
does other work at the same time all times are longer, and some by chance: compare what stands in one table, and not
two pages.

{versions}.

![Stall, time until durable and restore, for each state and peer](images/speed.png)

Every measured save was made by a process that then died of SIGKILL, and was restored and compared in another one.
nbckpt saves at the boundary of a `%%checkpointed` cell; the peers are called at the end of an iteration, where their
users call them.

- **stall**: from the end of one iteration's body to the beginning of the next.
- **effective stall**: the stall, by how much longer the next body took, and the processors' time used beside the loop
  until the save was durable, as far as that is not the slowing down already.
- **slow-down**: by how much longer the next body took than one beside which nothing is written.
- **durable**: from the end of the body until every file is on the disk (fsync, by the benchmark where the peer does
  not).
- **written**: what the files grew by. **memory**: the most that was in memory beyond the state, of all processes.
- **restore**: in a new process that has imported everything, from files in the page cache, until every byte of every
  array was read. Peers that save arrays only put them into a model that the program has made anew.
- **from the disk**: the same when the page cache has nothing of the files, as after a restart of the machine. Large
  files of nbckpt's are not there from the beginning: it writes them around the page cache. Without a value where the
  cache did not let go of a file.
"""
BEGIN, END = "<!-- targets -->", "<!-- end of targets -->"
"""What `python -m benchmarks --write docs/speed.md` writes in README.md is between these."""
_README = """\
Measured by `{command}`: {machine}. {when}. {size}.
"""
_GOALS = """\
Ratios to the floor or to the peer named, unless a unit is given. They are set for states of full size.
"""
_SIZES = ("written", "memory")


def seconds(value: float) -> str:
    """A time, in a unit that fits.

    >>> seconds(0.0000312), seconds(0.0123), seconds(1.5)
    ('0.031 ms', '12.3 ms', '1.50 s')
    """
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1000:.1f} ms" if value >= 0.001 else f"{value * 1000:.3f} ms"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, aligned so that it reads in a terminal, too."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines) + "\n"


def cell(row: Row, what: str) -> str:
    """The median with the spread."""
    middle = row.median(what)
    if middle is None:
        return "-"
    show = size if what in _SIZES else seconds
    values = row.values[what]
    if what in _SIZES or len(values) == 1:
        return show(middle)
    return f"{show(middle)} ({show(min(values))} to {show(max(values))})"


def peers_table(name: str, rows: Mapping[str, Row]) -> str:
    """What each peer took for one state."""
    lines = []
    for peer in PEERS:
        if peer in rows:
            row = rows[peer]
            shown = f"**{peer}**" if peer in (OURS, FORKED) else peer
            first = "-" if row.problem or "first" not in row.values else cell(row, "first")
            lines.append([shown, *(cell(row, what) for what in MEASURES), first])
    beginning = ["stall", "effective stall", "slow-down", "durable", "written", "memory"]
    return table([name, *beginning, "restore", "from the disk", "first save"], lines) + "".join(
        f"\n{peer}: {row.problem}.\n" for peer, row in rows.items() if row.problem
    )


def floors_line(row: Row) -> str:
    """What the machine did in the same rounds."""
    sizes = "".join(
        f"{title} {size(value)}, "
        for title, what in (("all", "bytes"), ("new at a save", "changed"))
        if (value := row.median(what)) is not None
    )
    names = {
        "scan": "reading all",
        "memcpy": "copying what changed",
        "write": "writing it",
        "fsync": "with fsync",
        "read fresh": "reading the file of all into fresh memory",
        "read warm": "into warm memory",
        "pickle": "pickling all in C",
        "unpickle": "unpickling it",
    }
    shown = [f"{title} {cell(row, what)}" for what, title in names.items() if row.median(what) is not None]
    return f"Floors: {sizes}{', '.join(shown)}.\n"


def goals_table(found: Sequence[Goal]) -> str:
    """What was reached of what should be: ratios, unless a unit is given."""
    lines = [
        [one.what, one.beside, f"{one.reached:.2f}", f"{one.wanted:.2f}", "yes" if one.is_met else "**no**"]
        for one in found
    ]
    return table(["what", "beside", "reached", "wanted, at most", "met"], lines)


def verdict(found: Sequence[Goal]) -> str:
    """How many targets are met, and which are not: what is missed, and of which states."""
    missed: dict[str, dict[str, None]] = {}
    for one in found:
        if not one.is_met:
            what, _, of = one.what.partition(", ")
            missed.setdefault(what, {})[of] = None
    met = f"{sum(one.is_met for one in found)} of {len(found)} are met"
    named = [f"{what} ({', '.join(of)})" if any(of) else what for what, of in missed.items()]
    return f"{met}; not: {', '.join(named)}.\n" if named else f"{met}.\n"


def reasons(found: Sequence[Goal]) -> str:
    """Why some are not met, as far as that is known."""
    said: dict[str, list[str]] = {}
    for one in found:
        if not one.is_met and (why := reason(one)):
            said.setdefault(why, []).append(f"{one.what} (beside {one.beside})")
    return "".join(f"- {'; '.join(goals)}: {why}\n" for why, goals in said.items())


def loops_table(costs: dict[str, float]) -> str:
    """What a loop costs."""
    lines = [[name, f"{cost:.1f}", f"{over:.1f}"] for name, cost, over in described(costs)]
    return table(["loop", "ns an iteration", "more than the plain loop"], lines)


def s3_table(times: Mapping[str, Mapping[str, float]]) -> str:
    """How long a state took to a server of S3 and back."""
    lines = [
        [f"**{name}**" if name == OURS else name, *(seconds(values[what]) for what in ("upload", "download"))]
        for name, values in times.items()
    ]
    return table(["S3", "upload", "download"], lines)


def curve_table(name: str, curve: Curve) -> str:
    """One curve."""
    if not curve:
        return f"{TITLES[name]}: nothing was measured.\n"
    heads = [what for what in curve[0] if what != "at"]
    shown: dict[str, Callable[[float], str]] = {"written": size, "entry": size}
    if name == "loop":
        shown = dict.fromkeys(heads, "{:.1f} ns".format)
    lines = [[f"{point['at']:,.0f}", *(shown.get(what, seconds)(point[what]) for what in heads)] for point in curve]
    return table([TITLES[name], *heads], lines)


def body(results: Mapping[str, Any]) -> str:
    """All tables."""
    parts: list[str] = []
    for name, rows in results["workloads"].items():
        parts += [f"## {name}: {WORKLOADS[name].title}\n", floors_line(rows[FLOORS]), peers_table(name, rows)]
        left_out = [peer for peer in PEERS if peer not in rows and not find(peer).suits(WORKLOADS[name])]
        if left_out:
            parts.append(f"Not for states like this: {', '.join(left_out)}.\n")
    loops, startup, curves, s3 = (results.get(what) or {} for what in ("loops", "startup", "curves", "s3"))
    if loops:
        parts += ["## The loop itself\n", loops_table(loops)]
    if startup:
        lines = [[what, f"{value:.1f} ms"] for what, value in startup.items()]
        parts += ["## At hand\n", table(["what", "takes"], lines)]
    if s3:
        where = "of a server on this machine that keeps everything in temporary files (moto), each a process of its own"
        parts += [f"## {size(results['about']['s3'])} to S3 and back\n", f"Medians {where}.\n", s3_table(s3)]
    if curves:
        parts += ["## How it grows\n", "![Costs against sizes](images/scale.png)\n"]
        parts += [curve_table(name, curve) for name, curve in curves.items()]
    if found := reached(results):
        parts += ["## What was to be reached\n", _GOALS, verdict(found), goals_table(found), reasons(found)]
    return "\n".join(parts)


def circumstances(about: Mapping[str, Any]) -> dict[str, str]:
    """Where, when and at which size it was measured, in words."""
    machine = about["machine"]
    full = about["scale"] == 1
    return {
        "command": about["command"],
        "machine": f"{machine['processors']}, {machine['memory']}, {machine['system']}, Python {machine['python']}",
        "when": about["when"],
        "size": "The states at full size" if full else f"The states at {about['scale']:g} of their full size",
    }


def page(results: Mapping[str, Any]) -> str:
    """docs/speed.md."""
    about = results["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    head = _HEAD.format(
        **circumstances(about),
        rounds=about["rounds"],
        samples=about["rounds"] * (about["saves"] - 1),
        versions=versions or "No peer is installed",
    )
    return f"{head}\n{body(results)}"


def readme(results: Mapping[str, Any], text: str) -> str:
    """README.md with the targets of this record between its two comments.

    Raises:
        ValueError: the comments are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        msg = f"README.md has no {BEGIN} with an {END} below it."
        raise ValueError(msg)
    found = reached(results)
    told = _README.format(**circumstances(results["about"]))
    folded = f"<details>\n<summary>All of them</summary>\n\n{goals_table(found)}\n</details>\n"
    return "\n".join([f"{before}{begin}", told, f"{_GOALS}{verdict(found)}", f"{folded}{end}{after}"])
