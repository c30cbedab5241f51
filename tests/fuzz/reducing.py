"""Making a failing program small: statements are taken out, and compound ones replaced by what is in them."""

from __future__ import annotations

import ast
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from .lane import Cell

_BLOCKS = ("body", "orelse", "finalbody")


def reduced(program: Cell, fails: Callable[[Cell], bool], *, seconds: float = 60) -> Cell:
    """The smallest program found in some time that still `fails`."""
    deadline = time.monotonic() + seconds
    smaller = True
    while smaller and time.monotonic() < deadline:
        smaller = False
        for candidate in _smaller(program):
            if time.monotonic() > deadline:
                break
            if _is_code(candidate) and fails(candidate):
                program, smaller = candidate, True
                break
    return program


def _is_code(program: Cell) -> bool:
    try:
        for text in (*program.before, program.cell):
            compile(text, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError):
        return False
    return True


def _smaller(program: Cell) -> Iterator[Cell]:
    """Programs that lack something of this one, the boldest first."""
    for index in range(len(program.before)):
        yield replace(program, before=program.before[:index] + program.before[index + 1 :])
    yield from (replace(program, cell=text) for text in _variants(program.cell))
    for index, text in enumerate(program.before):
        for variant in _variants(text):
            yield replace(program, before=(*program.before[:index], variant, *program.before[index + 1 :]))
    if program.before:
        yield replace(program, before=(), cell="\n".join([*program.before, program.cell]))


def _variants(text: str) -> Iterator[str]:
    module = ast.parse(text)
    places = list(_places(module))
    sizes = [8, 4, 2, 1] if len(places) > 12 else [2, 1]
    for size in sizes:
        for way in places:
            if (smaller := _without(module, way, size)) is not None:
                yield smaller
    for way in places:
        yield from _opened(module, way)
    yield from _simpler(module)


Way = tuple[tuple[str, int], ...]


def _places(node: ast.AST, way: Way = ()) -> Iterator[Way]:
    """The ways to all statements, outer ones first."""
    for block in _BLOCKS:
        for index, child in enumerate(getattr(node, block, ()) if not isinstance(node, ast.expr) else ()):
            yield (*way, (block, index))
            yield from _places(child, (*way, (block, index)))
    for index, handler in enumerate(getattr(node, "handlers", ())):
        yield from _places(handler, (*way, ("handlers", index)))


def _block(module: ast.AST, way: Way) -> tuple[list[ast.stmt], int]:
    node: ast.AST = module
    for name, index in way[:-1]:
        node = getattr(node, name)[index]
    block, index = way[-1]
    return getattr(node, block), index


def _without(module: ast.Module, way: Way, size: int) -> str | None:
    new = copy.deepcopy(module)
    block, index = _block(new, way)
    if index + size > len(block):
        return None
    del block[index : index + size]
    if not block and way[-1][0] == "body" and len(way) > 1:
        block.append(ast.Pass())
    text = ast.unparse(new)
    return text + "\n" if text != ast.unparse(module) else None


def _opened(module: ast.Module, way: Way) -> Iterator[str]:
    """A compound statement's blocks in its place."""
    block, index = _block(module, way)
    for name in _BLOCKS:
        if isinstance(getattr(block[index], name, None), list):
            new = copy.deepcopy(module)
            target, _ = _block(new, way)
            target[index : index + 1] = getattr(target[index], name)
            yield ast.unparse(new) + "\n"
    if getattr(block[index], "handlers", None):
        for number in range(len(block[index].handlers)):  # type: ignore[attr-defined]
            new = copy.deepcopy(module)
            target, _ = _block(new, way)
            del target[index].handlers[number]  # type: ignore[attr-defined]
            yield ast.unparse(new) + "\n"


def _simpler(module: ast.Module) -> Iterator[str]:
    """Shorter containers and calls, one at a time."""
    count = sum(1 for _ in ast.walk(module))
    for number in range(count):
        node = next(part for index, part in enumerate(ast.walk(module)) if index == number)
        for field in ("elts", "targets", "args", "keywords", "items", "names"):
            values = getattr(node, field, None)
            if not isinstance(values, list) or len(values) < (2 if field in ("targets", "items", "names") else 1):
                continue
            for index in range(len(values)):
                new = copy.deepcopy(module)
                twin = next(part for place, part in enumerate(ast.walk(new)) if place == number)
                del getattr(twin, field)[index]
                yield ast.unparse(new) + "\n"
        if isinstance(node, (ast.BinOp, ast.BoolOp, ast.IfExp)):
            for field in ("left", "right", "body", "orelse"):
                if (part := getattr(node, field, None)) is not None:
                    new = copy.deepcopy(module)
                    twin = next(piece for place, piece in enumerate(ast.walk(new)) if place == number)
                    yield ast.unparse(_Replace(twin, getattr(twin, field)).visit(new)) + "\n"
                    del part


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)
