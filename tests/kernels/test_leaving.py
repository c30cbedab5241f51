"""Every way to leave a running cell: what is lost and shown, and how the kernel ends; `docs/leaving.md` says it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

from leaving_table import (
    BY_SIGTERM,
    ENDED,
    GONE,
    INTERRUPTED,
    KERNELS,
    KILLED,
    LIVES,
    NONE,
    ORPHANED,
    SERVERS,
    TERMINATED,
    Case,
)
from storage.gates import wait_for_end

from .notebook import Notebook, Reply, notebook
from .servers import orphans_come_here, server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")

_WORK = '''
"""What the iterations do, and a journal of which had begun and ended."""
import time
from pathlib import Path

numbers = __import__("numpy").random.default_rng(1).random(6_000_000)
begun = -1

def length():
    """How long an iteration takes, from the sixth on."""
    return float(Path("length").read_text()) if begun >= 5 else 0

def python():
    end = time.monotonic() + length()
    while time.monotonic() < end:
        pass

def numpy():
    if length():
        __import__("numpy").sort(numbers)

def note(word, k):
    global begun
    begun = k
    with open("journal", "a") as file:
        file.write(f"{word} {k}\\n")
    if (word, k) == ("begin", 5) and length() and not Path("shell").exists():
        print("<here>", flush=True)

def shell():
    """A command that says itself that it runs: before it does, IPython is not ready to be interrupted."""
    return f"echo '<here>'; sleep {length()}" if length() else "true"
'''
_BODIES = {
    "python": "work.python()",
    "sleep": "time.sleep(work.length())",
    "numpy": "work.numpy()",
    "await": "await asyncio.sleep(work.length())",
    "shell": "!{work.shell()}",
}
_CELL = """%%checkpointed train --every 3it
import asyncio, time, work
begun, done = [], []
for k in range(N):
    begun.append(k)
    work.note("begin", k)
    BODY
    done.append(k)
    work.note("end", k)
