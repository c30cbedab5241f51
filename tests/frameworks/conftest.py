"""Programs that need a library are skipped where it is not, except in a lane that expects it."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable

import pytest

from programs.harness import Program

EXPECTED = frozenset(os.environ.get("NBCKPT_EXPECTED_LIBRARIES", "").split())
"""Libraries that this environment was made for: to be without one is a failure."""


def needs(*libraries: str) -> None:
    """Skip the test, by name, where a library is missing; fail where the lane is there to test it."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            if library in EXPECTED:
                pytest.fail(f"this lane is to test {library}, which is not installed")
            pytest.skip(f"{library} is not installed")


@pytest.fixture
def available() -> Callable[[Program], None]:
    """Ask whether a program's libraries are here."""

    def available(program: Program) -> None:
        needs(*program.library.split())
        for library in program.library.split():  # so that all runs of it begin with what importing it does
            importlib.import_module(library)

    return available
