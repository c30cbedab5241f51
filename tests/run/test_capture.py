"""`%checkpoints show` says how the newest snapshot was taken."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nbckpt.front import listing
from nbckpt.storage.repository import Repository
from programs.harness import kernel
from watching import are_told

if TYPE_CHECKING:
    import pytest

CELL = """%%checkpointed arrays --store store --every 1it
import numpy as np
kept, touched = np.ones(3_000_000), np.ones(3_000_000)
for k in range(last):
    touched[k] = 2
    if k == fails:
        raise RuntimeError("stop here")
"""


def test_how_it_was_found_what_had_changed(workplace: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hashes in the end, as what the pages tell is compared then; until then by the pages, where these are known."""
    monkeypatch.setenv("NBCKPT_WRITER", "process")
    found = "the pages that were written" if are_told() else "hashes"
    with kernel() as book:
        assert book.run("last, fails = 8, 7\n").success
        assert not book.run(CELL).success
        repository = Repository.open("store", create=False)
        text = listing.details(repository, "arrays").text
        assert re.search(rf"copied 1.\d MB of 48 MB, found by {found}: the loop stood still for \d", text), text
        assert book.run("last, fails = 8, 9\n").success
        assert book.run(CELL.replace("arrays", "whole", 1)).success, book.shell.tracebacks
        assert "found by hashes: the loop stood still for" in listing.details(repository, "whole").text
        check = "assert touched[:8].tolist() == [2] * 8 and touched[8:].max() == kept.max() == 1"
        assert book.run(check).success, book.shell.tracebacks


def test_what_is_written_at_once(workplace: object) -> None:
    """A snapshot that is not copied stops the loop for as long as it is written."""
    with kernel() as book:
        assert book.run("%%checkpointed tiny --store store\nfor k in range(3):\n    x = k\n").success
        text = listing.details(Repository.open("store", create=False), "tiny").text
        assert "written while the loop stood still, for " in text
