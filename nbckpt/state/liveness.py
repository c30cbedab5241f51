"""Which names still matter at each boundary of a cell: those that the rest of it may read before it binds them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Liveness:
    """The names that the rest of a cell may read before it binds them, from each boundary on.

    `before` has them by the path of the statement that a boundary stands before, `tops` by that of the loop whose
    next iteration it stands before, and `turns` too, where that iteration is sure to come; paths are those of the
    cell's plan. `remade` names what `with` statements
    bind: entering the statement again makes it again.
    """

    inputs: frozenset[str]
    before: Mapping[str, frozenset[str]]
    tops: Mapping[str, frozenset[str]]
    turns: Mapping[str, frozenset[str]]
    remade: frozenset[str]

    @property
    def later(self) -> frozenset[str]:
        """Names that matter at some boundary after the cell's first."""
        return frozenset().union(*(names for key, names in self.before.items() if key != "0"), *self.tops.values())


def liveness(body: Sequence[ast.stmt], is_guarded: Callable[[ast.stmt, str], bool]) -> Liveness:
    """Find what is alive, backwards through the code; where in doubt, a name is alive.

    `is_guarded` says whether there are boundaries between the statements of a statement's block.
    """
    functions = [node for part in body for node in ast.walk(part) if isinstance(node, _DEFERRED)]
    flow = _Flow(is_guarded, frozenset().union(*map(_reads_later, functions)))
    inputs = flow.block(body, frozenset(), _Exits(), "")
    contexts = [node for part in body for node in ast.walk(part) if isinstance(node, (ast.With, ast.AsyncWith))]
    targets = [item.optional_vars for node in contexts for item in node.items if item.optional_vars]
    return Liveness(inputs, flow.before, flow.tops, flow.turns, frozenset().union(*map(_stores, targets)))


@dataclass(frozen=True, slots=True)
class _Exits:
    """What is alive where `break`, `continue` and an exception lead."""

    on_break: frozenset[str] = frozenset()
    on_continue: frozenset[str] = frozenset()
    on_error: frozenset[str] = frozenset()


