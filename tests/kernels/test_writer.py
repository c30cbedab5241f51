"""The process that writes snapshots, beside real kernels."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from storage.gates import Gate, wait_for_end

from .notebook import ROOT, Notebook, Reply, notebook

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")

CELL = """
import gate, random
noise, done = bytearray(random.Random(1).randbytes(500_000)), []
for k in range(6):
    noise[k] = 255 - noise[k]
    done.append((k, sum(noise)))
    print(k)
    gate.hold(k)
done
"""
HEAD = "%%checkpointed train --every 1it\n"


def pid_of_writer(folder: Path) -> int:
    (path,) = (folder / "data" / "writers").iterdir()
    return int(json.loads(path.read_text())["pid"])


def watch_status(book: Notebook, sent: str, word: str) -> None:
    """Read what a cell shows until its status says something."""
    while True:
        message = book.client.get_iopub_msg(timeout=60)
        content = message["content"]
        if message["parent_header"].get("msg_id") == sent:
            if "nbckpt" in content.get("metadata", {}) and word in content["data"]["text/plain"]:
                return
            assert content.get("execution_state") != "idle"


@pytest.fixture
def plain(folder: Path) -> Reply:
    with notebook(folder) as book:
        return book.ok(CELL)


def test_a_kernel_killed_with_a_save_in_flight(folder: Path, tmp_path: Path, plain: Reply) -> None:
    """Its writer finishes the snapshot; the next kernel says that it waits for it, and goes on from it."""
    gate = Gate(tmp_path / "gate")
    path = os.pathsep.join([gate.python_path, str(ROOT / "tests"), str(folder)])
    with notebook(folder, PYTHONPATH=path, NBCKPT_WRITER="process") as book:
        book.send(HEAD + CELL)
        gate.let_through()
        gate.let_through()
        with notebook(folder) as next_book:
            with gate.held():
                book.kill()
                writer = pid_of_writer(folder)
                sent = next_book.send(HEAD + CELL)
                watch_status(next_book, sent, f"waiting for the writer of an earlier run (pid {writer})")
            resumed = next_book.watch(sent)
    assert resumed.status == "ok"
    assert any("resumed at k 3 of 6" in line for line in resumed.said)
    assert resumed.text() == plain.text()
    assert resumed.text("execute_result") == plain.text("execute_result")
    wait_for_end(writer)


def test_a_long_iteration_is_seen_to_be_saved(folder: Path, tmp_path: Path) -> None:
    """The status says so when the snapshot is durable, not when the iteration ends that began meanwhile."""
    gate = Gate(tmp_path / "gate")
    path = os.pathsep.join([gate.python_path, str(ROOT / "tests"), str(folder)])
    with notebook(folder, hold=1, PYTHONPATH=path, NBCKPT_WRITER="process") as book:
        sent = book.send(HEAD + CELL)
        with gate.held():
            watch_status(book, sent, "k 1 of 6, saving")
        watch_status(book, sent, "k 1 of 6, saved")
        book.kill()


def test_a_writer_that_is_killed(folder: Path, plain: Reply) -> None:
    """The run says so and goes on, protected again from the next boundary on."""
    # what takes the writer long enough to be killed at it
    much = "extra = random.Random(2).randbytes(50_000_000) if k == 1 else b''"
    cell = CELL.replace("gate.hold(k)", f"gate.hold(k); k == 2 and kill(); {much}", 1)
    kill = "import os, json, pathlib\ndef kill():\n    (path,) = pathlib.Path('data/writers').iterdir()\n"
    kill += "    os.kill(json.loads(path.read_text())['pid'], 9)\n"
    with notebook(folder, hold=5, NBCKPT_WRITER="process") as book:
        book.ok(kill)
        killed = book.kill_when_held(HEAD + cell)
        assert any("has ended" in line and "NOT PROTECTED" in line for line in killed.said)
    with notebook(folder) as book:
        book.ok(kill.replace("os.kill", "print"))
        resumed = book.ok(HEAD + cell)
        assert any("resumed at k 5 of 6" in line or "resumed at k 4 of 6" in line for line in resumed.said)
        assert resumed.text("execute_result") == plain.text("execute_result")


@pytest.mark.parametrize("way", ["thread", "sync", "process"])
def test_every_way_resumes(way: str, folder: Path, plain: Reply) -> None:
    """A cell ends as if it had not been killed, whoever writes its snapshots."""
    with notebook(folder, hold=4, NBCKPT_WRITER=way) as book:
        book.kill_when_held(HEAD + CELL)
    with notebook(folder, NBCKPT_WRITER=way) as book:
        resumed = book.ok(HEAD + CELL)
        assert any("resumed at k" in line for line in resumed.said)
        assert resumed.text() == plain.text()
        assert resumed.text("execute_result") == plain.text("execute_result")
