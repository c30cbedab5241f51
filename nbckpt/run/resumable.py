"""`@nbckpt.resumable`: functions that a run may go on in the middle of.

The function itself stays as it is, with a note of its source. Only where a run calls it from a place that it can
enter again is another version made of it, rewritten as a cell is, which finds its frame in a closure variable.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import linecache
import sys
import types
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from ..errors import OptionError
from ..state.liveness import Liveness, liveness
from .instrument import Rewriter, is_guarded
from .position import Plan
from .sites import tell_of_the_others
from .syntax import at, imported

FRAME = "__nbckpt_frame__"
"""The closure variable by which a rewritten function finds its frame."""
MARK = "__nbckpt_resumable__"
"""The attribute that has a resumable function's source."""
FUNCTIONS: weakref.WeakSet[types.FunctionType] = weakref.WeakSet()
"""Those that were decorated."""
MADE: list[Callable[[types.FunctionType], None]] = []
"""Whom to tell of a function that was decorated."""
NAMES: set[str] = set()
"""The names of all resumable functions of this process, and of those that use `nbckpt.loop`."""
DOORS: weakref.WeakKeyDictionary[types.FunctionType, Any] = weakref.WeakKeyDictionary()
"""What stands for the code of a function while a block is open that answers its calls."""

_FACTORY, _FUNCTION = "__nbckpt_factory__", "__nbckpt_function__"
_FUTURES = sum(
    getattr(__import__("__future__"), name).compiler_flag for name in __import__("__future__").all_feature_names
)
_LOOKS = frozenset({"locals", "vars", "dir"})

Function = TypeVar("Function", bound=Callable[..., Any])


def resumable(function: Function) -> Function:
    """Let a run go on inside this function: a decorator.

    Called from a checkpointed cell, or from another resumable function that was called so, by its name in a plain
    statement (`model = train(data)`, `self.fit()`, `return f(n - 1) + f(n - 2)`),
    the function's local variables and the progress of its loops are part of the snapshot, and a resumed run goes on
    in its middle. So it is when a `with nbckpt.checkpointed(...)` block calls it, which `checkpointed` tells more of.
    Called from anywhere else it is the plain function, also by the function that another decorator puts around it; a
    line says so where the cell itself calls it in a header, a comprehension, or after `and` or `or`.

    >>> import nbckpt
    >>> @nbckpt.resumable
    ... def total(numbers):
    ...     result = 0
    ...     for number in numbers:
    ...         result += number
    ...     return result
    >>> total([1, 2, 3])
    6

    Raises:
        OptionError: this is not a function written in Python, or a generator, whose middle nobody can call.
    """
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(resumable(function.__func__))
    if not isinstance(function, types.FunctionType):
        raise OptionError(f"@nbckpt.resumable is for functions written with `def`, and {function!r} is not one")
    name = function.__qualname__
    if hasattr(function, "__wrapped__"):
        raise OptionError(f"{name} is wrapped by another decorator: @nbckpt.resumable is for the function alone")
    if function.__code__.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        raise OptionError(
            f"{name} is a generator, which @nbckpt.resumable cannot make resumable: put the decorator on the "
            "function that loops over it"
        )
    source = _source_of(function.__code__, function.__qualname__, function.__globals__)
    if source is None:
        warnings.warn(
            f"the source of {name} is not to be found as it was compiled, so @nbckpt.resumable leaves it an ordinary "
            "function, which is never entered in its middle",
            stacklevel=2,
        )
    else:
        setattr(function, MARK, source)
        FUNCTIONS.add(function)
        for tell in MADE:
            tell(function)
    return function


def source_of(called: Any) -> Source | None:
    """The source of a resumable function; None for anything else, also for what merely wraps one."""
    if type(called) is not types.FunctionType or (source := called.__dict__.get(MARK)) is None:
        return None
    door = DOORS.get(called)
    return source if source.is_of(door.code if door else called.__code__) else None


def names_among(values: Mapping[str, Any]) -> frozenset[str]:
    """Those of some names that are bound to resumable functions."""
    return frozenset(name for name, value in list(values.items()) if source_of(value) is not None)


