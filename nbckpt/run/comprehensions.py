"""Rewriting a comprehension that is a statement's whole value, so that it can be entered again where it was left.

It stays a comprehension, because so its variables stay its own, and each of its `for` clauses is a loop of the
plan. What was made so far is kept by the run, and the rewritten comprehension itself comes out empty:

    {f(x, y) for x in xs if c for y in x}    =>    RUN.comprehensions.result(
                                                       {None for items, add in RUN.loop("3.comp.0", xs)
                                                        for x in items if RUN.returning or c
                                                        for y in RUN.loop("3.comp.0.comp.0", x) if add(f(x, y))})

A list over one clause is made at full speed, in stretches that end where the clock wants a boundary:

    [f(x) for x in xs if c]    =>    RUN.comprehensions.result(
                                         [add([f(x) for x in items if c]) for items, add in RUN.loop("3.comp.0", xs)])

Its first iterable is evaluated outside of a comprehension, here as there. Functions made inside share the variables
of the comprehension: then there may be only one, and it watches who holds on to them.
"""

from __future__ import annotations

import ast
from typing import Any

from .position import Statement
from .syntax import at, call, fingerprint, iterated, run

_KINDS = {ast.ListComp: "list", ast.SetComp: "set", ast.DictComp: "dict"}
_ADDING = {ast.Add: "iadd", ast.BitOr: "ior"}
_ITEMS, _ADD, STRETCH = "__nbckpt_items__", "__nbckpt_add__", "__nbckpt_stretch__"
"""Variables of rewritten comprehensions; the last one is of those that stand around the user's own."""


def value_of(node: ast.stmt) -> Any:
    """The comprehension that is a statement's whole value, or None."""
    match node:
        case ast.Assign(value=value) | ast.AnnAssign(value=value) | ast.Expr(value=value):
            return value if type(value) in _KINDS else None
        case ast.AugAssign(target=ast.Name(), op=op, value=value) if type(op) in _ADDING:
            return value if type(value) in _KINDS else None
    return None


def header(node: Any) -> str:
    """What may not change while it is in progress: what it makes, and what that is added to."""
    to = f"{ast.unparse(node.target)} {type(node.op).__name__} " if isinstance(node, ast.AugAssign) else ""
    return to + _KINDS[type(value_of(node))]


def clauses(node: ast.stmt, key: str) -> dict[str, Statement]:
    """The statements of the plan that its `for` clauses are, one inside the other."""
    found = {}
    value = value_of(node)
    for index, clause in enumerate(value.generators):
        rest = value.generators[index + 1 :]
        key = f"{key}.comp.0"
        found[key] = Statement(
            key,
            "async for" if clause.is_async else "for",
            fingerprint(clause.target, clause.iter),
            fingerprint(clause, *rest, *_elements(value)),
            clause.target.lineno,
            ast.unparse(clause.target)[:80],
            ast.unparse(clause).strip()[:80],
            fingerprint(*clause.ifs, *rest, *_elements(value)),
            nested=bool(rest),
            gathers="" if index else _KINDS[type(value)],
        )
    return found


def rewritten(node: Any, key: str, *, shown: bool) -> list[ast.stmt]:
    """The statement with its comprehension rewritten; `key` is its path.

    If it is an expression that is `shown`, its value is left for `expression`.
    """
    value = value_of(node)
    made = at(_rewritten(value, f"{key}.comp.0"), value)
    if shown:  # a condition, because a shell that is set to show all expressions would show this one
        return [at(ast.If(made, [ast.Pass()], []), node)]
    if not isinstance(node, ast.AugAssign):
        node.value = at(call("comprehensions.result", made), value)
        return [node]
    # what is added to is looked up before the comprehension begins, and elements may bind its name anew
    name = ast.Name(ast.unparse(node.target), ast.Load())
    keep = ast.Expr(call("comprehensions.keep", ast.Constant(f"{key}.comp.0"), name))
    begun = ast.If(ast.UnaryOp(ast.Not(), _returning()), [keep], [])
    total = call("comprehensions.added", ast.Constant(_ADDING[type(node.op)]), made)
    return [at(begun, node), at(ast.Assign([node.target], total), node)]


def expression(node: ast.stmt, *, last: bool) -> ast.stmt:
    """The value of a comprehension that was made by the statement before; of the cell's `last`, or of another one."""
    made = call("comprehensions.result")
    if last:
        ready = ast.Attribute(ast.Attribute(run(), "comprehensions", ast.Load()), "ready", ast.Load())
        made = ast.IfExp(ready, call("end", made), call("ended"))
    shown: ast.stmt = at(ast.Expr(made), node)
    return shown


def _rewritten(value: Any, key: str) -> Any:
    captured = _captured(value)
    awaits = any(isinstance(part, ast.Await) for part in ast.walk(value)) or any(g.is_async for g in value.generators)
    first, *rest = value.generators
    source = iterated(key, first.iter, asynchronous=bool(first.is_async))
    stretched = isinstance(value, ast.ListComp) and not (rest or captured or awaits)
    items = STRETCH if stretched else _ITEMS
    first.iter = at(ast.Name(items, ast.Load()), source)
    pair = ast.Tuple([ast.Name(items, ast.Store()), ast.Name(_ADD, ast.Store())], ast.Store())
    pieces = ast.comprehension(pair, source, [], 0)
    if stretched:
        return ast.ListComp(_add(ast.ListComp(value.elt, [first])), [pieces])
    inner = key
    for clause in rest:
        inner = f"{inner}.comp.0"
        clause.iter = iterated(inner, clause.iter, asynchronous=bool(clause.is_async))
    for clause in value.generators[:-1]:  # on the way back to a clause inside, those around it were passed before
        clause.ifs = [at(ast.BoolOp(ast.Or(), [_returning(), condition]), condition) for condition in clause.ifs]
    if captured:
        nothing = ast.arguments([], [], None, [], [], None, [])
        cells = ast.Lambda(nothing, ast.Tuple([ast.Name(name, ast.Load()) for name in captured], ast.Load()))
        first.ifs.insert(0, call("comprehensions.watch", ast.Constant(key), cells))
    elements = _elements(value)
    if isinstance(value, ast.ListComp):
        elements = [ast.Tuple(elements, ast.Load())]
    value.generators[-1].ifs.append(_add(*elements))  # gives None, so that the comprehension itself comes out empty
    value.generators.insert(0, pieces)
    if isinstance(value, ast.DictComp):
        value.key = value.value = ast.Constant(None)
    else:
        value.elt = ast.Constant(None)
    return value


def _elements(value: Any) -> list[ast.expr]:
    return [value.key, value.value] if isinstance(value, ast.DictComp) else [value.elt]


def _captured(value: Any) -> list[str]:
    """The comprehension's variables that functions and generators made in it may hold on to."""
    first, *rest = value.generators
    inside = [*_elements(value), *first.ifs, *rest]
    functions = [part for node in inside for part in ast.walk(node) if isinstance(part, (ast.Lambda, ast.GeneratorExp))]
    read = {part.id for node in functions for part in ast.walk(node) if isinstance(part, ast.Name)}
    return sorted(read & _variables(value))


def _variables(value: Any) -> set[str]:
    targets = [part for clause in value.generators for part in ast.walk(clause.target)]
    return {part.id for part in targets if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def _add(*elements: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(_ADD, ast.Load()), list(elements), [])


def _returning() -> ast.expr:
    return ast.Attribute(run(), "returning", ast.Load())
