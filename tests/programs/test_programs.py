"""Every program, killed at every boundary."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest

import programs
from programs.harness import Lab, Program

PROGRAMS: list[Program] = [
    program
    for module in pkgutil.iter_modules(programs.__path__)
    if not module.name.startswith("test_")
    for program in getattr(importlib.import_module(f"programs.{module.name}"), "PROGRAMS", ())
]


LONG = """
a_file_mapped_to_be_read a_list_of_a_great_many_links arrays_of_derived_classes assignments async_for_and_async_with
awaited_functions bars_that_are_enumerated blocks_in_blocks break_continue_else
classes_derived_from_the_standard_librarys classes_of_the_cell classes_with_slots collections_of_the_standard_library
columns_added_while_they_are_gone_through comprehension_over_all_sorts containers_with_a_maker_of_their_own
deep_structure functions_defined_again functions_with_a_cache how_python_is_set locals_and_globals_share
loops_of_every_kind_in_functions masks_that_are_shared methods_that_fit nbckpt_loops_nested nested_resumable_calls
numbers_taken_from_a_set opaque_loops optimizer_param_groups other_containers points_in_a_set queues_and_references
recursion_in_an_expression rows_changed_while_they_are_gone_through subclasses_that_register_themselves
tables_that_share_memory targets three_deep values_of_a_statement_are_kept values_put_under_keys_to_come walrus
ways_out_of_functions while_with_moving_condition wrappers_and_guarded_containers
""".split()
"""Those that take longest: they are killed with the slow tests, and the shorter ones by every run."""


def _marked() -> list[Any]:
    return [pytest.param(one, marks=[pytest.mark.slow] if one.name in LONG else []) for one in PROGRAMS]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the programs leave files open, as cells do
@pytest.mark.parametrize("program", _marked(), ids=str)
def test_killed_at_every_boundary_a_program_ends_as_if_it_had_not_been(program: Program, lab: Lab) -> None:
    """What the program's own line says, and that all runs end as the plain cell does."""
    lab.kill_everywhere(program)


def test_programs_have_names_of_their_own() -> None:
    """No program hides another."""
    names = [program.name for program in PROGRAMS]
    assert len(set(names)) == len(names) >= 45
    assert {*LONG} <= {*names}
