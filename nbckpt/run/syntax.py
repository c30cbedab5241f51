"""The pieces that rewritten code is made of."""

from __future__ import annotations

import ast
import functools
import hashlib
from typing import Any

from . import RUN

# A header made of these only looks things up, and going over it draws no random numbers either: that of a loader does.
_PURE_CALLS = frozenset("range len".split())


def run() -> ast.expr:
    """A cell's frame, as the rewritten code finds it."""
    return ast.Name(RUN, ast.Load())


def call(method: str, *args: ast.expr, frame: str = RUN) -> ast.expr:
    """Call a method of the code's frame; a dotted one, of a part of it."""
    called: ast.expr = ast.Name(frame, ast.Load())
    for name in method.split("."):
        called = ast.Attribute(called, name, ast.Load())
    return ast.Call(called, list(args), [])


def at(node: Any, place: ast.AST) -> Any:
    """Give a new node, and what is new in it, the place of the code that it stands for."""
    ast.copy_location(node, place)
    for part in ast.walk(node):
        if isinstance(part, (ast.expr, ast.stmt)) and not hasattr(part, "lineno"):
            ast.copy_location(part, place)
    return node


def iterated(key: str, iterable: ast.expr, *, asynchronous: bool, frame: str = RUN) -> Any:
    """What a loop goes over: its iterable, or on the way back the items that are left of it."""
    enters = "enters" if _is_pure(iterable) else "enters_drawing"
    again, loop = ("async_again", "async_loop") if asynchronous else ("again", "loop")
    name = ast.Constant(key)
    left = call(again, name, frame=frame)
    return at(ast.IfExp(call(enters, name, frame=frame), left, call(loop, name, iterable, frame=frame)), iterable)


def fingerprint(*nodes: ast.AST | None) -> str:
    """Hash code by its meaning: comments, layout and line numbers never matter."""
    text = "\n".join(ast.unparse(node) for node in nodes if node is not None)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _is_pure(node: ast.expr) -> bool:
    """Whether a loop's header is `range(...)` or a display, of what is only looked up."""
    if not isinstance(node, (ast.Call, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Constant)):
        return False
    for part in ast.walk(node):
        if isinstance(part, ast.Call):
            if not (isinstance(part.func, ast.Name) and part.func.id in _PURE_CALLS):
                return False
        elif isinstance(part, (ast.GeneratorExp, ast.Await, ast.ListComp, ast.SetComp, ast.DictComp)):
            return False
    return True


@functools.lru_cache(maxsize=64)
def imported(lines: tuple[str, ...]) -> frozenset[str]:
    """The names that a file's own code imports, or as far as can be told of a cell with magics."""
    found: set[str] = set()
    try:
        waiting: list[ast.AST] = [ast.parse("".join(lines))]
    except SyntaxError:
        statements = [line.strip() for line in lines if line.startswith(("import ", "from "))]
        waiting = [ast.parse(line) for line in statements if _is_statement(line)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in part.names} - {"*"}
        elif isinstance(part, (ast.Module, ast.If, ast.Try, ast.ExceptHandler, ast.With, ast.For, ast.While)):
            waiting += ast.iter_child_nodes(part)
    return frozenset(found)


def _is_statement(line: str) -> bool:
    try:
        ast.parse(line)
    except SyntaxError:
        return False
    return True
