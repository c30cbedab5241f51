"""Notices that the machine will go, in real kernels."""

from __future__ import annotations

import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from clouds import Aws, Azure, Gcp, Service, serving
from nbckpt.storage.repository import Repository

from .notebook import PATIENCE, Notebook, notebook

CELL = """%%checkpointed train --every 1h{options}
done = []
for k in range(12):
    done.append(k)
    if k in (4, 7) and "resumed" not in globals():
        print("holds at", k, flush=True)
        open(f"pipe{{k}}").read()
done
"""


def kernel(folder: Path, **environ: str) -> AbstractContextManager[Notebook]:
    """A kernel whose snapshots this process can read too."""
    return notebook(folder, NBCKPT_DATA_DIR=os.environ["NBCKPT_DATA_DIR"], **environ)


def wait_until_said(book: Notebook, text: str) -> None:
    """Wait until nbckpt's line says something, while the cell runs."""
    while True:
        message = book.client.get_iopub_msg(timeout=PATIENCE)
        content = message["content"]
        if "nbckpt" in content.get("metadata", {}) and text in content["data"]["text/plain"]:
            return


def progress(folder: Path) -> list[str]:
    """Where the snapshots stand, newest first."""
    return [str(one.description["progress"]) for one in Repository.open(str(folder / ".nbckpt")).history("train")]


@pytest.fixture
def pipes(folder: Path) -> Path:
    """Where the cell holds until somebody writes."""
    for k in (4, 7):
        os.mkfifo(folder / f"pipe{k}")
    return folder


@pytest.mark.parametrize("kind", [Aws, Gcp, Azure])
def test_a_cloud_stops_a_cell_at_its_next_boundary(kind: type[Service], pipes: Path) -> None:
    """The cell ends there as if interrupted; in a new kernel it goes on without losing an iteration."""
    with serving(kind) as service, kernel(pipes, **service.variables()) as book:
        sent = book.send(CELL.format(options=" --on-preempt stop"))
        book.watch(sent, "holds at 4")
        assert progress(pipes) == []
        service.give_notice()
        wait_until_said(book, service.says)
        (pipes / "pipe4").write_text("")
        reply = book.watch(sent)
        assert reply.error.startswith("KeyboardInterrupt")
        assert "stopped at k 5 of 12, saved; run it again to go on there" in reply.said[-1]
        assert book.value("done") == list(range(5))
        assert progress(pipes) == ["k 5 of 12"]
    with kernel(pipes) as book:
        book.ok("resumed = True")
        reply = book.ok(CELL.format(options=""))
        assert any("resumed at k 5 of 12" in line for line in reply.said)
        assert reply.text("execute_result") == f"{list(range(12))}"


def test_a_signal_is_followed_by_a_snapshot(pipes: Path) -> None:
    """SLURM's signal does not end the kernel: the cell saves, goes on to its end, and leaves the signal as it was."""
    with kernel(pipes, SLURM_JOB_ID="7") as book:
        before = book.value("repr(__import__('signal').getsignal(10))")
        sent = book.send(CELL.format(options=""))
        book.watch(sent, "holds at 4")
        book.manager.signal_kernel(signal.SIGUSR1)
        wait_until_said(book, "SLURM sent SIGUSR1")
        (pipes / "pipe4").write_text("")
        book.watch(sent, "holds at 7")
        assert "k 5 of 12" in progress(pipes)
        (pipes / "pipe7").write_text("")
        reply = book.watch(sent)
        assert reply.status == "ok"
        assert "SLURM sent SIGUSR1" in reply.said[-1]
        assert book.value("repr(__import__('signal').getsignal(10))") == before
