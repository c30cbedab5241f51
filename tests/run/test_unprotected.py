"""When snapshots fail: the cell computes on, and says from when to when nothing was saved, and why."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from nbckpt.errors import StoreError
from nbckpt.front import listing
from nbckpt.storage.repository import Repository
from nbckpt.storage.stores.local import LocalStore
from programs.harness import Kernel, kernel

HEAD = "%%checkpointed prog --store store --every 1it\n"


def told() -> str:
    """What `%checkpoints` shows, once the newest news is written down."""
    for thread in threading.enumerate():
        if thread.name == "nbckpt status":
            thread.join()
    return listing.overview(Repository.open("store", create=False)).text


@pytest.fixture
def book(workplace: Path) -> Any:
    with kernel() as book:
        book.shell.user_ns["told"] = told
        yield book


def seen(book: Kernel) -> list[str]:
    """The news of a run that are not progress."""
    return [event for event in book.events if event not in ("progress", "saving", "saved")]


def test_a_value_that_cannot_be_pickled_for_some_iterations(book: Kernel) -> None:
    """Told once when it comes, and once when it is gone; the snapshot before it stands meanwhile."""
    cell = (
        "said = []\nthing = None\nkept = []\nfor k in range(9):\n    if k == 3:\n        thing = (n for n in ())\n"
        "    if k == 6:\n        thing = 'text'\n    said.append(told())\n"
        "    kept.append(type(thing).__name__)\nkept[-1]\n"
    )
    done = book.run(HEAD + cell)
    assert done.success, book.shell.tracebacks
    assert seen(book) == ["started", "unprotected", "finished"]
    begin, end, why = book.status.gap or (0.0, 0.0, "")
    assert 0 < begin <= end
    assert "thing" in why
    assert book.status.unprotected == ""
    said = book.names["said"]
    assert ["NOT SAVED" in text for text in said] == [False] * 4 + [True] * 3 + [False] * 2
    assert "thing" in said[4]
    assert "k 3 of 9" in said[6], "the last good snapshot"


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_store_that_fails_in_the_middle(book: Kernel, monkeypatch: pytest.MonkeyPatch, comes_back: bool) -> None:
    """One warning, whatever number of tries; at the end it is said whether the result is saved."""
    put, full, tries = LocalStore.put, Path("full"), []

    def failing(store: LocalStore, key: str, bufs: Any, *, if_absent: bool = False) -> None:
        if full.exists() and not key.endswith("status.json"):
            tries.append(key)
            error = StoreError("There is no room left on the disk.")
            error.errno = errno.ENOSPC
            raise error
        put(store, key, bufs, if_absent=if_absent)

    monkeypatch.setattr(LocalStore, "put", failing)
    cell = (
        "import pathlib\nout = []\nfor k in range(8):\n    out.append(k)\n    if k == 2:\n"
        f"        pathlib.Path('full').touch()\n    if k == 6 and {comes_back}:\n"
        "        pathlib.Path('full').unlink()\nlen(out)\n"
    )
    done = book.run(HEAD + cell)
    assert done.result == 8
    assert len(tries) > 3
    if comes_back:
        assert seen(book) == ["started", "unprotected", "finished"]
        assert (book.status.gap or ("",))[-1] == "There is no room left on the disk."
        assert "NOT SAVED" not in told()
        return
    assert seen(book) == ["started", "unprotected", "unprotected"]
    assert (book.status.state, book.status.unprotected) == ("finished", "There is no room left on the disk.")
    assert book.status.saved_progress == "k 2 of 8"
    assert "is NOT SAVED: There is no room left on the disk." in told()
    # the way out that is named: make room, and run it again
    full.unlink()
    again = book.run(HEAD + cell.replace("'full').touch", "'other').touch"))
    assert again.result == 8, book.shell.tracebacks
    assert book.status.resumed_at == "k 2 of 8"
    assert "NOT SAVED" not in told()


def test_an_error_while_nothing_can_be_saved(book: Kernel) -> None:
    """Both are known afterwards: that it failed, and that what it did last is not saved."""
    cell = "thing = None\nfor k in range(6):\n    if k == 2:\n        thing = (n for n in ())\n"
    cell += "    if k == 5:\n        1 / 0\nthing\n"
    done = book.run(HEAD + cell)
    assert isinstance(done.error_in_exec, ZeroDivisionError)
    assert book.status.error == "ZeroDivisionError: division by zero"
    assert "thing" in book.status.unprotected
    assert book.status.saved_progress == "k 2 of 6"
