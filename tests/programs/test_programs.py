"""Every program, killed at every boundary."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import programs
from programs.harness import Lab, Program

PROGRAMS: list[Program] = [
    program
    for module in pkgutil.iter_modules(programs.__path__)
    if not module.name.startswith("test_")
    for program in getattr(importlib.import_module(f"programs.{module.name}"), "PROGRAMS", ())
]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the programs leave files open, as cells do
@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_killed_at_every_boundary_a_program_ends_as_if_it_had_not_been(program: Program, lab: Lab) -> None:
    """What the program's own line says, and that all runs end as the plain cell does."""
    lab.kill_everywhere(program)


def test_programs_have_names_of_their_own() -> None:
    """No program hides another."""
    names = [program.name for program in PROGRAMS]
    assert len(set(names)) == len(names) >= 45
