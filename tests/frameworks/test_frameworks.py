"""Every library's programs, killed at every boundary."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

import pytest

import frameworks
from programs.harness import Lab, Program

_NOT_PROGRAMS = ("conftest", "forms", "test_")
PROGRAMS = [
    program
    for module in pkgutil.iter_modules(frameworks.__path__)
    if not module.name.startswith(_NOT_PROGRAMS)
    for program in importlib.import_module(f"frameworks.{module.name}").PROGRAMS
]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")  # Keras, of its own variables
def test_a_library_ends_as_if_it_had_not_been_killed(
    program: Program, lab: Lab, available: Callable[[Program], None]
) -> None:
    """What the program's own line says, and that all runs end as the plain cell does."""
    available(program)
    lab.plain(program)  # a library that is imported for the first time may draw random numbers
    lab.kill_everywhere(program)
