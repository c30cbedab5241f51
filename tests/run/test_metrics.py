"""`nbckpt.log` in a cell: its numbers go with the snapshots, and the best by one of them stays."""

from __future__ import annotations

import pytest

import nbckpt
from nbckpt.errors import OptionError
from nbckpt.storage.repository import Repository
from programs.harness import Lab

CELL = """
import nbckpt
seen = []
for epoch in range(6):
    seen.append(epoch)
    nbckpt.log(loss=(epoch - 2) ** 2)
"""


def test_the_best_stays(lab: Lab) -> None:
    """Every snapshot has the metrics of its moment; the best stays when the cell is done, and can be loaded."""
    store = lab.folder()
    with lab.saves.at_every_boundary(lambda _: None):
        done, _ = lab.again(store, CELL, "--keep 1 --keep-best loss:min")
    assert not done.error
    final, best = Repository.open(str(store)).history("prog")
    assert final.final
    assert (best.description["metrics"], best.description["loop"][1]) == ({"loss": 0.0}, 3)
    assert nbckpt.load("prog", store=str(store), seq=best.seq)["seen"] == [0, 1, 2]
    assert nbckpt.load("prog", store=str(store))["seen"] == list(range(6))


def test_some_stay_on_the_way(lab: Lab) -> None:
    """`--keep-every` counts the iterations of the outermost loop, also over a kill."""
    left = lab.killed(CELL, "len(seen) == 4", options="--keep 1 --keep-every 2it")
    with lab.saves.at_every_boundary(lambda _: None):
        done, _ = lab.again(left, CELL, "--keep 1 --keep-every 2it")
    assert not done.error
    counts = [info.description["loop"][1] for info in Repository.open(str(left)).history("prog") if not info.final]
    assert counts == [6, 4, 2, 1, 0]
    assert 2 in counts


def test_only_numbers(lab: Lab) -> None:
    """Outside of a checkpointed cell nothing happens; inside, what is no number is named."""
    nbckpt.log(loss="high")  # type: ignore[arg-type]
    done, _ = lab.again(lab.folder(), "import nbckpt\nnbckpt.log(loss='high')")
    assert "OptionError" in str(done.error)
    assert issubclass(OptionError, ValueError)
    with pytest.raises(TypeError):
        nbckpt.log(1)  # type: ignore[call-arg]
