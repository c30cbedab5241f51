"""Thousands of cells that nobody thought of, killed at every boundary.

Every run checks the first 100 programs, and `.ci/run` as many as 2,000; `pytest tests/fuzz --fuzz 2000-50000` goes on
beyond these. A failure says which program it was, cut down to what it takes to fail, as it would stand among the
programs that once came back wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from programs.harness import Lab, Program

from .lane import Cell, Failure, Lane, open_lane
from .reducing import reduced
from .writing import program

BATCH = 50
"""Programs in one test."""
THROUGH_A_SHELL = 50
"""One in so many also goes through a whole shell, and a store on disk."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    begin, end = map(int, metafunc.config.getoption("--fuzz").split("-"))
    if "first" in metafunc.fixturenames:
        metafunc.parametrize("first", range(begin, end, BATCH))
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(begin, end, THROUGH_A_SHELL))


@pytest.fixture
def lane(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lane]:
    with open_lane(monkeypatch) as new:
        yield new


@pytest.mark.filterwarnings("ignore")
def test_any_cell_ends_as_if_it_had_not_been_killed(first: int, lane: Lane) -> None:
    """Whatever a cell is made of, it resumes at each of its boundaries, or says why not."""
    for seed in range(first, first + BATCH):
        failure = lane.check(program(seed))
        if failure is not None:
            pytest.fail(_report(seed, failure, lane), pytrace=False)
    assert lane.kills > BATCH, "hardly anything was killed"
    assert lane.refusals <= lane.kills // 10, "too many were refused for this to show anything"


@pytest.mark.filterwarnings("ignore")
def test_in_a_shell_too(seed: int, lab: Lab) -> None:
    """The same through IPython, with displays and `Out`, and a store on disk."""
    cell = program(seed)
    whole = Program(f"generated_{seed}", "", cell.cell, before=cell.before, fails=_error_of(cell))
    plain = lab.plain(whole)
    outcome, photos = lab.photographed(whole, lab.folder())
    if cell.refuses:
        return
    lab.compare(whole, plain, outcome)
    for number, photo in enumerate(photos[:: len(photos) // 6 + 1]):
        before = number % 2 == 0
        lab.compare(whole, plain, lab.resumed(whole, photo, before=before), before=before)


def test_a_failing_program_is_cut_down() -> None:
    """What does not matter goes, in all cells, at all depths."""
    cell = Cell(
        "x = 0\nfor k in range(3):\n    if k:\n        x += k\n        bad = [k, x]\n    y = k\ny\n",
        ("z = 1\nw = 2\n",),
    )
    small = reduced(cell, lambda candidate: "bad" in candidate.cell)
    assert small == Cell("bad = []\n")


def _report(seed: int, failure: Failure, lane: Lane) -> str:
    def fails(candidate: Cell) -> bool:
        again = lane.check(candidate)
        return again is not None and again.kind == failure.kind

    small = reduced(program(seed), fails)
    found = lane.check(small) or failure
    before = ", ".join(f'"""\n{text.strip()}\n"""' for text in small.before)
    return (
        f"program {seed}: {found.what}\n\nCut down, for programs/found.py:\n\n"
        f'    Program(\n        "found_{seed}",\n        "{found.kind}",\n        """\n{small.cell.strip()}\n""",\n'
        + (f"        before=({before},),\n" if before else "")
        + "        at_least=1,\n    ),\n"
    )


def _error_of(cell: Cell) -> str:
    with pytest.MonkeyPatch.context() as patch, open_lane(patch) as lane:
        return lane.plain(cell).error.partition(":")[0]
