"""The command: what is measured, in which order, and where the results go."""

from __future__ import annotations

import argparse
import compileall
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import curves, loops, machine, page, pictures, rounds, s3, startup
from .peers import OURS, PEERS
from .rounds import Plan, Row
from .workloads import WORKLOADS

_PACKAGES = {
    "nbckpt": "nbckpt",
    "numpy": "numpy",
    "joblib": "joblib",
    "dill": "dill",
    "torch": "torch",
    "safetensors": "safetensors",
    "orbax": "orbax-checkpoint",
    "jax": "jax",
    "kishu": "kishu",
    "marimo": "marimo",
    "pandas": "pandas",
    "sklearn": "scikit-learn",
}


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    found = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure what a save costs the loop that it interrupts, with nbckpt and with what else there is.",
    )
    found.add_argument("--workloads", default=",".join(WORKLOADS), help="some of %(default)s, or none")
    found.add_argument("--peers", default=",".join(PEERS), help="some of %(default)s")
    found.add_argument("--scale", type=float, default=1.0, help="shrinks every state: 1.0 is the size in its title")
    found.add_argument("--rounds", type=int, default=3, help="how often each peer has its turn (%(default)s)")
    found.add_argument("--saves", type=int, default=3, help="saves in a turn, the first of which is not counted")
    found.add_argument("--limit", type=float, default=180.0, help="seconds after which a process is given up")
    found.add_argument(
        "--curves", type=float, default=0.0, metavar="SECONDS", help="measure how costs grow, each for so long"
    )
    found.add_argument("--no-loops", action="store_true", help="neither the tracked loop nor what importing costs")
    found.add_argument("--s3", action="store_true", help="measure a state's way to an S3 server and back, too")
    found.add_argument(
        "--auto", type=float, default=0.0, metavar="SECONDS", help="measure what `--every auto` costs in all, so long"
    )
    found.add_argument("--quick", action="store_true", help="small and once, in under two minutes")
    found.add_argument("--json", type=Path, metavar="FILE", help="keep everything that was measured")
    found.add_argument("--read", type=Path, metavar="FILE", help="measure nothing: take what --json has kept")
    found.add_argument(
        "--write",
        type=Path,
        metavar="PAGE",
        help="write the page, pictures into the folder images beside it, and the targets into ../README.md",
    )
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for."""
    plan = Plan(options.scale, options.rounds, options.saves, options.limit)
    peers = names(options.peers, PEERS)
    results: dict[str, Any] = {
        "about": {
            "command": told(sys.argv[1:]),
            "when": time.strftime("%Y-%m-%d"),
            "machine": machine.described(),
            **machine.limits(),
            "versions": {name: metadata.version(kept) for name, kept in _PACKAGES.items() if find_spec(name)},
            **asdict(plan),
        },
        "workloads": {},
    }
    compileall.compile_dir(rounds.ROOT / "nbckpt", quiet=1)  # as pip does with all that it installs
    with tempfile.TemporaryDirectory(prefix="nbckpt-benchmarks-") as folder:
        for name in names(options.workloads, list(WORKLOADS)):
            results["workloads"][name] = rounds.measure(WORKLOADS[name], peers, plan, Path(folder), say)
            keep(results, options.json)
        if not options.no_loops:
            say("the loop itself, and what importing costs")
            results["loops"] = loops.loop_costs()
            results["startup"] = startup.measure(options.rounds)
        if options.s3:
            results["s3"] = s3_times(results["about"], Path(folder), plan)
        if options.auto:
            results["auto"] = auto_shares(options.auto, Path(folder), plan)
        if options.curves:
            results["curves"] = curves.measure(options.curves, Path(folder), say)
    return results


def s3_times(about: dict[str, Any], folder: Path, plan: Plan) -> s3.Times:
    """How long a state takes to a server of S3 and back, if there is one here."""
    lacking = [module for module in ("boto3", "moto", "flask") if find_spec(module) is None]
    if lacking:
        say(f"S3: {', '.join(lacking)} is not installed")
        return {}
    say("a state to a server of S3 and back")
    about["s3"] = max(1, int(s3.SIZE * plan.scale))
    return s3.measure(folder, about["s3"], max(s3.TURNS, plan.rounds), plan.limit)


def auto_shares(seconds: float, folder: Path, plan: Plan) -> dict[str, float]:
    """The share of the time that all saves of a run cost under `--every auto`."""
    say(f"W1 for {seconds:.0f} s with --every auto")
    limit = seconds + plan.limit
    shares: dict[str, float] = rounds.record(
        "--every auto", "auto", "W1", plan.scale, folder, seconds, folder=folder, limit=limit
    )
    return shares


def told(words: Sequence[str]) -> str:
    """The command as it was given, but for where it keeps what it measures.

    >>> told(["--peers", "pickle,Orbax async", "--json", "kept.json", "--write", "docs/speed.md"])
    "python -m benchmarks --peers 'pickle,Orbax async' --write docs/speed.md"
    """
    kept = [word for at, word in enumerate(words) if word != "--json" and words[at - 1 : at] != ["--json"]]
    return f"python -m benchmarks {shlex.join(word for word in kept if not word.startswith('--json='))}"


def names(given: str, known: Sequence[str]) -> list[str]:
    """Names separated by commas, in the order in which they are known."""
    wanted = [] if given == "none" else [word.strip() for word in given.split(",")]
    if unknown := [word for word in wanted if word not in known]:
        sys.exit(f"There is no {unknown[0]!r} here: there are {', '.join(known)}.")
    return [name for name in known if name in wanted]


def say(what: str) -> None:
    """Tell whoever waits where it is."""
    print(f"  {what}", file=sys.stderr, flush=True)


def keep(results: dict[str, Any], path: Path | None) -> None:
    """Keep what there is so far, if that is wanted."""
    if path is not None:
        path.write_text(kept(results))


def kept(results: dict[str, Any]) -> str:
    """Everything as JSON."""
    return json.dumps(results, default=asdict, indent=1) + "\n"


def read(path: Path) -> dict[str, Any]:
    """What `kept` has written."""
    results: dict[str, Any] = json.loads(path.read_text())
    results["workloads"] = {
        name: {peer: Row(**row) for peer, row in rows.items()} for name, rows in results["workloads"].items()
    }
    return results


def write(results: dict[str, Any], path: Path) -> None:
    """Write the page, and the targets into the README of the folder above its own, if that has a place for them."""
    path.write_text(page.page(results), encoding="utf-8")
    readme = path.resolve().parents[1] / "README.md"
    if readme.exists() and page.BEGIN in (text := readme.read_text(encoding="utf-8")):
        readme.write_text(page.readme(results, text), encoding="utf-8")
    else:
        say(f"{readme} has no place for the targets")


def main() -> None:
    options = parser().parse_args()
    if options.quick:
        options.scale, options.rounds, options.saves = min(options.scale, 0.02), 1, 2
        if options.workloads == parser().get_default("workloads"):
            options.workloads = "W1,W4"
    results = read(options.read) if options.read else measure(options)
    keep(results, options.json)
    print(page.body(results))
    if options.write:
        write(results, options.write)
        for picture in pictures.draw(results, options.write.parent / "images"):
            say(f"drew {picture}")
    ours = [rows[OURS].problem for rows in results["workloads"].values() if OURS in rows]
    sys.exit(f"nbckpt failed: {next(filter(None, ours))}" if any(ours) else 0)