"""


class Left:
    """A cell that is in the middle of its sixth iteration, and then is left."""

    def __init__(self, case: Case, folder: Path, book: Notebook) -> None:
        self.case, self.folder, self.book = case, folder, book
        amount, unit = case.length.split()
        seconds = float(amount) / (1000 if unit == "ms" else 1)
        self.count = 500 if seconds < 0.1 else 20
        (folder / "work.py").write_text(_WORK)
        (folder / "length").write_text(str(seconds))
        if case.cell == "shell":
            (folder / "shell").touch()
        self.cell = _CELL.replace("BODY", _BODIES[case.cell]).replace("N", str(self.count))
        self.pid = int(book.value("__import__('os').getpid()"))
        self.sent = book.send(self.cell)
        book.watch(self.sent, "<here>")

    def ended(self) -> int:
        """How many iterations had ended."""
        return (self.folder / "journal").read_text().count("end")

    def look(self, reply: Reply) -> int:
        """Check what was shown and raised, and where the cell stands; return that."""
        case = self.case
        at = self.ended() if case.lost == NONE else 3
        assert case.lost == NONE or self.ended() >= 5
        if case.shown:
            shown = case.shown.format(at=at, now=6, n=self.count)
            assert any(shown in line for line in reply.said[-1:]), reply.said
        raised = reply.error.partition(":")[0]
        assert raised == case.raised or (case.kernel in (ENDED, GONE) and not raised and self.was_terminated(reply))
        return at

    def was_terminated(self, reply: Reply) -> bool:
        """Whether the machine was so slow that Jupyter sent SIGTERM before the kernel had ended."""
        return any(TERMINATED in line for line in reply.said)

    def go_on(self, book: Notebook, at: int) -> None:
        """Run the cell again: it goes on there, and comes to what an undisturbed one comes to."""
        (self.folder / "length").write_text("0")
        before = (self.folder / "journal").read_text()
        resumed = book.ok(self.cell)
        assert any(f"resumed at k {at} of {self.count}" in line for line in resumed.said), resumed.said
        again = (self.folder / "journal").read_text().removeprefix(before)
        assert again.startswith(f"begin {at}\n")
        assert book.value("begun == done == list(range(k + 1))")
        assert book.value("k + 1") == self.count


def read_to_the_end(book: Notebook, sent: str) -> Reply:
    """All that a kernel which has ended had shown of a cell."""
    reply = Reply()
    while True:
        try:
            message = book.client.get_iopub_msg(timeout=1)
        except Empty:
            return reply
        content = message["content"]
        if message["parent_header"].get("msg_id") == sent:
            if message["msg_type"] == "error":
                reply.error = f"{content['ename']}: {content['evalue']}"
            elif "nbckpt" in content.get("metadata", {}):
                reply.said.append(content["data"]["text/plain"])


def _interrupt_twice(left: Left) -> None:
    left.book.manager.interrupt_kernel()
    left.book.watch(left.sent, told=INTERRUPTED)
    left.book.manager.interrupt_kernel()


WAYS: dict[str, Callable[[Left], Any]] = {
    "interrupt": lambda left: left.book.manager.interrupt_kernel(),
    "interrupt twice": _interrupt_twice,
    "restart": lambda left: left.book.manager.restart_kernel(),
    "shutdown": lambda left: left.book.manager.shutdown_kernel(),
    "SIGTERM to the kernel": lambda left: os.kill(left.pid, signal.SIGTERM),
    "SIGKILL to the kernel": lambda left: os.kill(left.pid, signal.SIGKILL),
}
ENDS = {ENDED: {0, -signal.SIGTERM}, KILLED: {-signal.SIGKILL}, BY_SIGTERM: {-signal.SIGTERM}}


def _cases(cases: list[Case]) -> list[Any]:
    return [pytest.param(case, id=str(case), marks=[pytest.mark.slow] if _is_slow(case) else []) for case in cases]


def _is_slow(case: Case) -> bool:
    """Where an iteration is waited for that takes long, or another way is taken out of what one interrupt ends."""
    return (case.length, case.lost) == ("10 s", NONE) or (case.cell != "python" and case.way != "interrupt")


@pytest.mark.parametrize("case", _cases(KERNELS))
def test_a_kernel(case: Case, folder: Path) -> None:
    """What the table says is lost, shown and raised, and what the kernel ends with."""
    with notebook(folder) as book:
        left = Left(case, folder, book)
        process = book.manager.provisioner.process
        WAYS[case.way](left)
        if case.kernel == LIVES:
            reply = book.watch(left.sent)
            at = left.look(reply)
            assert not [line for line in reply.traceback.splitlines() if "nbckpt/" in line]
            left.go_on(book, at)
            return
        assert process.wait() in ENDS[case.kernel]
        at = left.look(read_to_the_end(book, left.sent))
    with notebook(folder) as book:
        left.go_on(book, at)


@pytest.mark.parametrize("case", _cases(SERVERS))
def test_a_server(case: Case, folder: Path) -> None:
    """The same where a Jupyter server is what the kernel hangs on."""
    culls = ["cull_idle_timeout=8", "cull_interval=1", "cull_busy=True", "cull_connected=True"]
    options = [f"--MappingKernelManager.{one}" for one in culls] if "culls" in case.way else []
    with server(folder, *options) as host:
        kernel, book = host.book()
        book.ok("%load_ext nbckpt")
        left = Left(case, folder, book)
        if case.way == "interrupt in the server":
            host.ask("POST", f"/{kernel}/interrupt")
            reply = book.watch(left.sent)
            left.go_on(book, left.look(reply))
            book.client.stop_channels()
            return
        if case.way == "restart in the server":
            host.ask("POST", f"/{kernel}/restart")
        elif case.way == "shutdown in the server":
            host.ask("DELETE", f"/{kernel}")
        elif case.way == "SIGTERM to the server":
            host.process.terminate()
            assert host.process.wait() == 0
        elif case.way == "SIGKILL to the server":
            with orphans_come_here():
                host.process.kill()
                host.process.wait()
                assert os.waitstatus_to_exitcode(os.waitpid(left.pid, 0)[1]) == 1
                assert case.kernel == ORPHANED
        wait_for_end(left.pid)
        reply = read_to_the_end(book, left.sent)
        at = left.look(reply)
        book.client.stop_channels()
    with notebook(folder) as book:
        left.go_on(book, at)