class _Flow:
    """Walks a cell backwards. A block's `path` is what its statements' paths begin with; None: no boundaries.

    `deferred` are the names that functions of the cell read: they may be called at any time.
    """

    def __init__(self, is_guarded: Callable[[ast.stmt, str], bool], deferred: frozenset[str]) -> None:
        self.is_guarded, self.deferred = is_guarded, deferred
        self.before: dict[str, frozenset[str]] = {}
        self.tops: dict[str, frozenset[str]] = {}
        self.turns: dict[str, frozenset[str]] = {}

    def block(self, body: Sequence[ast.stmt], after: frozenset[str], exits: _Exits, path: str | None) -> frozenset[str]:
        for index, node in reversed(list(enumerate(body))):
            key = None if path is None else f"{path}{index}"
            after = self.statement(node, after, exits, key) | exits.on_error
            if key is not None:
                self.before[key] = after | self.deferred
        return after

    def inner(self, node: Any, block: str, after: frozenset[str], exits: _Exits, key: str | None) -> frozenset[str]:
        """A block inside a statement: it has boundaries only if a loop in it makes them needed."""
        guarded = key is not None and self.is_guarded(node, block)
        return self.block(getattr(node, block), after, exits, f"{key}.{block}." if guarded else None)

    def statement(self, node: Any, after: frozenset[str], exits: _Exits, key: str | None) -> frozenset[str]:
        for path in _clauses(node, key) if key is not None else ():
            # what it will be added to, in an augmented assignment, is kept beside what it has made
            targets = getattr(node, "targets", None) or [part for part in (getattr(node, "target", None),) if part]
            self.tops[path] = (
                (after.difference(*map(_stores, targets)))
                | _reads_of_elements(node.value)
                | exits.on_error
                | self.deferred
            )
        match node:
            case ast.If():
                body = self.inner(node, "body", after, exits, key)
                return _before(node.test, body | self.inner(node, "orelse", after, exits, key))
            case ast.For() | ast.AsyncFor():
                return _reads(node.iter) | self.loop(node, after, exits, _stores(node.target), key)
            case ast.Match():
                ways = [after, *(self.case(case, after, exits) for case in node.cases)]
                return _before(node.subject, frozenset().union(*ways))
            case ast.While():
                return self.loop(node, after, exits, frozenset(), key)
            case ast.With() | ast.AsyncWith():
                # a context may swallow an exception, so what is alive after it is alive all through it
                exits = _Exits(exits.on_break, exits.on_continue, exits.on_error | after)
                body = self.inner(node, "body", after, exits, key)
                targets = [item.optional_vars for item in node.items if item.optional_vars]
                bound = frozenset().union(*map(_stores, targets))
                return (body - bound) | frozenset().union(*map(_reads, node.items))
            case ast.Break():
                return exits.on_break
            case ast.Continue():
                return exits.on_continue
            case ast.Raise() | ast.Return():
                return _reads(node) | exits.on_error
            case ast.AnnAssign():
                return (after - (_stores(node.target) if node.value else frozenset())) | _reads(node)
            case _ if isinstance(node, _BINDING):
                return (after - _stores(node)) | _reads(node)
            case _ if isinstance(node, _TRYING):
                return self.attempt(node, after, exits, key)
        return _before(node, after)

    def loop(
        self, node: Any, after: frozenset[str], exits: _Exits, targets: frozenset[str], key: str | None
    ) -> frozenset[str]:
        orelse = self.block(node.orelse, after, exits, None)
        test = node.test if isinstance(node, ast.While) else node.target
        if isinstance(test, ast.Constant) and test.value:  # left by a `break` only
            orelse = frozenset()
        top = _before(test, orelse)
        while True:  # what is alive at the top depends on itself, one iteration later
            inside = _Exits(after, top, exits.on_error)
            body = self.inner(node, "body", top, inside, key)
            wider = top | _before(test, body - targets) | exits.on_error
            if wider == top:
                break
            top = wider
        if key is not None:
            self.tops[key] = top | self.deferred
            self.turns[key] = (body - targets) | exits.on_error | self.deferred
        return top

    def attempt(self, node: Any, after: frozenset[str], exits: _Exits, key: str | None) -> frozenset[str]:
        """A `try`: from each statement of its body the way may lead to a handler."""
        if node.finalbody:  # it is passed on the way to wherever, and what comes then is not worth following
            anywhere = after | exits.on_break | exits.on_continue | exits.on_error
            after = self.block(node.finalbody, anywhere, exits, None)
            exits = _Exits(after, after, after)
        caught = [self.block(handler.body, after, exits, None) - {handler.name} for handler in node.handlers]
        asked = [_reads(handler.type) for handler in node.handlers if handler.type]
        orelse = self.block(node.orelse, after, exits, None)
        inside = _Exits(exits.on_break, exits.on_continue, exits.on_error.union(*caught, *asked))
        return self.inner(node, "body", orelse, inside, key)

    def case(self, case: ast.match_case, after: frozenset[str], exits: _Exits) -> frozenset[str]:
        """One way through a `match`, which binds the names in its pattern."""
        bound = {name for part in ast.walk(case.pattern) for name in (getattr(part, "name", None), _rest(part)) if name}
        body = self.block(case.body, after, exits, None)
        return ((_before(case.guard, body) if case.guard else body) - bound) | _reads(case.pattern)


_DEFERRED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.GeneratorExp)
_BINDING = (ast.Assign, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_TRYING: tuple[type[ast.stmt], ...] = (ast.Try, *([ast.TryStar] if hasattr(ast, "TryStar") else []))
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp)


def _rest(pattern: ast.AST) -> str | None:
    return pattern.rest if isinstance(pattern, ast.MatchMapping) else None


def _names(node: ast.AST, context: type[ast.expr_context]) -> frozenset[str]:
    return frozenset(part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, context))


