"""Which resumable functions a cell is about to import: they are known before the cell runs, which is then rewritten.

No module is run for that. Files are looked at, of modules that nobody has imported yet: those that the cell names, and
where these only hand a name on (`from .steps import train`), those that they have it from; but installed packages are
large, and are not gone through.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from .sites import decorated

_HANDED_ON = 8
"""How many modules a name may be handed on by."""
_INSTALLED = tuple(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def names_to_come(module: ast.Module) -> frozenset[str]:
    """The names of the resumable functions in the modules that some code imports and nobody has imported before."""
    found: frozenset[str] = frozenset()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _names_in(alias.name, frozenset(), _HANDED_ON)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= _names_from(node.module, frozenset(alias.name for alias in node.names), _HANDED_ON)
    return found


def _names_from(name: str, taken: frozenset[str], left: int) -> frozenset[str]:
    """What `from name import ...` may bring: what is in that module, or in modules of that package."""
    inside = (_names_in(f"{name}.{part}", frozenset(), left) for part in taken - {"*"})
    return _names_in(name, taken, left).union(*inside)


def _names_in(name: str, wanted: frozenset[str], left: int) -> frozenset[str]:
    """The names of the resumable functions in a module, and in those that it has the `wanted` names from."""
    if name in sys.modules or not left or (spec := _found(name)) is None:
        return frozenset()
    path = Path(spec.origin or "")
    if path.suffix != ".py" or not path.is_file():
        return frozenset()
    text = path.read_bytes()
    hands_on = b"import" in text and bool(wanted) and not str(path).startswith(_INSTALLED)
    if b"resumable" not in text and not hands_on:
        return frozenset()
    try:
        tree = ast.parse(text)
    except SyntaxError:  # importing it will say so
        return frozenset()
    found = decorated(tree)
    for node in tree.body if hands_on else ():
        if isinstance(node, ast.ImportFrom) and (taken := _taken(node, wanted)):
            found |= _names_from(_absolute(node, name, spec), taken, left - 1)
    return found


def _taken(node: ast.ImportFrom, wanted: frozenset[str]) -> frozenset[str]:
    """The names in another module of what a module imports from there and is wanted."""
    bound = {alias.asname or alias.name: alias.name for alias in node.names}
    if "*" in bound:
        return wanted
    return frozenset(there for here, there in bound.items() if here in wanted or "*" in wanted)


def _absolute(node: ast.ImportFrom, name: str, spec: ModuleSpec) -> str:
    """The full name of the module that a module imports from."""
    if not node.level:
        return node.module or ""
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    for _ in range(node.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{node.module}" if node.module else package


def _found(name: str) -> ModuleSpec | None:
    """Find a module without importing the packages that it is in."""
    places: list[str] | None = None
    words = name.split(".")
    spec: ModuleSpec | None = None
    for end in range(1, len(words) + 1):
        spec = PathFinder.find_spec(".".join(words[:end]), places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or ())
    return spec