class Source:
    """The text of one function, so that it can be rewritten wherever it came to."""

    def __init__(self, text: str, line: int, code: types.CodeType, qualname: str) -> None:
        self.text, self.line, self.qualname = text, line, qualname
        self.name, self.filename = code.co_name, code.co_filename
        self.flags = code.co_flags & _FUTURES
        self.asynchronous = bool(code.co_flags & inspect.CO_COROUTINE)
        self.free = code.co_freevars
        self.digest = _digest(code)
        self._code: types.CodeType | None = code
        NAMES.add(self.name)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_code": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        NAMES.add(self.name)

    def is_of(self, code: types.CodeType) -> bool:
        """Whether this is what that code was compiled from."""
        if self._code is not code and _digest(code) == self.digest:
            self._code = code
        return self._code is code

    @property
    def owner(self) -> str:
        """The class that the function's private names are those of, or nothing."""
        names = self.qualname.split(".")
        classes = [name for name, inner in pairwise(names) if "<locals>" not in (name, inner)]
        return classes[-1] if classes else ""

    def parsed(self) -> Any:
        """The function's definition, with the line numbers that it has in its file."""
        indented = self.text[:1].isspace()
        module = ast.parse(f"if 1:\n{self.text}" if indented else self.text)
        node: Any = module.body[0].body[0] if indented else module.body[0]  # type: ignore[attr-defined]
        return ast.increment_lineno(node, self.line - 1 - indented)

    def compiled(self, node: Any, free: Iterable[str], imported: Iterable[str] = ()) -> types.CodeType:
        """Compile the function, with some names as variables of a closure.

        The names that the same file has `imported` make a difference: newer Pythons call what is in them otherwise.
        """
        owner, free = self.owner, sorted(free)
        node.name = _FUNCTION  # under its own name it would be the factory's, and not the one that it calls
        inner: Any = at(ast.ClassDef(owner, [], [], [node], []), node) if owner else node
        if owner and sys.version_info >= (3, 12):
            inner.type_params = []
        factory: Any = ast.parse(f"def {_FACTORY}(): pass").body[0]
        factory.body = [ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None)) for name in free]
        within = f"{_FACTORY}.<locals>."
        if owner and owner not in free:
            factory.body.append(ast.Global([owner]))
            within = ""
        factory.body.append(inner)
        imports: list[ast.stmt] = [ast.Import([ast.alias(name)]) for name in imported]
        module = ast.fix_missing_locations(ast.Module([*imports, factory], []))
        code = compile(module, self.filename, "exec", self.flags, dont_inherit=True)
        found = next(one for one in codes(code) if one.co_name == _FUNCTION)
        within += f"{owner}.{_FUNCTION}" if owner else _FUNCTION
        return _renamed(found, within, self.qualname).replace(co_name=self.name)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A function as a run executes it. `entry` begins it, `reentry` takes it up again, without parameters."""

    source: Source
    plan: Plan
    alive: Liveness
    text: str
    entry: types.CodeType
    reentry: types.CodeType
    local: tuple[str, ...]
    """Its local variables."""
    looks: bool
    """Whether it looks at its local variables as a dict."""

    @property
    def cells(self) -> tuple[str, ...]:
        """Its variables that functions inside it share."""
        return self.entry.co_cellvars


@functools.lru_cache(maxsize=256)
def rewritten(source: Source, names: frozenset[str]) -> Rewritten:
    """Rewrite a function; `names` are those of the functions at whose calls it can be entered again."""
    node = source.parsed()
    bound, declared = _bound_names(node)
    cells = source.compiled(node, source.free).co_cellvars
    local = tuple(sorted(mangled(bound - declared, source.owner) - set(cells)))
    alive = liveness(node.body, lambda part, block: is_guarded(part, block, names, in_cell=False))
    codes = []
    for again in (False, True):
        node = source.parsed()
        text = ast.unparse(node)
        rebound = {*local, *cells, *source.free} if again else set()
        rewriter = Rewriter(names, {}, FRAME, functools.partial(_put_back, rebound))
        _Looks(again, source).visit_body(node)
        first = _statement(f"with {FRAME}: pass")
        body = rewriter.block(node.body, "")
        tell_of_the_others(body, names, rewriter.call)
        if again:
            opening = [part for name in local for part in _take(name)]
        else:
            shown = ", ".join(cells)
            opening = [_statement(f"{FRAME}.share((lambda: ({shown},)).__closure__)")] if cells else []
        first.body = [*opening, *body]
        at(first, node.body[0])
        for part in opening:
            at(part, node.body[0])
        node.body = [_statement(f"nonlocal {', '.join(cells)}")] if again and cells else []
        node.body.append(first)
        free = {*source.free, FRAME}
        if again:
            node.args = ast.arguments([], [], None, [], [], None, [])
            _Unannotated().visit(first)
            free |= set(cells)
        codes.append(source.compiled(node, free))
    looks = bool(_LOOKS & set(codes[0].co_names))  # then it may hold such a dict
    entry, reentry = codes
    return Rewritten(source, Plan(rewriter.statements), alive, text, entry, reentry, local, looks)


# ---------------------------------------------------------------------------------------------------------
# source


@functools.lru_cache(maxsize=1024)
def _cached_source(code: types.CodeType, qualname: str, lines: tuple[str, ...]) -> Source | None:
    try:
        text = "".join(inspect.getblock(list(lines[code.co_firstlineno - 1 :])))
        source = Source(text, code.co_firstlineno, code, qualname)
        # a cell's statements are compiled one by one, a module as a whole
        plain = [source.compiled(source.parsed(), source.free, names) for names in ((), imported(lines))]
    except (SyntaxError, IndexError, StopIteration, AttributeError):  # these lines are not a function's
        return None
    return source if any(same_code(one, code) for one in plain) else None


def _source_of(code: types.CodeType, qualname: str, namespace: dict[str, Any]) -> Source | None:
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, namespace)
    return _cached_source(code, qualname, tuple(lines)) if lines else None


def _digest(code: types.CodeType) -> str:
    found = [repr((one.co_name, one.co_code, one.co_names, one.co_varnames, one.co_freevars)) for one in codes(code)]
    return hashlib.blake2b("".join(found).encode(), digest_size=16).hexdigest()


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and all those inside it."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from codes(inner)


def same_code(one: types.CodeType, other: types.CodeType) -> bool:
    """Whether two code objects do the same."""
    plain = [[part for part in code.co_consts if not isinstance(part, types.CodeType)] for code in (one, other)]
    return _digest(one) == _digest(other) and repr(plain[0]) == repr(plain[1])


def _renamed(code: types.CodeType, before: str, after: str) -> types.CodeType:
    """Code whose inner functions and classes have the qualified names that they have in their file."""

    def renamed(part: Any) -> Any:
        if isinstance(part, types.CodeType):
            return _renamed(part, before, after)
        return after + part[len(before) :] if isinstance(part, str) and part.startswith(before) else part

    changes: dict[str, Any] = {"co_consts": tuple(map(renamed, code.co_consts))}
    if sys.version_info >= (3, 11):
        changes["co_qualname"] = renamed(code.co_qualname)
    return code.replace(**changes)


# ---------------------------------------------------------------------------------------------------------
# names


def _bound_names(node: Any) -> tuple[set[str], set[str]]:
    """The names that a function's own code binds, and those of them that it declares to be another's."""
    arguments = node.args
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    bound, declared = {one.arg for one in given if one}, set[str]()
    waiting: list[ast.AST] = list(node.body)
    while waiting:
        part = waiting.pop()
        match part:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                bound.add(part.name)
                waiting += part.decorator_list
                continue
            case ast.Lambda():
                continue
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                # its own variables are not the function's, those that `:=` in it binds are
                bound |= {one.target.id for one in ast.walk(part) if isinstance(one, ast.NamedExpr)}
                continue
            case ast.Name(ctx=ast.Store() | ast.Del()):
                bound.add(part.id)
            case ast.Import() | ast.ImportFrom():
                bound |= {(alias.asname or alias.name).split(".")[0] for alias in part.names}
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                bound.add(name)
            case ast.MatchMapping(rest=str(name)):
                bound.add(name)
            case ast.Global() | ast.Nonlocal():
                declared |= set(part.names)
        waiting += ast.iter_child_nodes(part)
    return bound, declared


def mangled(names: Iterable[str], owner: str) -> set[str]:
    """Names as the compiler spells those that are private to a class."""
    owner = owner.lstrip("_")
    return {
        f"_{owner}{name}" if owner and name.startswith("__") and not name.endswith("__") else name for name in names
    }


def _statement(text: str) -> Any:
    (node,) = ast.parse(text).body
    for part in ast.walk(node):
        for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            part.__dict__.pop(name, None)
    return node


def _take(name: str) -> list[ast.stmt]:
    """Bind a local variable as it was, unless it was not."""
    return [_statement(f"if {FRAME}.had({name!r}): {name} = {FRAME}.taken_up({name!r})")]


def _put_back(names: set[str], node: Any) -> list[ast.stmt]:
    """What a statement's header has bound on the way back in is put back, unless it could not be saved."""
    if isinstance(node, (ast.For, ast.AsyncFor)):
        targets = [node.target]
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        targets = [item.optional_vars for item in node.items if item.optional_vars]
    else:
        return []
    found = {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)} & names
    if not found:
        return []
    guard = _statement(f"if {FRAME}.way is not None: pass")
    guard.body = [part for name in sorted(found) for part in _take(name)]
    for part, name in zip(guard.body, sorted(found), strict=True):
        part.orelse = [_statement(f"if {FRAME}.lacked({name!r}): del {name}")]
    return [at(guard, node)]


