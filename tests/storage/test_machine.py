"""What a machine is taken to have: what this process may have of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbckpt.storage import machine


@pytest.mark.parametrize("version", [1, 2])
def test_the_memory_of_a_container(version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it may have less what it has, where files that are only cached are as good as free."""
    _, most, used = machine._LIMITS[2 - version]
    (tmp_path / most).write_text("10000\n")
    (tmp_path / used).write_text("9000\n")
    prefix = "total_" if version == 1 else ""
    (tmp_path / "memory.stat").write_text(f"anon 3000\n{prefix}inactive_file 4000\n{prefix}active_file 1000\n")
    monkeypatch.setattr(machine, "_LIMITS", ((tmp_path, most, used), (tmp_path / "none", most, used)))
    assert machine.free_memory() == 6000
    (tmp_path / most).write_text("max\n")
    assert machine.free_memory() > 10000


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a process has all processors here")
def test_processors_that_a_process_may_not_use() -> None:
    """Those of others are not counted, as in a job that was given some of a large machine's."""
    count = "import os\nfrom nbckpt.storage.machine import processors\nbefore = processors()\n"
    count += "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\nprint(before, processors())"
    done = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(os.sched_getaffinity(0))} 1\n"
