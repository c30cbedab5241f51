"""Kernels killed with SIGKILL in the middle of a cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from .cells import BEFORE, CELLS
from .conftest import interpreter
from .notebook import notebook

HEAD = "%%checkpointed train --every 1it\n"


@pytest.mark.parametrize("about", CELLS)
@pytest.mark.parametrize("again", ["from the top", "this cell only"])
def test_a_killed_cell_ends_as_if_it_had_not_been(about: str, again: str, folder: Path) -> None:
    """Variables, sharing, output and results are those of the plain cell, whether earlier cells ran again or not."""
    cell, hold = CELLS[about]
    earlier = "earlier" in about
    with notebook(folder) as book:
        if earlier:
            book.ok(BEFORE)
        plain, form = book.ok(cell), book.form()
    with notebook(folder, hold=hold) as book:
        if earlier:
            book.ok(BEFORE)
        book.kill_when_held(HEAD + cell)
    with notebook(folder) as book:
        if earlier and again == "from the top":
            book.ok(BEFORE)
        resumed = book.ok(HEAD + cell)
        assert any("resumed at" in line for line in resumed.said)
        assert book.form() == form
    streams = ["stdout", "display_data", "execute_result"] + (["stderr"] if "tqdm" not in about else [])
    for stream in streams:
        assert resumed.text(stream) == plain.text(stream)


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_every_interpreter(version: str, folder: Path) -> None:
    """The first program, on each Python that nbckpt promises to run on."""
    python = interpreter(version)
    cell, hold = CELLS["nested loops with random numbers"]
    with notebook(folder, python=python) as book:
        plain, form = book.ok(cell), book.form()
    with notebook(folder, python=python, hold=hold) as book:
        book.kill_when_held(HEAD + cell)
    with notebook(folder, python=python) as book:
        assert book.value("__import__('sys').version_info[:2]") == tuple(map(int, version.split(".")))
        resumed = book.ok(HEAD + cell)
        assert book.form() == form
    assert resumed.shown == plain.shown


def test_a_set_of_strings_under_another_hash_seed(folder: Path) -> None:
    """The elements that were left are done, each once, though a new process would order them otherwise."""
    words = " ".join(f"word{k}" for k in range(40))
    cell = f"import gate\nwords, order = set('{words}'.split()), []\nfor word in words:\n    order.append(word)\n"
    cell += "    gate.hold(len(order))\nprint(len(order), sorted(order) == sorted(words))\n"
    with notebook(folder, hold=20, PYTHONHASHSEED="1") as book:
        book.kill_when_held(HEAD + cell)
    with notebook(folder, PYTHONHASHSEED="2") as book:
        reply = book.ok(HEAD + cell)
        assert reply.text() == "40 True\n"
        assert "sets in words are in another order than they were" in "\n".join(reply.said)
        assert not book.value("order == list(words)"), "the orders must differ, or this shows nothing"


def test_killed_three_times(folder: Path) -> None:
    """Each run goes on where the one before was killed, and what was shown is shown again each time."""
    cell = "import gate\ndone = []\nfor k in range(8):\n    done.append(k)\n    print(k)\n    gate.hold(k)\nlen(done)\n"
    for hold in (2, 4, 6):
        with notebook(folder, hold=hold) as book:
            shown = book.kill_when_held(HEAD + cell).text()
            assert shown.startswith("0\n1\n")
    with notebook(folder) as book:
        reply = book.ok(HEAD + cell)
    assert reply.text() == "".join(f"{k}\n" for k in range(8))
    assert reply.text("execute_result") == "8"
    assert "resumed at k 6 of 8" in "\n".join(reply.said)


def test_a_finished_cell_in_a_new_kernel(folder: Path) -> None:
    """It gives variables, output and result at once, and `--fresh` runs it anew."""
    cell = "import gate, random\nx = [random.random()]\nfor k in range(3):\n    x.append(k)\nprint('done')\nx\n"
    with notebook(folder) as book:
        first = book.ok(HEAD + cell)
    with notebook(folder) as book:
        again = book.ok(HEAD + cell)
        assert again.shown == first.shown
        assert "restored the finished result" in again.said[-1]
        assert book.value("x is _ and Out[2] is x")
        anew = book.ok(HEAD.replace("\n", " --fresh\n") + cell)
        assert anew.text("execute_result") != first.text("execute_result")
