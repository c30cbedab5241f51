"""Errors, retries and snapshots that fail, in kernels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .notebook import PATIENCE, notebook

HEAD = "%%checkpointed train --every 1it"


def test_an_error_reaches_the_front_end_as_it_is(folder: Path) -> None:
    """The same reply and the same traceback as of the plain cell, and below it where the cell would go on."""
    body = "def work(k):\n    return 1 / (3 - k)\nfor k in range(6):\n    for j in range(2):\n        work(k)\n"
    with notebook(folder) as book:
        plain = book.run("# plain\n" + body)
        for options in ("", " --retry 0", " --retry 1 --retry-on OSError"):
            failed = book.run(f"{HEAD}{options} --fresh\n{body}")
            assert (
                (failed.status, failed.error)
                == ("error", plain.error)
                == ("error", "ZeroDivisionError: division by zero")
            )
            ours, theirs = (re.sub(r"In\[\d+\]|# .*", "", one.traceback) for one in (failed, plain))
            assert ours == theirs
            assert failed.said[-2:-1] == ["nbckpt train: stopped by ZeroDivisionError: division by zero"]
            assert "run it again to go on at k 2 of 6, j 2 of 2, saved " in failed.said[-1]
            assert failed.said[-1].endswith(" before the error")


def test_a_cell_that_is_tried_again(folder: Path) -> None:
    """Its output goes on below that of the attempt that failed; a new kernel shows that of the run that succeeded."""
    cell = (
        f"{HEAD} --retry 2\nimport pathlib, random\nrandom.seed(1)\nfor k in range(4):\n    print(k, random.random())\n"
        "    if k == 2 and not pathlib.Path('failed').exists():\n        pathlib.Path('failed').touch()\n"
        "        raise ConnectionError('no route')\nk\n"
    )
    with notebook(folder) as book:
        done = book.ok(cell)
    lines = done.text().splitlines()
    assert lines[2] == lines[3], "the third iteration ran twice, with the same random number"
    assert done.text("execute_result") == "3"
    assert [line for line in done.said if "retry" in line] == [
        "nbckpt train: note: retry 1 of 2 after ConnectionError: no route, from k 2 of 4, in 1 s"
    ]
    with notebook(folder) as book:
        assert book.ok(cell).text().splitlines() == [*lines[:3], *lines[4:]]


LONG_PAUSES = """
import nbckpt.run.retry as retry
from nbckpt.run.checkpoint import Run
retry.LONGEST = retry.FIRST = 3600
close = Run.close
def close_and_say_so(self, **options):
    close(self, **options)  # until then an interrupt is one of the attempt that failed
    print("<pause>", flush=True)
Run.close = close_and_say_so
"""


@pytest.mark.parametrize("first", ["", "await __import__('asyncio').sleep(0)\n"])
def test_an_interrupt_in_the_pause_of_a_retry(folder: Path, first: str) -> None:
    """It ends the cell at once, with its own line in the traceback and none of ours."""
    cell = f"{HEAD} --retry 9\n{first}for k in range(4):\n    if k == 2:\n        1 / 0\n"
    with notebook(folder) as book:
        book.hidden(LONG_PAUSES)
        sent, said = book.send(cell), ""
        while "retry 1 of 9 after ZeroDivisionError: division by zero, from k 2 of 4, in 1 h" not in said:
            said = str(book.client.get_iopub_msg(timeout=PATIENCE)["content"].get("data"))
        book.watch(sent, "<pause>")
        book.manager.interrupt_kernel()
        stopped = book.watch(sent)
    assert stopped.status == "error"
    assert stopped.error.startswith(("KeyboardInterrupt", "CancelledError"))
    assert "nbckpt/" not in stopped.traceback
    assert "run it again to go on at k 2 of 4" in stopped.said[-1]


def test_a_disk_that_is_full_for_some_time(folder: Path) -> None:
    """The cell computes on; told are when it began, when it was over and, if it never is, what is lost."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, ({}, resource.RLIM_INFINITY))"
    cell = (
        f"{HEAD}\nimport os, resource\nfor k in range(9):\n    data = os.urandom(50_000)\n    if k == 2:\n"
        f"        {limit.format(4096)}\n    if k == 6 and frees:\n        {limit.format(-1)}\nk\n"
    )
    with notebook(folder, NBCKPT_WRITER="sync") as book:
        book.ok("frees = True\n")
        done = book.ok(cell)
        assert done.text("execute_result") == "8"
        red = ["NOT PROTECTED since" in text for text in done.said]
        assert red.count(True) >= 1
        assert red[-1] is False
        assert re.search(r"note: nothing could be saved from [\d:]+ to [\d:]+: ", done.said[-1])
        book.ok("frees = False\n")
        lost = book.ok(cell.replace("train", "lost"))
        assert lost.text("execute_result") == "8"
        assert "but the result is NOT SAVED, as nothing was since" in "".join(lost.said[-2:])
        assert "Run again, the cell goes on at k 2 of 9" in "".join(lost.said[-2:])
        book.ok(f"import resource\n{limit.format(-1)}\n")
        listed = book.ok("%checkpoints").text("execute_result")
        assert "lost: what the last run did after" in listed
        assert "train: " not in listed
