"""Which names a cell's state is made of: what it reads and binds, through the functions that it calls."""

from __future__ import annotations

import ast
import dis
import functools
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .caches import CACHED
from .home import DEFINITIONS, is_definition

_IPYTHONS = re.compile(
    r"_+|_i+|_i?\d+|In|Out|_[diso]h|_exit_code|get_ipython|exit|quit|open|__\w+__"
    r"|__(compiled_fn|resume_at|builtins_dict|import)_\w+"  # what torch.compile puts beside the code that it runs
)

_READS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_NAME", "DELETE_GLOBAL"}
_BINDS_GLOBAL = {"STORE_GLOBAL", "DELETE_GLOBAL"}
_BINDS = _BINDS_GLOBAL | {"STORE_NAME", "DELETE_NAME"}


@dataclass(frozen=True, slots=True)
class Names:
    """The global names that some code reads and binds."""

    reads: frozenset[str] = frozenset()
    binds: frozenset[str] = frozenset()

    def __or__(self, other: Names) -> Names:
        return Names(self.reads | other.reads, self.binds | other.binds)


@functools.lru_cache(maxsize=4096)
def names_in(code: types.CodeType, *, module: bool = False, inside: bool = True) -> Names:
    """The global names in a code object and, if `inside`, in the functions that it makes.

    `module` says that the names it binds itself are global, too.
    """
    instructions = [(step.opname, step.argval) for step in dis.get_instructions(code)]
    binding = _BINDS if module else _BINDS_GLOBAL
    names = Names(
        frozenset(name for operation, name in instructions if operation in _READS),
        frozenset(name for operation, name in instructions if operation in binding),
    )
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType) and inside:
            names |= names_in(inner)
    return names


def names_read_by_calling(names: Iterable[str], namespace: Mapping[str, Any]) -> frozenset[str]:
    """The names read while the notebook's functions of these names are called, not those that what they make reads."""
    found = set(names)
    waiting = list(found)
    while waiting:
        function = namespace.get(waiting.pop())
        if isinstance(function, types.FunctionType) and function.__globals__ is namespace:
            more = names_in(function.__code__, inside=False).reads - found
            found |= more
            waiting += more
    return frozenset(found)


def names_of_code(code: types.CodeType, namespace: Mapping[str, Any]) -> Names:
    """The global names of a function's code, and of the notebook's functions that it calls."""
    own = names_in(code)
    return own | names_of_definitions((namespace.get(name) for name in own.reads), namespace)


def names_of_definitions(values: Iterable[Any], namespace: Mapping[str, Any]) -> Names:
    """The global names that the notebook's functions among some values use, and those that they call in turn."""
    found, seen = Names(), set[str]()
    waiting = list(values)
    while waiting:
        for function in _functions_of(waiting.pop(), namespace):
            names = names_in(function.__code__)
            found |= names
            waiting += [namespace.get(name) for name in names.reads - seen]
            seen |= names.reads
    return found


def _functions_of(value: Any, namespace: Mapping[str, Any], depth: int = 4) -> Iterator[types.FunctionType]:
    """The notebook's functions that using a value may call."""
    if depth == 0:
        return
    parts: list[Any] = []
    if isinstance(value, types.FunctionType):
        if value.__globals__ is namespace:
            yield value
        parts = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        parts.append(getattr(value, "__wrapped__", None))
        parts += getattr(value, "registry", {}).values()  # of functools.singledispatch
    elif isinstance(value, CACHED):
        parts = [value.__wrapped__]
    elif isinstance(value, types.MethodType):
        parts = [value.__func__, value.__self__]
    elif isinstance(value, functools.partial):
        parts = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, (staticmethod, classmethod)):
        parts = [value.__func__]
    elif isinstance(value, property):
        parts = [value.fget, value.fset, value.fdel]
    elif isinstance(value, type):
        if any(getattr(base, "__module__", None) == "__main__" for base in value.__mro__):
            parts = [part for base in value.__mro__ for part in vars(base).values()]
            parts = [
                part for part in parts if callable(part) or isinstance(part, (property, staticmethod, classmethod))
            ]
    elif type(value).__module__ == "__main__":
        parts = [type(value)]
    for part in parts:
        yield from _functions_of(part, namespace, depth - 1)


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asking raises when there is nothing
    except ValueError:
        return False
    return True


