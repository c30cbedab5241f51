"""The demo, and the notebook that it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from nbckpt.errors import NbckptError
from nbckpt.front import demo
from nbckpt.front.cli import main

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"


@pytest.mark.kernel
def test_demo(tmp_path: Path) -> None:
    """A training killed half way resumes and ends as the undisturbed one; whatever the user has set, and tidily."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(temporary),
        "NBCKPT_STORE": str(tmp_path / "store"),
        "NBCKPT_EVERY": "banana",
        "NBCKPT_KEY": "none",
    }
    done = subprocess.run(
        [sys.executable, "-m", "nbckpt.front.cli", "demo"],
        capture_output=True,
        check=False,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    killed = re.search(r"a snapshot is safe on disk: epoch (\d+) of (\d+)", done.stdout)
    resumed = re.search(r"resumed at epoch (\d+) of", done.stdout)
    assert killed
    assert resumed
    assert int(killed[2]) / 2 <= int(killed[1]) <= int(resumed[1]) < int(killed[2])
    assert "printed  identical, 10 lines" in done.stdout
    assert "results  identical, 3 lines" in done.stdout
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "store").exists()


def test_missing_packages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the extra, the demo is one sentence that says what to install."""
    monkeypatch.setattr(demo, "_NEEDED", ("nbclient", "surely_not_installed"))
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == "nbckpt: the demo needs surely_not_installed: pip install 'nbckpt[demo]'\n"


def test_different_results_are_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo can fail: what differs, or shows nothing at all, is not called identical."""
    assert demo._compare("printed", "a\n", "a\n")
    assert not demo._compare("printed", "a\n", "b\n")
    assert not demo._compare("printed", "", "")
    assert "DIFFERENT" in capsys.readouterr().out


def test_environment_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo runs without the user's settings, and they are there again afterwards."""
    monkeypatch.setenv("NBCKPT_STORE", "mine")
    before = dict(os.environ)
    with demo._environment(tmp_path):
        assert "NBCKPT_STORE" not in os.environ
    assert dict(os.environ) == before


def test_the_notebook_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The notebook is in a checkout and in an installed package; an installation without it says so."""
    assert nbformat.read(demo.quickstart(), as_version=4) == nbformat.read(NOTEBOOK, as_version=4)
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "a" / "b" / "demo.py"))
    with pytest.raises(NbckptError, match="lacks"):
        demo.quickstart()


def test_the_notebook_is_clean() -> None:
    """What is shipped is a valid notebook of today's format, with ids, without outputs."""
    notebook = nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code] == ["load", "data", "definitions", "train", "result"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