def _before(node: ast.AST, after: frozenset[str]) -> frozenset[str]:
    """What is alive before some code that is run once, in which `:=` may bind a name for sure."""
    sure: set[str] = set()
    maybe: set[str] = set()
    for part in _unconditional(node):
        if isinstance(part, ast.NamedExpr):
            name, place = part.target.id, (part.lineno, part.col_offset)
            earlier = [
                other
                for other in ast.walk(node)
                if isinstance(other, ast.Name)
                and other.id == name
                and isinstance(other.ctx, ast.Load)
                and ((other.lineno, other.col_offset) < place or other in ast.walk(part.value))
            ]
            (maybe if earlier else sure).add(name)
    return (after - sure - maybe) | (_reads(node) - sure)


def _unconditional(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of an expression or simple statement that are evaluated whatever happens."""
    yield node
    match node:
        case ast.BoolOp():
            parts: list[ast.AST] = [node.values[0]]
        case ast.IfExp():
            parts = [node.test]
        case ast.Compare():
            parts = [node.left, node.comparators[0]]
        case ast.Assert():
            parts = []
        case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            parts = []
        case _:
            parts = [] if isinstance(node, ast.stmt) and hasattr(node, "body") else list(ast.iter_child_nodes(node))
    for part in parts:
        yield from _unconditional(part)


def _reads(node: ast.AST) -> frozenset[str]:
    """The names of the cell that some code reads, in functions and comprehensions those that are not their own."""
    match node:
        case ast.Name():
            return frozenset() if isinstance(node.ctx, ast.Store) else frozenset({node.id})
        case ast.AugAssign():
            return _children(node) | _names(node.target, ast.Store)
        case ast.Lambda() | ast.FunctionDef() | ast.AsyncFunctionDef():
            arguments = node.args
            known = {part.arg for part in ast.walk(arguments) if isinstance(part, ast.arg)}
            body = node.body if isinstance(node.body, list) else [node.body]
            first = [part for part in ast.iter_child_nodes(node) if part not in body]
            own = frozenset(known | names_bound(body)) if isinstance(node.body, list) else frozenset(known)
            return frozenset().union(*map(_reads, first), *(_reads(part) - own for part in body))
        case _ if isinstance(node, (*_COMPREHENSIONS, ast.GeneratorExp)):
            return _reads(node.generators[0].iter) | _reads_of_elements(node)
    return _children(node)


def _children(node: ast.AST) -> frozenset[str]:
    return frozenset().union(*map(_reads, ast.iter_child_nodes(node)))


def names_bound(body: Sequence[ast.AST]) -> set[str]:
    """The names that some code binds or deletes itself, as opposed to what it defines or calls."""
    found: set[str] = set()
    shared: set[str] = set()
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            shared |= set(node.names)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= _stores(node)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            found.add(node.id)
        if not isinstance(
            node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, *_COMPREHENSIONS, ast.GeneratorExp)
        ):
            waiting += ast.iter_child_nodes(node)
    return found - shared


def _reads_of_elements(node: Any) -> frozenset[str]:
    """What a comprehension reads besides the value that it goes over."""
    results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    later = [part for generator in node.generators for part in (generator.target, *generator.ifs)]
    rest = [generator.iter for generator in node.generators[1:]]
    own = frozenset().union(*(_names(generator.target, ast.Store) for generator in node.generators))
    return frozenset().union(*map(_reads, [*results, *later, *rest])) - own


def _reads_later(node: ast.AST) -> frozenset[str]:
    """What a function or generator reads when it runs, rather than when it is made."""
    return _reads_of_elements(node) if isinstance(node, ast.GeneratorExp) else _reads(node)


def _clauses(node: Any, key: str) -> list[str]:
    """The paths of the `for` clauses of a comprehension that is a statement's whole value."""
    value = getattr(node, "value", None)
    count = len(value.generators) if isinstance(value, _COMPREHENSIONS) else 0
    return [key + ".comp.0" * depth for depth in range(1, count + 1)]


def _stores(node: ast.AST) -> frozenset[str]:
    """The names that a statement or target surely binds."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return frozenset({node.name})
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return frozenset((alias.asname or alias.name).split(".")[0] for alias in node.names)
    if isinstance(node, ast.Assign):
        return frozenset().union(*map(_stores, node.targets))
    return _names(node, ast.Store)
