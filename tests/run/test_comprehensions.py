"""What a comprehension must not change: what fails, what is shown of it, what is saved and what is refused."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from nbckpt.run.instrument import instrument, is_guarded
from nbckpt.state.liveness import liveness

if TYPE_CHECKING:
    from programs.harness import Lab


def test_an_element_that_cannot_be_saved_leaves_the_run_unprotected(lab: Lab) -> None:
    """The comprehension goes on and is right, and the status says in red that nothing is saved, and why."""
    cell = "import threading\nlocks = [threading.Lock() if k == 1 else k for k in range(4)]\nlocks = len(locks)\n"
    store = lab.folder()
    with lab.saves.at_every_boundary(lambda _: None):
        done, kernel = lab.again(store, cell)
    assert not done.error
    assert done.names["locks"] == 4
    assert "unprotected" in kernel.events
    assert "has made cannot be saved: a lock belongs to this process" in lab.saves.unprotected[0]
    assert not kernel.status.unprotected, "it is protected again when the locks are gone"
    lab.saves.unprotected.clear()


@pytest.mark.parametrize(
    "cell",
    [
        "xs = [1 // k\n  for k in (1, 0)]",
        "{1 // k: k\n for k\n in (1, 0)}",
        "def draw():\n    yield 1\n    raise ValueError\n[k\n for k in draw()]",
        "xs = {k for k in 5}",
        "xs = {[k] for k in 'ab'}",
        "xs = [j for k in range(2) for j in k]",
        "xs = 5\nxs += [k for k in 'ab']",
    ],
)
def test_tracebacks_are_the_plain_ones(lab: Lab, cell: str) -> None:
    """The same frames with the same lines, and none of ours."""
    from programs.harness import Program, kernel

    program = Program("failing", "", cell)
    with kernel(extension=False) as plain:
        lab.execute_in(plain, program)
    with kernel() as ours:
        lab.execute_in(ours, program, lab.marker(program, lab.folder()))
    expected, found = (new.shell.tracebacks[0] for new in (plain, ours))
    assert _frames(found, 1) == _frames(expected, 0)


def _frames(traceback: str, above: int) -> list[str]:
    """The heads of a traceback's frames and the lines that they stand at, counted without the magic's."""
    lines = traceback.splitlines()
    heads = [re.sub(r"line \d+", "line", line) for line in lines if line.startswith(("Cell", "File"))]
    stands = [int(line.split()[1]) - above for line in lines if line.startswith("---->")]
    return [*heads, *map(str, stands)]


def test_what_is_alive_inside_a_comprehension() -> None:
    """The rest of it and of the cell, without its own variables and the iterable that has been evaluated."""
    found = liveness(
        ast.parse("x = 1\nys = [f(x, a) for x in source for z in g(x)]\nys += [w for w in ys]\nprint(ys)").body,
        is_guarded,
    )
    assert found.tops["1.comp.0"] == {"f", "a", "g", "print"}
    assert found.tops["1.comp.0.comp.0"] == {"f", "a", "g", "print"}
    assert found.before["1"] >= {"source", "f", "a", "g", "print"}
    assert found.tops["2.comp.0"] == {"print"}
    assert "ys" in found.before["2"]


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        ("xs = [k for k in a]", 1),
        ("for k in a:\n    xs = [j for j in k]", 0),
        ("with a:\n    xs = [j for j in k]", 1),
        ("for k in a:\n    with a:\n        xs = [j for j in k]", 0),
        ("for k in a:\n    xs = [j for j in k]\n    for j in xs: pass", 1),
        ("xs = list(k for k in a)", 0),
        ("xs = sum([k for k in a])", 0),
        ("a.b += [k for k in a]", 0),
        ("def f():\n    xs = [k for k in a]", 0),
    ],
)
def test_which_comprehensions_keep_their_progress(cell: str, kept: int) -> None:
    """Those that are a statement's whole value, where there are boundaries; a tight loop is left as it is."""
    _, plan = instrument(ast.parse(cell))
    assert [statement.kind for statement in plan.statements.values()].count("comprehension") == kept


def test_functions_that_live_on_are_said_to_stop_saving(lab: Lab) -> None:
    """Nothing is saved while elements share a variable with what is to come, and then at once."""
    store = lab.folder()
    seen: list[str] = []
    with lab.saves.at_every_boundary(lambda run: seen.append(run.status.progress)):
        done, kernel = lab.again(store, "fs = [lambda: k for k in range(4)]\nx = [f() for f in fs]\n")
    assert done.names["x"] == [3, 3, 3, 3]
    assert "the comprehension at line 2 makes functions that share its variables" in kernel.notices
    assert not [progress for progress in seen if progress.startswith("k ")]
