"""A notebook's side of a real kernel: it executes cells, sees what they show, and can kill it."""

from __future__ import annotations

import ast
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 120
"""Seconds after which a kernel that says nothing is taken for stuck."""

HELD = "<held>\n"
_GATE = '''
"""Imported by cells: `hold(k)` says so and waits for ever where the test wants the kernel to be killed."""
import os, threading

def hold(k):
    if str(k) == os.environ.get("HOLD"):
        print("<held>", flush=True)
        threading.Event().wait()
'''

_NAMES = """[
    name for name in globals()
    if not __import__("re").fullmatch(r"_i*|_i?\\d+|__|___|_[dio]h|In|Out|get_ipython|exit|quit|open|__\\w+__", name)
]"""
_FORM = """repr(__import__("programs.canonical", fromlist=["canonical"]).canonical({
    name: globals()[name] for name in NAMES
}, globals()))"""


@dataclass
class Reply:
    """What a cell came to."""

    status: str = ""
    shown: list[tuple[str, str]] = field(default_factory=list)
    """Streams, displays and results, in order; not what nbckpt says of itself."""
    said: list[str] = field(default_factory=list)
    """What nbckpt said of itself, in order."""
    error: str = ""
    traceback: str = ""
    count: int = 0

    def add(self, stream: str, text: str) -> None:
        if self.shown and self.shown[-1][0] == stream and stream in ("stdout", "stderr"):
            text = self.shown.pop()[1] + text
        self.shown.append((stream, text))

    def text(self, stream: str = "stdout") -> str:
        return "".join(text for name, text in self.shown if name == stream)


class Notebook:
    """A kernel that runs cells for a test."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager, self.client = manager, client

    def send(self, text: str) -> str:
        """Begin to execute a cell."""
        return str(self.client.execute(text, allow_stdin=False, stop_on_error=False))

    def watch(self, sent: str, until: str = "", told: str = "") -> Reply:
        """What a cell shows, until it is done, its stdout contains a word, or nbckpt has told of something."""
        reply = Reply()
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != sent:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                reply.add(content["name"], content["text"])
                if until and until in reply.text():
                    return reply
            elif kind in ("display_data", "update_display_data", "execute_result"):
                if "nbckpt" in content["metadata"]:
                    reply.said.append(content["data"]["text/plain"])
                    if told and told in reply.said[-1]:
                        return reply
                else:
                    reply.add(kind, content["data"]["text/plain"])
            elif kind == "clear_output":
                reply.shown.clear()
            elif kind == "error":
                reply.error = f"{content['ename']}: {content['evalue']}"
                reply.traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle":
                break
        content = self._answer(sent)
        reply.status, reply.count = content["status"], content["execution_count"]
        if reply.status == "error" and not reply.error:  # IPython shows wrong use of a magic as one line on stderr
            reply.error = f"{content['ename']}: {content['evalue']}"
        return reply

    def _answer(self, sent: str) -> dict[str, Any]:
        while True:
            message = self.client.get_shell_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == sent:
                content: dict[str, Any] = message["content"]
                return content

    def run(self, text: str) -> Reply:
        return self.watch(self.send(text))

    def ok(self, text: str) -> Reply:
        """Run a cell that must not fail."""
        reply = self.run(text)
        assert reply.status == "ok", reply.traceback or reply.error
        return reply

    def value(self, expression: str) -> Any:
        """What a literal expression is worth in the kernel, without a trace in its history."""
        sent = self.client.execute("", silent=True, user_expressions={"value": expression})
        answer = self._answer(sent)["user_expressions"]["value"]
        assert answer["status"] == "ok", answer
        return ast.literal_eval(answer["data"]["text/plain"])

    def names(self) -> set[str]:
        """The names of the user."""
        return set(self.value(_NAMES))

    def form(self, names: Iterable[str] | None = None) -> str:
        """Some names of the user, or all, in a form that can be compared."""
        chosen = self.names() if names is None else names
        return str(self.value(_FORM.replace("NAMES", repr(sorted(chosen)))))

    def hidden(self, text: str) -> None:
        """Run code that leaves no trace in the notebook."""
        answer = self._answer(self.client.execute(f"exec({text!r}, {{}})", silent=True))
        assert answer["status"] == "ok", answer

    def complete(self, text: str) -> list[str]:
        sent = self.client.complete(text)
        return list(self._answer(sent)["matches"])

    def inspect(self, text: str) -> str:
        sent = self.client.inspect(text)
        return str(self._answer(sent)["data"].get("text/plain", ""))

    def kill_when_held(self, text: str) -> Reply:
        """Execute a cell until it holds, and kill the kernel."""
        reply = self.watch(self.send(text), HELD)
        assert reply.text().endswith(HELD), reply
        self.kill()
        return reply

    def run_to_death(self, text: str) -> None:
        """Execute a cell that kills its kernel; one that comes to its end before is killed then."""
        sent = self.send(text)
        while self.manager.provisioner.process.poll() is None:
            with suppress(Empty):
                message = self.client.get_iopub_msg(timeout=0.1)
                ended = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
                if ended and message["parent_header"].get("msg_id") == sent:
                    self.kill()

    def kill(self) -> None:
        self.manager.signal_kernel(signal.SIGKILL)
        self.manager.provisioner.process.wait()

    def interrupt_when(self, text: str, word: str, times: int = 1) -> Reply:
        """Execute a cell, interrupt it once it has printed a word, and return what it came to."""
        sent = self.send(text)
        before = self.watch(sent, word)
        self.manager.interrupt_kernel()
        if times > 1:
            self.watch(sent, told="interrupted: ")
            self.manager.interrupt_kernel()
        after = self.watch(sent)
        after.shown[:0] = before.shown
        return after


def _started(folder: Path, python: str, env: dict[str, str]) -> tuple[KernelManager, Any]:
    """Start a kernel; another one, with other ports, if a process took a port that was free when it was chosen."""
    for attempts_left in (2, 1, 0):
        manager = KernelManager(connection_file=str(folder / f"kernel-{os.urandom(4).hex()}.json"))
        manager._kernel_spec = KernelSpec(
            argv=[python, "-m", "ipykernel_launcher", "-f", "{connection_file}"], display_name="test", language="python"
        )
        manager.start_kernel(cwd=str(folder), env=env)
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=PATIENCE)
        except RuntimeError:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            if not attempts_left:
                raise
        else:
            return manager, client
    raise AssertionError


def write_gate(folder: Path) -> None:
    """Put the module there that cells import."""
    (folder / "gate.py").write_text(_GATE)


@contextmanager
def notebook(folder: Path, *, python: str = sys.executable, hold: object = "", **environ: str) -> Iterator[Notebook]:
    """A new kernel in a folder. `gate.hold(k)` in its cells holds at `hold`."""
    write_gate(folder)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("NBCKPT_", "COV", "PYTEST"))}
    env |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(folder)]),
        "NBCKPT_DATA_DIR": str(folder / "data"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "HOLD": str(hold),
        # small arrays: threads would only wait for each other
        **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")},
        **environ,
    }
    manager, client = _started(folder, python, env)
    try:
        new = Notebook(manager, client)
        new.ok("%load_ext nbckpt")
        yield new
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
