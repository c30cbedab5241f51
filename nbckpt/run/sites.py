"""Calls inside a statement at which the statement can be entered again: those of resumable functions.

A statement such as `x = g(a) + train(model, n)` is run again on resume with what it had evaluated before the call
as it was, and the call goes on instead of being made:

    x = (RUN.kept(k, 1) if RUN.keeps(k, 1) else RUN.keep(1, g(a))) + (
        RUN.again_call(k, 2)() if RUN.enters_call(k, 2) else RUN.at(k, 2, train)(model, n))

Everything that is evaluated earlier in the statement is kept, names too: the call may bind them anew. Calls in
lambdas, comprehensions, headers, and where `and`, `or` or a chain of comparisons may skip them are plain calls, and
all but those in lambdas say so when they are made: `RUN.as_a_whole(line, train)(model, n)`.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from typing import Any

from .syntax import at

_OPERATORS = {
    ast.Add: "iadd",
    ast.Sub: "isub",
    ast.Mult: "imul",
    ast.MatMult: "imatmul",
    ast.Div: "itruediv",
    ast.FloorDiv: "ifloordiv",
    ast.Mod: "imod",
    ast.Pow: "ipow",
    ast.LShift: "ilshift",
    ast.RShift: "irshift",
    ast.BitOr: "ior",
    ast.BitXor: "ixor",
    ast.BitAnd: "iand",
}


def called_name(call: ast.Call) -> str | None:
    """The last name of what is called: `fit` of `self.model.fit(x)`."""
    if isinstance(call.func, ast.Name):
        return call.func.id
    return call.func.attr if isinstance(call.func, ast.Attribute) else None


def has_site(node: ast.AST, names: frozenset[str]) -> bool:
    """Whether a simple statement calls a function of one of these names where it can be entered again."""
    if not names:
        return False
    if isinstance(node, ast.AugAssign) and not _is_simple(node.target):
        return False
    if isinstance(node, (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return)):
        return node.value is not None and _reaches(node.value, names)
    return False


def decorated(node: ast.AST) -> frozenset[str]:
    """The names of the functions that a piece of code decorates with `resumable`."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
            last = [getattr(one, "attr", getattr(one, "id", None)) for one in part.decorator_list]
            if "resumable" in last:
                found.add(part.name)
    return frozenset(found)


def rewrite_calls(node: Any, key: str, names: frozenset[str], call: Callable[..., ast.expr]) -> ast.stmt:
    """Make a statement's sites such; `call(method, *args)` makes a call of the frame's."""
    threads = _Threads(node, key, names, call)
    if isinstance(node, ast.AugAssign):
        return threads.augmented(node)
    node.value = threads.thread(node.value)
    rewritten: ast.stmt = node
    return rewritten


def tell_of_the_others(body: list[ast.stmt], names: frozenset[str], call: Callable[..., ast.expr]) -> None:
    """Have the calls say so that are left plain, in code whose sites are rewritten."""
    others = _Others(names, call)
    body[:] = [others.visit(node) for node in body]


class _Others(ast.NodeTransformer):
    """What runs later, and not in this code, is left alone: a frame is no part of it."""

    def __init__(self, names: frozenset[str], call: Callable[..., ast.expr]) -> None:
        self.names, self.call = names, call

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if _is_site(node, self.names):
            node.func = at(self.call("as_a_whole", ast.Constant(node.lineno), node.func), node.func)
        return node

    def visit_FunctionDef(self, node: Any) -> Any:
        node.decorator_list = [self.visit(part) for part in node.decorator_list]
        node.args.defaults = [self.visit(part) for part in node.args.defaults]
        node.args.kw_defaults = [part and self.visit(part) for part in node.args.kw_defaults]
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: Any) -> Any:
        return node

    visit_ClassDef = visit_GeneratorExp = visit_Lambda  # noqa: N815


class _Slot:
    """A place for a sub-expression, in its node's field or in a list there."""

    def __init__(self, holder: Any, name: Any) -> None:
        self.holder, self.name = holder, name

    def get(self) -> Any:
        return self.holder[self.name] if isinstance(self.holder, list) else getattr(self.holder, self.name)

    def set(self, node: ast.AST) -> None:
        if isinstance(self.holder, list):
            self.holder[self.name] = node
        else:
            setattr(self.holder, self.name, node)


def _slots(node: Any) -> Iterator[_Slot]:
    """The sub-expressions that are surely evaluated, in the order in which they are."""
    match node:
        case ast.Call():
            yield _Slot(node, "func")
            yield from _each(node.args)
            for keyword in node.keywords:
                yield _Slot(keyword, "value")
        case ast.BinOp():
            yield from (_Slot(node, "left"), _Slot(node, "right"))
        case ast.UnaryOp():
            yield _Slot(node, "operand")
        case ast.Compare():
            yield from (_Slot(node, "left"), _Slot(node.comparators, 0))
        case ast.BoolOp():
            yield _Slot(node.values, 0)
        case ast.IfExp():
            yield from (_Slot(node, "test"), _Slot(node, "body"), _Slot(node, "orelse"))
        case ast.NamedExpr() | ast.Starred() | ast.Attribute() | ast.Await() | ast.FormattedValue():
            yield _Slot(node, "value")
        case ast.Tuple() | ast.List() | ast.Set():
            yield from _each(node.elts)
        case ast.Dict():
            for index, name in enumerate(node.keys):
                if name is not None:
                    yield _Slot(node.keys, index)
                yield _Slot(node.values, index)
        case ast.Subscript():
            yield from (_Slot(node, "value"), _Slot(node, "slice"))
        case ast.Slice():
            yield from (_Slot(node, name) for name in ("lower", "upper", "step") if getattr(node, name) is not None)
        case ast.JoinedStr():
            yield from _each(node.values)


