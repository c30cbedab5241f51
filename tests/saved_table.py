"""The table of what is saved, made of the tests that show it: `python tests/saved_table.py` writes it anew."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "what-is-saved.md"

_HEAD = """\
# What is saved, and how exactly

This page is written by the tests (`python tests/saved_table.py`), and each line names those that show it. In
most of them a cell is killed at *every* moment at which it can be saved, resumed in a new kernel, and compared with the
cell that was left alone: values, types, which names are one object, output, random numbers, errors.

*Bit for bit* means that nothing can be told apart. *Statistically* means that the run goes on correctly, but draws
other random numbers than it would have drawn.
"""
_LIVE_HEAD = """\
## What is left out

These belong to the process that made them. A variable that holds one is left out with a note; if the rest of the cell
needs it, a resumed run says so by name. Make it again in a cell above, open it in a `with` around the loop, or teach
nbckpt how to: `nbckpt.register(type, save=..., load=...)`. Loggers and modules are kept by name.
"""
_REFUSALS_HEAD = """\
## What is refused, or said

Never a wrong result without a word: what cannot be the same run is an error before anything is touched.
"""
_REFUSALS = {
    "a variable that cannot be saved": "test_an_input_that_cannot_be_saved_is_named_with_its_path_before_anything_runs",
    "a name that each turn binds before it reads it": "test_names_always_assigned_before_they_are_read_never_block",
    "a lock or an open file that was made again": "test_a_live_resource_made_again_is_used",
    "one that was not": "test_a_live_resource_that_nothing_made_again_is_named",
    "a cell that reads `In` or `Out`": "test_a_cell_that_reads_the_kernels_history_is_refused",
    "a class taught with `nbckpt.register`": "test_registered_classes_are_saved_their_own_way",
    "a variable left out with `--exclude`": "test_what_is_excluded_is_not_saved_and_blocks_nothing",
    "something that cannot be saved, half way": (
        "test_what_turns_up_unpicklable_in_the_middle_leaves_the_run_unprotected_not_dead"
    ),
    "a generator that yields other items than it did": "test_a_generator_that_draws_other_items_is_refused",
    "an input with another value than it had": "test_an_input_that_differs_is_named_in_a_warning",
    "a file opened for writing around the loop": "test_a_file_that_a_resume_would_empty_is_not_opened",
    "a snapshot of another Python": "test_a_snapshot_of_another_python_is_refused",
}
_OUTSIDE = """\
## What no snapshot holds

- What happened outside the process. An iteration that was not saved runs again: a line that it appended to a file is
  appended twice, a request is sent twice. What an open transaction had not committed is gone with its connection, so
  commit in the iteration that writes.
- Settings that Python code makes in the process, where the statement that made them is not run again, but for those
  of `decimal`, NumPy, pandas, matplotlib, torch, JAX and Keras, `sys.path`, the recursion limit, levels of loggers and
  filters of warnings: handlers of loggers, hooks, attributes of modules. Make them in a cell above.
- What is in a mapped file (`np.memmap`) of more than 1 GiB that is written to: open it again in a cell above.
- Tracebacks of exceptions that are kept, and dictionaries keyed by `id()`.
"""
_ORDER = ["Variables", "Classes and functions", "Loops", "Random numbers", "Output", "Surroundings", "Python"]
"""The sections that come first; libraries follow by name."""
_EXACT = {"bitwise": "bit for bit", "statistical": "statistically"}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table, and where the program is that shows it."""

    section: str
    what: str
    exact: str
    says: str
    test: str


def rows() -> Iterator[Row]:
    """What the programs stand for, in the order in which they stand."""
    for package in ("programs", "frameworks"):
        for module in _modules(package):
            path = f"../tests/{package}/{module.__name__.rpartition('.')[2]}.py"
            for program in getattr(module, "PROGRAMS", ()):
                if program.row and not module.__name__.rpartition(".")[2].startswith("test_"):
                    section, _, what = program.row.partition(": ")
                    test = f"[{program.name}]({path})"
                    yield Row(section, what, _EXACT[program.exact], program.says, test)


def _modules(package: str) -> Iterable[ModuleType]:
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return [importlib.import_module(f"{package}.{module.name}") for module in found if module.name != "conftest"]


def page() -> str:
    """The whole page."""
    sections: dict[str, dict[tuple[str, str], list[Row]]] = {}
    for row in rows():
        sections.setdefault(row.section, {}).setdefault((row.what, row.exact), []).append(row)
    ordered = [name for name in _ORDER if name in sections]
    ordered += sorted(sections.keys() - set(_ORDER), key=str.lower)
    tables = [f"## {name}\n\n{_table(_lines(sections[name]))}" for name in ordered]
    return "\n".join([_HEAD, *tables, _notebooks(), _LIVE_HEAD, _live(), _REFUSALS_HEAD, _refusals(), _OUTSIDE])


def _lines(section: dict[tuple[str, str], list[Row]]) -> list[tuple[str, ...]]:
    return [
        (what, exact, " ".join(row.says for row in same), ", ".join(row.test for row in same))
        for (what, exact), same in section.items()
    ]


def _table(lines: Iterable[tuple[str, ...]], *columns: str) -> str:
    columns = columns or ("what", "comes back", "what holds", "shown by")
    cells = [columns, ("---",) * len(columns), *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in cells)


def _live() -> str:
    from nbckpt.state.adapters import live

    kinds: dict[str, list[str]] = {}
    for name, what in live.LIVE.items():
        kinds.setdefault(what, []).append(f"`{_public(name)}`")
    return _table(((what, ", ".join(names)) for what, names in sorted(kinds.items())), "what", "objects of")


def _refusals() -> str:
    path = "run/test_refusals.py"
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    tests = {node.name: ast.get_docstring(node) or "" for node in tree.body if isinstance(node, ast.FunctionDef)}
    lines = [
        (what, tests[name].partition("\n")[0], f"[{name.removeprefix('test_')}](../tests/{path})")
        for what, name in _REFUSALS.items()
    ]
    return _table(lines, "what", "what happens", "shown by")


_KNOWN_AS = {
    "_thread.lock": "threading.Lock",
    "_thread.RLock": "threading.RLock",
    "tempfile._TemporaryFileWrapper": "tempfile.NamedTemporaryFile",
}


def _public(name: str) -> str:
    """A class as a person knows it: without the private modules that it is made in."""
    parts = [part.lstrip("_") for part in name.split(".") if part != "_base"]
    return _KNOWN_AS.get(name, ".".join(parts))


def _notebooks() -> str:
    from notebooks.test_notebooks import BOOKS

    lines = [
        (f"[{book.title}](../tests/notebooks/{book.name}.ipynb)", ", ".join(book.library.split()) or "Python")
        for book in BOOKS
    ]
    head = (
        "## Whole notebooks\n\nKilled with SIGKILL at random moments, once and twice, and resumed in a new kernel, run "
        "from the top or from\nthe killed cell on; what they show and every variable are then those of an undisturbed "
        "run, bit for bit.\n\n"
    )
    return head + _table(lines, "notebook", "made with")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
