"""What of a cell's output is kept: all that a reader would still see, within bounds."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest

from nbckpt.run.outputs import LEFT_OUT, Recorder
from programs.harness import Lab, Program


@contextmanager
def listening() -> Iterator[Recorder]:
    """A recorder of what is printed to nobody."""
    recorder = Recorder(10_000)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        recorder.start()
        yield recorder
        recorder.stop()


def kept(recorder: Recorder) -> list[str]:
    return [entry["text"] for entry in json.loads(recorder.to_json(with_result=True))]


def test_a_progress_bar_pushes_nothing_out() -> None:
    """However often a line is written over, it takes the room of one line."""
    with listening() as recorder:
        print("heading")
        for k in range(3000):
            sys.stderr.write(f"\rstep {k:4} of 3000 [{'#' * 20}]")
        assert kept(recorder) == ["heading\n", f"\rstep 2999 of 3000 [{'#' * 20}]"]


@pytest.mark.parametrize("end", ["\r", ""])
def test_lines_that_end_or_begin_with_a_return_do_not_grow(end: str) -> None:
    """`print(..., end="\\r")` leaves one line, too."""
    with listening() as recorder:
        for k in range(3000):
            print(f"{'' if end else chr(13)}turn {k}", end=end)
        assert kept(recorder) == ["turn 2999\r" if end else "\rturn 2999"]


def test_long_output_keeps_its_end() -> None:
    """The last half at least of what the bound allows stays, and the cut is told once."""
    with listening() as recorder:
        for k in range(5000):
            print("line", k)
        text = "".join(kept(recorder))
        assert text.startswith(LEFT_OUT)
        assert text.count(LEFT_OUT) == 1
        assert text.endswith("line 4998\nline 4999\n")
        assert 5000 <= len(text) <= 10_000 + len(LEFT_OUT)


def test_many_prints_cost_the_same_each() -> None:
    """What was printed before is not copied at each print."""
    with listening() as recorder:
        recorder.limit = 10**7
        for _ in range(5000):
            print("x" * 99)
        entry = recorder.entries[0]
        assert entry.size == 500_000
        assert len(entry._pieces) >= 5000


@pytest.mark.parametrize("shown", ["last", "last_expr", "last_expr_or_assign", "all", "none"])
@pytest.mark.parametrize(
    "last",
    [
        "for k in range(3):\n    x.append(k)\n    k + x[-1]\n    for j in range(2):\n        j\n",
        "if x:\n    x\n    [j for j in x]\n",
        "def f():\n    return x\n",
        "y = x\n",
        "x\n",
    ],
)
def test_what_ipython_is_told_to_show_of_a_cell_is_shown(lab: Lab, shown: str, last: str) -> None:
    """What is in a last statement, too; and all of it once, wherever the cell was killed."""
    before = (f"%config InteractiveShell.ast_node_interactivity = '{shown}'\n",)
    program = Program("shown", "", f"x = [0]\nx\n{last}", before=before)
    plain = lab.plain(program)
    whole, photos = lab.photographed(program, lab.folder())
    assert whole.shown == plain.shown
    for photo in photos:
        assert lab.resumed(program, photo, before=True).shown == plain.shown