def _each(nodes: list[Any]) -> Iterator[_Slot]:
    return (_Slot(nodes, index) for index in range(len(nodes)))


def _is_site(node: ast.AST, names: frozenset[str]) -> bool:
    return isinstance(node, ast.Call) and called_name(node) in names


def _reaches(node: ast.AST, names: frozenset[str]) -> bool:
    return _is_site(node, names) or any(_reaches(slot.get(), names) for slot in _slots(node))


def _is_simple(target: ast.expr) -> bool:
    """Whether an augmented assignment to this can be spelled out."""
    return not (isinstance(target, ast.Subscript) and isinstance(target.slice, (ast.Slice, ast.Tuple)))


def _is_lookup(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and _is_lookup(node.value))


class _Threads:
    """Rewrites the expressions of one statement; parts are numbered as they were before, whatever the `names`."""

    def __init__(self, node: ast.AST, key: str, names: frozenset[str], call: Callable[..., ast.expr]) -> None:
        self.key, self.names, self.call = key, names, call
        self.numbers = {id(part): number for number, part in enumerate(ast.walk(node))}
        self.reaching = {id(part) for part in ast.walk(node) if _reaches(part, names)}
        self.parts = list(ast.walk(node))  # alive, so that no identity is used twice

    def thread(self, node: Any, *, awaited: bool = False) -> Any:
        """Rewrite an expression that a site is in."""
        if id(node) not in self.reaching:
            return node
        slots = list(_slots(node))
        inside = [index for index, slot in enumerate(slots) if id(slot.get()) in self.reaching]
        for index, slot in enumerate(slots[: inside[-1] + 1] if inside else []):
            part = slot.get()
            last = index == inside[-1]
            if isinstance(node, ast.IfExp) and index == 0:
                test = self.thread(part)
                truth = ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), test))  # its value may be another by then
                slot.set(test if last else self.keep(part, at(truth, part)))
            elif isinstance(node, ast.IfExp):
                slot.set(self.thread(part))  # of body and `orelse` only one is evaluated
            elif last:
                slot.set(self.thread(part, awaited=isinstance(node, ast.Await)))
            elif isinstance(slot.holder, ast.keyword) and slot.holder.arg is None:
                slot.set(self.keep(part, at(ast.Dict([None], [self.thread(part)]), part)))
            else:
                slot.set(self.kept_part(part))
        if not _is_site(node, self.names):
            return node
        name = [ast.Constant(self.key), ast.Constant(self.numbers[id(node)])]
        node.func = at(self.call("at", *name, node.func, ast.Constant(awaited)), node.func)
        again = ast.Call(self.call("again_call", *name), [], [])
        return at(ast.IfExp(self.call("enters_call", *name), again, node), node)

    def kept_part(self, part: Any) -> Any:
        """Rewrite what is evaluated before a site, so that it is evaluated once."""
        if isinstance(part, ast.Constant):
            return part
        if isinstance(part, ast.Starred):
            items = at(ast.Tuple([ast.Starred(self.thread(part.value), ast.Load())], ast.Load()), part)
            return at(ast.Starred(self.keep(part, items), ast.Load()), part)
        if isinstance(part, ast.FormattedValue):
            text = at(ast.JoinedStr([self.thread(part)]), part)
            return at(ast.FormattedValue(self.keep(part, text), -1, None), part)
        if isinstance(part, ast.Slice):
            for slot in _slots(part):
                slot.set(self.kept_part(slot.get()))
            return part
        return self.keep(part, self.thread(part))

    def keep(self, part: ast.AST, node: ast.expr) -> Any:
        """Have an expression's value kept, under the number of the part that it stands for."""
        number = ast.Constant(self.numbers[id(part)])
        name = ast.Constant(self.key)
        found = "_found" if _is_lookup(part) else ""
        keep = self.call(f"keep{found}", number, node)
        return at(ast.IfExp(self.call("keeps", name, number), self.call("kept", number), keep), part)

    def augmented(self, node: ast.AugAssign) -> ast.stmt:
        """Spell `x += f()` out: what `x` was before the call has to be kept."""
        target: Any = node.target
        before: Any
        if isinstance(target, ast.Name):
            before = ast.Name(target.id, ast.Load())
        elif isinstance(target, ast.Attribute):
            owner = self.once_more(target.value)
            before = ast.Attribute(self.keep(target.value, target.value), target.attr, ast.Load())
            target.value = owner
        else:
            parts = self.once_more(target.value), self.once_more(target.slice)
            kept = self.keep(target.value, target.value), self.keep(target.slice, target.slice)
            before = ast.Subscript(*kept, ast.Load())
            target.value, target.slice = parts
        frame: Any = self.call("operators")
        operator = ast.Attribute(frame.func, _OPERATORS[type(node.op)], ast.Load())
        value = ast.Call(operator, [self.keep(node.target, at(before, node.target)), self.thread(node.value)], [])
        assign: ast.stmt = at(ast.Assign([at(target, node.target)], at(value, node.value)), node)
        return assign

    def once_more(self, part: ast.expr) -> ast.expr:
        """The kept value of a part; what was merely looked up may not have been saved."""
        number = ast.Constant(self.numbers[id(part)])
        kept = self.call("kept", number)
        if not _is_lookup(part):
            return kept
        return ast.IfExp(self.call("keeps_any", number), kept, copy.deepcopy(part))
