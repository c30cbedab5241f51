"""Notebooks that are run without a person: what they exit with when they are stopped, and that they go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

from .notebook import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals to groups of processes")

_CELL = """%%checkpointed train --every 1h
import os, signal, time
from pathlib import Path
done = []
for k in range(6):
    if k == 2 and Path("stop").exists():
        Path("stop").unlink()
        STOP
    done.append(k)
"""
_FIFO = "open('here', 'w').close(); time.sleep(1)"


def _environment(folder: Path) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("NBCKPT_", "COV", "PYTEST"))}
    return env | {
        "PYTHONPATH": str(ROOT),
        "NBCKPT_DATA_DIR": str(folder / "data"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def _notebook(stop: str) -> nbformat.NotebookNode:
    v4 = nbformat.v4
    cells = ["%load_ext nbckpt", _CELL.replace("STOP", stop), "assert done == list(range(6))\nlen(done)"]
    return v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])


def test_an_interrupt_ends_the_run_of_a_notebook(folder: Path) -> None:
    """The cell fails as in plain Jupyter, what follows is not run, and the next run goes on."""
    (folder / "stop").touch()
    book = _notebook("os.kill(os.getpid(), signal.SIGINT)")
    options = {"resources": {"metadata": {"path": str(folder)}}, "kernel_name": "python3"}
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="KeyboardInterrupt"):
        nbclient.NotebookClient(book, **options).execute(env=_environment(folder))
    assert book.cells[2].execution_count is None
    nbclient.NotebookClient(book, **options).execute(env=_environment(folder))
    assert book.cells[2].execution_count is not None
    assert book.cells[2].outputs[0]["data"]["text/plain"] == "6"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_jupyter_execute_that_is_asked_to_end(number: int, folder: Path) -> None:
    """It exits with an error when the iteration in progress is saved, and the next one goes on behind it."""
    (folder / "stop").touch()
    os.mkfifo(folder / "here")
    nbformat.write(_notebook(_FIFO), folder / "book.ipynb")
    command = [sys.executable, "-c", "from nbclient.cli import main; main()", "--inplace", "book.ipynb"]
    process = subprocess.Popen(command, cwd=folder, env=_environment(folder), start_new_session=True)
    (folder / "here").read_bytes()
    process.send_signal(number)
    assert process.wait() != 0
    subprocess.run(command, cwd=folder, env=_environment(folder), check=True)
    outputs = str(nbformat.read(folder / "book.ipynb", 4).cells[1].outputs)
    assert "resumed at k 3 of 6" in outputs
