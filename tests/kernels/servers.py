"""A real Jupyter server, and the kernels in it as its clients see them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient

from .notebook import PATIENCE, ROOT, Notebook, write_gate

_TOKEN = "of-this-test"  # noqa: S105 - of a server that nobody else reaches
_START = """
from jupyter_server.serverapp import ServerApp
class App(ServerApp):
    async def _post_start(self):
        await super()._post_start()
        print("ready", flush=True)
App.launch_instance()
"""
"""Its own word that it is running comes before it listens."""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server:
    """A server that is asked by its REST interface."""

    def __init__(self, process: subprocess.Popen[str], runtime: Path, port: int) -> None:
        self.process, self.runtime = process, runtime
        self._url = f"http://127.0.0.1:{port}/api/kernels"

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """Send a request; return what it answers."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self._url}{path}",
            json.dumps(body).encode(),
            {"Authorization": f"token {_TOKEN}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else None

    def book(self) -> tuple[str, Notebook]:
        """Start a kernel; return its id, and a notebook on it."""
        kernel = str(self.ask("POST", "", name="test")["id"])
        client = BlockingKernelClient(connection_file=str(self.runtime / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels()
        heard = False
        while not heard:
            client.kernel_info()
            with suppress(Empty):
                heard = bool(client.get_iopub_msg(timeout=1))
        return kernel, Notebook(None, client)


@contextmanager
def server(folder: Path, *options: str) -> Iterator[Server]:
    """A new server in a folder, whose kernels know nbckpt."""
    write_gate(folder)
    runtime = folder / "runtime"
    spec = folder / "share" / "kernels" / "test"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "test", "language": "python"}))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("NBCKPT_", "COV", "PYTEST"))}
    env |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(folder)]),
        "NBCKPT_DATA_DIR": str(folder / "data"),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_PATH": str(folder / "share"),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "jupyter"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    port = _free_port()
    given = ["--no-browser", f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--allow-root"]
    given += [f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={_TOKEN}", *options]
    process = subprocess.Popen(
        [sys.executable, "-c", _START, *given],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Server(process, runtime, port)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        for path in runtime.glob("kernel-*.json"):
            path.unlink()


@contextmanager
def orphans_come_here() -> Iterator[None]:
    """Have the kernels of a killed server become children of this process, which learns what they exit with."""
    import ctypes

    set_subreaper = ctypes.CDLL(None).prctl
    assert set_subreaper(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
    try:
        yield
    finally:
        set_subreaper(36, 0, 0, 0, 0)