@dataclass(slots=True)
class Selection:
    """The names that belong to a run's state; it only grows while the run goes on.

    `only` narrows what the analysis found, `exclude` is never saved.
    """

    names: set[str]
    binds: set[str]
    only: frozenset[str] | None = None
    exclude: frozenset[str] = frozenset()
    joined: set[str] = field(default_factory=set)
    """Other names that share objects with these."""
    before: dict[str, int] = field(default_factory=dict)
    """What each user name was bound to when the run began, by identity."""

    def start(self, namespace: Mapping[str, Any]) -> None:
        self.before = {name: id(value) for name, value in list(namespace.items())}

    def is_new(self, name: str, value: Any) -> bool:
        """Whether a name was bound to this since the run began."""
        return self.before.get(name) != id(value)

    def grow(self, names: Names) -> bool:
        """Add what else was found to be used; return whether that was anything."""
        known = len(self.names)
        self.names |= names.reads | names.binds
        self.binds |= names.binds
        return len(self.names) > known

    def held(self, namespace: Mapping[str, Any]) -> dict[str, Any]:
        """The variables that the analysis found."""
        return {name: namespace[name] for name in self.names if name in namespace}

    def chosen(self, namespace: Mapping[str, Any]) -> set[str]:
        """The names to save now: what the analysis found, and what was bound since the run began."""
        if self.only is not None:
            names = set(self.only)
        else:
            rebound = {name for name, value in list(namespace.items()) if self.is_new(name, value)}
            names = {name for name in self.names | rebound if name in self.binds or not is_ipythons(name)}
        return (names | self.joined) - self.exclude

    def others(self, namespace: Mapping[str, Any]) -> set[str]:
        """The user's names that are not to be saved now, and may be."""
        names = {name for name in list(namespace) if not is_ipythons(name)}
        return names - self.chosen(namespace) - self.exclude


def is_ipythons(name: str) -> bool:
    """Whether a name belongs to IPython or the interpreter rather than to the user."""
    return _IPYTHONS.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Contents:
    """A namespace's chosen names, by what a snapshot does with each."""

    data: dict[str, Any]
    modules: dict[str, str]
    definitions: dict[str, Any]
    missing: list[str]


def sort_names(names: Iterable[str], namespace: Mapping[str, Any]) -> Contents:
    """Tell data from modules and from the notebook's own functions and classes."""
    contents = Contents({}, {}, {}, [])
    for name in sorted(names):
        if name not in namespace:
            contents.missing.append(name)
        elif isinstance(value := namespace[name], types.ModuleType):
            contents.modules[name] = value.__name__
        elif isinstance(value, DEFINITIONS) and value.__qualname__ == name and is_definition(value):
            contents.definitions[name] = value
        elif value is not namespace:
            contents.data[name] = value
    return contents


# ---------------------------------------------------------------------------------------------------------
# what is alive at a boundary


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
            targets = getattr(node, "targets", None) or [node.target] if not isinstance(node, ast.Expr) else []
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
            own = frozenset(known | _own(body)) if isinstance(node.body, list) else frozenset(known)
            return frozenset().union(*map(_reads, first), *(_reads(part) - own for part in body))
        case _ if isinstance(node, (*_COMPREHENSIONS, ast.GeneratorExp)):
            return _reads(node.generators[0].iter) | _reads_of_elements(node)
    return _children(node)


def _children(node: ast.AST) -> frozenset[str]:
    return frozenset().union(*map(_reads, ast.iter_child_nodes(node)))


def _own(body: Sequence[ast.AST]) -> set[str]:
    """The names that a function's body binds for itself."""
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
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
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
