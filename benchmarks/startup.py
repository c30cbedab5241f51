"""What it costs to have nbckpt at hand: importing it, loading the extension, and the first cell.

`python -m benchmarks.startup` measures one process and prints a line of JSON, in milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path

from .rounds import record

_BODY = "total = 0\nfor number in range(3):\n    total += number\n"


def once(kind: str, folder: str) -> dict[str, float]:
    """One process's numbers, with nbckpt or without it."""
    found: dict[str, float] = {}

    def timed(what: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        found[what] = (time.perf_counter() - began) * 1000

    if kind == "import":
        timed("import nbckpt", lambda: __import__("nbckpt"))
        return found
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.run_cell("1")
    with contextlib.redirect_stdout(sys.stderr):
        if kind == "plain":
            empty = types.ModuleType("nbckpt_empty")
            empty.load_ipython_extension = lambda shell: None  # type: ignore[attr-defined]
            sys.modules["nbckpt_empty"] = empty
            timed("%load_ext of an empty extension", lambda: shell.run_line_magic("load_ext", "nbckpt_empty"))
            timed("a plain cell", lambda: shell.run_cell(_BODY).raise_error())
        else:
            timed("%load_ext nbckpt", lambda: shell.run_line_magic("load_ext", "nbckpt"))
            cell = f"%%checkpointed {{}} --store {folder}/store\n{_BODY}"
            timed("the first cell, saved and finished", lambda: shell.run_cell(cell.format("one")).raise_error())
            timed("another cell, saved and finished", lambda: shell.run_cell(cell.format("two")).raise_error())
    return found


def measure(rounds: int, limit: float = 60.0) -> dict[str, float]:
    """The medians over interleaved processes."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for kind in ("import", "plain", "nbckpt"):
            with tempfile.TemporaryDirectory() as folder:
                found = record("startup", "startup", kind, folder, folder=Path(folder), limit=limit)
            for what, value in found.items():
                times.setdefault(what, []).append(value)
    return {what: statistics.median(values) for what, values in times.items()}


if __name__ == "__main__":
    print(json.dumps(once(*sys.argv[1:])))
