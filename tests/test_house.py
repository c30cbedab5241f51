"""The house: four floors, imports strictly downward, and nothing heavy on the stairs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import nbckpt

PACKAGE = Path(nbckpt.__file__).parent
FLOORS = ["front", "run", "state", "storage"]
GROUND = ["settings", "errors"]
"""What every floor may use; errors at the very bottom."""
YARD = "testing"
"""Beside the house: it may look in at every window, and nobody leans on it."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(source: str, place: str) -> list[str]:
    """The nbckpt modules that a file at `place` imports, wherever in it, by their names below nbckpt."""
    here = ["nbckpt", *Path(place).with_suffix("").parts]
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found += [f"{stem}.{alias.name}" for alias in node.names]
    own = [name.removeprefix("nbckpt.") for name in found if name.startswith("nbckpt.")]
    return [name for name in own if name != "__version__"]


def upward(source: str, place: str) -> list[str]:
    """Those of them that are on a higher floor."""
    first = place.split("/", maxsplit=1)[0].removesuffix(".py").replace("__init__", "")
    return [name for name in imports(source, place) if floor(name) < floor(first)]


def floor(name: str) -> int:
    """How far down a module stands; the package itself is the roof, and as far up is what nothing may import."""
    first = name.split(".", maxsplit=1)[0]
    order = ["", *FLOORS, *GROUND]
    return order.index(first) if first in order else 0


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    """A module imports only from its own floor and those below it."""
    assert not upward(path.read_text(), str(path.relative_to(PACKAGE)))


def test_the_walk_sees_an_import_upward() -> None:
    """The test above can fail: a module of the lowest floor that imports from a higher one is caught."""
    source = "from ..front import magics\nimport nbckpt.run.cell\nfrom ..errors import StoreError\n"
    assert upward(source, "storage/bad.py") == ["front.magics", "run.cell"]


def test_nothing_rests_on_the_tests() -> None:
    """No floor imports from the package for tests, and pytest is imported nowhere else."""
    assert upward("from nbckpt.testing.faults import Faulty", "storage/bad.py") == ["testing.faults.Faulty"]
    for path in modules():
        if path.relative_to(PACKAGE).parts[0] != YARD:
            assert "pytest" not in path.read_text(encoding="utf-8"), path


def test_no_two_modules_import_each_other() -> None:
    """Within a floor too, imports make no circle."""
    graph: dict[str, set[str]] = {}
    for path in modules():
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        known = {".".join(other.relative_to(PACKAGE).with_suffix("").parts) for other in modules()}
        targets = set(imports(path.read_text(), str(path.relative_to(PACKAGE))))
        graph[name] = {other for other in known if other in targets or any(t.startswith(f"{other}.") for t in targets)}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle of imports: {' -> '.join([*path, name])}"
        if name not in done:
            for target in graph.get(name, ()):
                visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running some code."""
    script = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


HEAVY = {"boto3", "fsspec", "numpy", "pandas", "cloudpickle", "zstandard", "blake3", "xxhash", "platformdirs"}
LOADED = {"nbckpt", "nbckpt.errors", "nbckpt.front", "nbckpt.front.magics", "nbckpt.run"}
"""All of the house that `%load_ext` opens: what runs a cell is imported by the first one."""


def test_import_is_light() -> None:
    """`import nbckpt` loads no library, not even IPython."""
    assert not loaded_after("import nbckpt") & (HEAVY | {"IPython"})


def test_loading_the_extension_is_light() -> None:
    """`%load_ext nbckpt` loads nothing of what the first checkpointed cell needs: no library, and no floor of ours."""
    shell = "from IPython.core.interactiveshell import InteractiveShell; s = InteractiveShell.instance(); "
    without = loaded_after(shell)
    loaded = loaded_after(f"{shell} s.run_line_magic('load_ext', 'nbckpt'); assert '%%checkpointed' or s")
    assert not (loaded - without) & HEAVY
    assert {name for name in loaded if name.partition(".")[0] == "nbckpt"} == LOADED


def test_public_names_are_there() -> None:
    """Every name that the package promises can be had from it, and an unknown one is refused by name."""
    for name in nbckpt.__all__:
        assert getattr(nbckpt, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        nbckpt.nonsense
