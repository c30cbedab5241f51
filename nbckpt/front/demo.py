"""`nbckpt demo`: kill a training half way, run it again, and compare with one that was left alone."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NbckptError
from .display import size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

NAME = "digits"
"""The checkpoint in the notebook."""
PATIENCE = 180.0
"""Seconds after which a kernel that came nowhere is given up."""

_NEEDED = ("ipykernel", "nbclient", "nbformat", "numpy", "sklearn")


def demo() -> int:
    """Tell the story on stdout, and return 0 if the killed run ended exactly as the undisturbed one."""
    if lacking := [module for module in _NEEDED if importlib.util.find_spec(module) is None]:
        raise NbckptError(f"the demo needs {', '.join(lacking)}: pip install 'nbckpt[demo]'")
    with tempfile.TemporaryDirectory(prefix="nbckpt-demo-") as folder, _environment(Path(folder)):
        return asyncio.run(_tell(Path(folder)))


def quickstart() -> Path:
    """Return where the notebook is: in the package, or beside it in a checkout."""
    here = Path(__file__).resolve()
    for path in (here.with_name("quickstart.ipynb"), here.parents[2] / "notebooks" / "quickstart.ipynb"):
        if path.exists():
            return path
    raise NbckptError(f"this installation of nbckpt lacks {here.with_name('quickstart.ipynb')}: install it again")


async def _tell(folder: Path) -> int:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    print("A network learns handwritten digits in a notebook. Its kernel will be killed half way.\n", flush=True)

    async with _kernel(folder / "killed") as first:
        say(f"the first kernel, process {first.pid}, runs the notebook")
        snapshot = await _half_way(first)
        say(f"a snapshot is safe on disk: {snapshot['progress']}, {snapshot['size']}")
        os.kill(first.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        await first.died()
        say(f"kill -9 {first.pid}: the kernel is dead and its memory is gone")

    async with _kernel(folder / "killed") as second:
        say(f"a second kernel, process {second.pid}, runs the same notebook from its first cell")
        killed = await second.result()
        for line in killed.status:
            say(line)

    async with _kernel(folder / "undisturbed") as third:
        say(f"a third kernel, process {third.pid}, runs the notebook in an empty store, undisturbed")
        undisturbed = await third.result()
        for line in undisturbed.status:
            say(line)

    resumed = any("resumed at" in line for line in killed.status)
    print("\nKilled and resumed, against undisturbed:\n")
    same = [_compare(title, getattr(killed, title), getattr(undisturbed, title)) for title in ("printed", "results")]
    for line in killed.results.splitlines():
        print(f"    {line}")
    if resumed and all(same):
        print("\nThe run that was killed ended exactly as the one that was left alone.")
        return 0
    print("\nThis is a bug in nbckpt:", "the results differ." if resumed else "the second kernel did not resume.")
    return 1


def _compare(title: str, killed: str, undisturbed: str) -> bool:
    same = killed == undisturbed and bool(killed.strip())
    count = len(killed.splitlines())
    print(f"  {title:8} {'identical' if same else 'DIFFERENT'}, {count} line{'s' * (count != 1)}")
    if not same:
        print(f"--- killed and resumed:\n{killed}\n--- undisturbed:\n{undisturbed}")
    return same


@dataclass(frozen=True, slots=True)
class _Ending:
    """What a finished notebook shows: what training printed, what the last cell did, the status line."""

    printed: str
    results: str
    status: list[str]


class _Running:
    """The notebook, being executed by a kernel of its own."""

    def __init__(self, store: Path, kernel: Any, notebook: Any, task: asyncio.Task[Any]) -> None:
        self.store, self._notebook, self._task = store, notebook, task
        self.pid: int = kernel.provisioner.pid

    @property
    def over(self) -> bool:
        """Whether the notebook came to its end."""
        return self._task.done()

    async def died(self) -> None:
        """Wait until the death of the kernel was noticed."""
        from nbclient.exceptions import DeadKernelError

        with contextlib.suppress(DeadKernelError):
            await self._task

    async def result(self) -> _Ending:
        """Wait for the end."""
        await self._task
        cells = {cell.id: cell.get("outputs", []) for cell in self._notebook.cells}
        status = [line for output in cells["train"] for line in _status_lines(output)]
        return _Ending(_printed(cells["train"]), _printed(cells["result"]), status)


@contextlib.asynccontextmanager
async def _kernel(folder: Path) -> AsyncIterator[_Running]:
    """Begin to execute the notebook in `folder`, in a new kernel of this Python."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    folder.mkdir(exist_ok=True)
    # no folders to search: whatever kernels the user has installed, it is this Python that runs the notebook
    specs = KernelSpecManager(kernel_dirs=[])
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)
    await kernel.start_kernel(cwd=str(folder), stderr=subprocess.DEVNULL)
    notebook = nbformat.read(quickstart(), as_version=4)
    silent = logging.getLogger("nbckpt.demo")
    silent.addHandler(logging.NullHandler())
    silent.propagate = False
    task = asyncio.ensure_future(NotebookClient(notebook, km=kernel, timeout=PATIENCE, log=silent).async_execute())
    try:
        yield _Running(folder / ".nbckpt", kernel, notebook, task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await kernel.shutdown_kernel(now=True)


async def _half_way(running: _Running) -> Mapping[str, str]:
    """Wait until a snapshot from past the middle of the training is committed; say what it holds."""
    from ..storage.repository import Repository

    deadline = time.monotonic() + PATIENCE
    while not running.over:
        saved = Repository.open(str(running.store), create=False).peek(NAME)
        if saved is not None:
            progress = str(saved.description.get("progress"))
            counted = re.search(r"(\d+) of (\d+)", progress)
            if counted and 2 * int(counted[1]) >= int(counted[2]):
                return {"progress": progress, "size": size(saved.size)}
        if time.monotonic() > deadline:
            raise NbckptError(f"the training came nowhere in {PATIENCE:.0f} s, so there was nothing to kill")
        await asyncio.sleep(0.05)
    await running.result()  # raises what ended it
    raise NbckptError("the training was over before it could be killed: this machine is too fast for the demo")


@contextlib.contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """Keep everything that the demo leaves in its folder, and the user's own settings out of the demo."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("NBCKPT_")]:
        del os.environ[name]
    os.environ["NBCKPT_DATA_DIR"] = str(folder / "keys")
    os.environ["IPYTHONDIR"] = str(folder / "ipython")
    os.environ["JUPYTER_RUNTIME_DIR"] = str(folder / "runtime")
    package = str(Path(__file__).resolve().parents[2])  # which a checkout need not have installed
    os.environ["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [before.get("PYTHONPATH")])])
    for library in ("OMP", "OPENBLAS", "MKL"):  # arrays this small: threads would only wait for each other
        os.environ[f"{library}_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _printed(outputs: list[Any]) -> str:
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


def _status_lines(output: Any) -> list[str]:
    if "nbckpt" not in output.get("metadata", {}):
        return []
    return str(output["data"]["text/plain"]).splitlines()