class _Looks(ast.NodeTransformer):
    """Hides what is ours from `locals()`, and says what `super()` stands for where there are no parameters."""

    def __init__(self, again: bool, source: Source) -> None:  # noqa: FBT001
        self.again, self.source = again, source
        self.first = ""

    def visit_body(self, node: Any) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args]
        self.first = arguments[0].arg if arguments else ""
        node.body = [self.visit(part) for part in node.body]

    def visit_FunctionDef(self, node: Any) -> Any:
        return node

    visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = visit_FunctionDef  # noqa: N815

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.Call(ast.Name("super"), [], []) if self.again and self.first:
                node.args = [at(ast.Name(name, ast.Load()), node) for name in ("__class__", self.first)]
            case ast.Call(ast.Name(name), [], []) if name in _LOOKS:
                seen = ast.Attribute(ast.Name(FRAME, ast.Load()), "seen", ast.Load())
                return at(ast.Call(seen, [node], []), node)  # type: ignore[no-any-return]
        return node


class _Unannotated(ast.NodeTransformer):
    """A variable that is declared `nonlocal` cannot be annotated."""

    def visit_FunctionDef(self, node: Any) -> Any:
        return node

    visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = visit_FunctionDef  # noqa: N815

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if not node.simple:
            return node
        plain = ast.Assign([node.target], node.value) if node.value else ast.Pass()
        return at(plain, node)  # type: ignore[no-any-return]
