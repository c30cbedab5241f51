"""Real kernels, found on this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kernel)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a notebook lives."""
    place = tmp_path / "work"
    place.mkdir()
    return place


def interpreter(version: str) -> str:
    """An interpreter of a version in which a kernel with nbckpt can run, or skip the test by name."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = sys.executable if version == here else shutil.which(f"python{version}")
    if found is None:
        pytest.skip(f"there is no python{version} on this machine")
    needed = "import ipykernel, cloudpickle, blake3, xxhash, zstandard, platformdirs, numpy, tqdm"
    if subprocess.run([found, "-c", needed], capture_output=True, check=False).returncode:
        pytest.skip(f"{found} has no ipykernel or lacks a package of nbckpt's")
    return found
