"""Rewriting a cell so that it can be entered again where it was left.

The rewritten cell is the same code with the same line numbers, plus calls to the run (`__nbckpt__`):

    x = load()                 if RUN.step("0"): x = load()
    for e in epochs:     =>    if RUN.step("1"):
        for b in e:                with RUN.frames:
            train(b)                   for e in RUN.again("1") if RUN.enters("1") else RUN.loop("1", epochs):
        check()                            if RUN.step("1.body.0"):
                                               for b in ...: train(b)
                                           if RUN.step("1.body.1"): check()
    x                          RUN.end(x) if RUN.step("2") else RUN.ended()

A comprehension that is a statement's whole value is rewritten by `comprehensions.py`.

Nothing else changes: the body of an innermost loop, functions, classes, handlers, `finally` and a loop's
`else` are left as they are. Every top-level statement stays one statement, because IPython compiles each
alone, and conditions and iterables are evaluated in place, so that `await` and `:=` in them keep working.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..state.liveness import names_bound
from . import RUN, comprehensions
from .position import LOOPS, Kind, Plan, Statement
from .sites import has_site, rewrite_calls, tell_of_the_others
from .syntax import at, call, fingerprint, iterated, run

CONFIGURING = frozenset(
    "aimport alias autoreload cd colors config env gui load_ext matplotlib precision pylab reload_ext set_env".split()
)
"""Line magics that set up the kernel: they run again on resume, as imports do."""

_EMPTY = (ast.Pass, ast.Global, ast.Nonlocal)
_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_TRY: tuple[type[ast.stmt], ...] = (ast.Try, *([ast.TryStar] if hasattr(ast, "TryStar") else []))
_KINDS: dict[type[ast.stmt], Kind] = {
    ast.For: "for",
    ast.AsyncFor: "async for",
    ast.While: "while",
    ast.If: "if",
    ast.With: "with",
    ast.AsyncWith: "with",
    **dict.fromkeys(_TRY, "try"),
}
_WITH_OR_TRY: Any = (ast.With, ast.AsyncWith, *_TRY)
_LOOP_NODES = (ast.For, ast.AsyncFor, ast.While)


def instrument(module: ast.Module, names: frozenset[str] = frozenset()) -> tuple[ast.Module, Plan]:
    """Return the rewritten module and the plan of its statements. `module` is used up.

    `names` are those of resumable functions, whose calls have boundaries inside them.
    """
    body = module.body
    rewriter = Rewriter(names, Counter(_bound_by(module)))
    rewritten = rewriter.block(body, "", top=True)
    if not (body and isinstance(body[-1], ast.Expr)):
        end: list[ast.stmt] = [ast.Expr(call("end"))]
        if body and not (isinstance(body[-1], ast.ImportFrom) and body[-1].module == "__future__"):
            # inside the last statement: IPython may be told to show what expressions are in that
            end = [at(ast.If(ast.Constant(1), [rewritten.pop(), *end], []), body[-1])]
        rewritten += end
    tell_of_the_others(rewritten, names, call)
    result = ast.Module(rewritten, module.type_ignores)
    return ast.fix_missing_locations(result), Plan(rewriter.statements)


def _bound_by(module: ast.Module) -> Iterator[str]:
    """The names that a cell binds, as often as it does."""
    for node in ast.walk(module):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name


class Rewriter:
    """Rewrites blocks, for code that finds its frame under the name `frame`.

    A function's loop variables are put back at the top of the loop's body on the way back in, as `put_back` spells
    out; a cell's are put back when it arrives. Comprehensions are entered in cells only.
    """

    def __init__(
        self,
        names: frozenset[str],
        bound: Mapping[str, int],
        frame: str = RUN,
        put_back: Callable[[ast.AST], list[ast.stmt]] = lambda _: [],
    ) -> None:
        self.names, self.frame, self.put_back = names, frame, put_back
        self.bound = bound
        """How often a cell binds each name."""
        self.in_cell = frame == RUN
        self.statements: dict[str, Statement] = {}

    def call(self, method: str, *args: ast.expr) -> ast.expr:
        return call(method, *args, frame=self.frame)

    def is_guarded(self, node: Any, block: str) -> bool:
        return is_guarded(node, block, self.names, in_cell=self.in_cell)

    def block(self, body: Sequence[ast.stmt], parent: str, *, top: bool = False) -> list[ast.stmt]:
        """Guard each statement of a block; `parent` is the path that their indexes continue."""
        result = []
        for index, node in enumerate(body):
            last = top and index == len(body) - 1
            result += self.statement(node, f"{parent}{index}", top=top, last=last)
        return result

    def statement(self, node: ast.stmt, key: str, *, top: bool, last: bool) -> list[ast.stmt]:
        kind = self.kind(node, top=top)
        nested = kind in LOOPS and self.is_guarded(node, "body")
        self.statements[key] = _describe(node, key, kind, self.bound, nested=nested)
        if kind == "always" and isinstance(node, _EMPTY):
            return [node]
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            return [node]  # must stay at the top of the file to be legal; has no effect when the cell runs
        shown = top and isinstance(node, ast.Expr)
        if kind == "comprehension":
            self.statements |= comprehensions.clauses(node, key)
            rewritten = comprehensions.rewritten(node, key, shown=shown)
        elif isinstance(node, ast.Expr) and shown:
            if kind == "call":
                rewrite_calls(node, key, self.names, self.call)
            value = self.call("end", node.value) if last else node.value
            otherwise = self.call("ended") if last else ast.Constant(None)
            node.value = at(ast.IfExp(self.call("step", ast.Constant(key)), value, otherwise), node.value)
            return [node]
        else:
            rewritten = [self.inside(node, key, kind)]
        if top and kind not in ("plain", "always"):
            frames = ast.withitem(ast.Attribute(run(), "frames", ast.Load()))
            rewritten = [at(ast.With([frames], rewritten), node)]
        guarded = at(ast.If(self.call("step", ast.Constant(key)), rewritten, []), node)
        return [guarded, comprehensions.expression(node, last=last)] if shown else [guarded]

    def inside(self, node: Any, key: str, kind: Kind) -> ast.stmt:
        """Rewrite the header of a compound statement and descend into its blocks."""
        name = ast.Constant(key)
        if kind == "call":
            return rewrite_calls(node, key, self.names, self.call)
        if kind in ("for", "async for"):
            node.iter = iterated(key, node.iter, asynchronous=kind == "async for", frame=self.frame)
        elif kind == "while":
            node.test = at(ast.BoolOp(ast.Or(), [self.call("turn", name), node.test]), node.test)
        elif kind == "if":
            # `not not` asks for the truth value here, so that an error in it is the user's own line.
            truth = ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), node.test))
            choice = ast.IfExp(self.call("enters", name), self.call("taken", name), self.call("branch", name, truth))
            node.test = at(choice, node.test)
        if kind in ("for", "async for", "while", "with", "try", "if"):
            self.descend(node, "body", key)
        if kind == "if":
            self.descend(node, "orelse", key)
        rewritten: ast.stmt = node
        return rewritten

    def descend(self, node: Any, block: str, key: str) -> None:
        if self.is_guarded(node, block):
            body = self.block(getattr(node, block), f"{key}.{block}.")
            setattr(node, block, [*self.put_back(node), *body])

    def kind(self, node: ast.stmt, *, top: bool) -> Kind:
        empty = isinstance(node, _EMPTY) and not (top and self.in_cell)
        if isinstance(node, _DEFINITIONS) or _configures_kernel(node) or empty:
            return "always"
        if self.in_cell and comprehensions.value_of(node) is not None:
            return "comprehension"
        if has_site(node, self.names):
            return "call"
        return _KINDS[type(node)] if _has_boundaries(node, self.names, in_cell=self.in_cell) else "plain"


def is_guarded(node: Any, block: str, names: frozenset[str] = frozenset(), *, in_cell: bool = True) -> bool:
    """Whether there are boundaries between the statements of a statement's block.

    A loop whose body holds no other loop, and no call of one of the `names`, is left plain, whatever comprehensions
    it makes; those of functions are always left plain.
    """
    in_cell = in_cell and not isinstance(node, _LOOP_NODES)
    return any(_has_boundaries(child, names, in_cell=in_cell) for child in getattr(node, block, ()))


def _has_boundaries(node: Any, names: frozenset[str], *, in_cell: bool) -> bool:
    """Whether one can be reached from here through the blocks that are descended into."""
    if isinstance(node, _LOOP_NODES) or (in_cell and comprehensions.value_of(node) is not None):
        return True
    if isinstance(node, ast.If):
        return any(is_guarded(node, block, names, in_cell=in_cell) for block in ("body", "orelse"))
    if isinstance(node, _WITH_OR_TRY):
        return is_guarded(node, "body", names, in_cell=in_cell)
    return has_site(node, names)


def _configures_kernel(node: ast.stmt) -> bool:
    """Whether this is `%matplotlib inline` and the like, as IPython has spelled it out."""
    match node:
        case ast.Expr(
            ast.Call(ast.Attribute(ast.Call(ast.Name("get_ipython")), "run_line_magic"), [ast.Constant(magic), *_])
        ):
            return magic in CONFIGURING
    return False


def _describe(node: Any, key: str, kind: Kind, bound: Mapping[str, int], *, nested: bool) -> Statement:
    """Note what a statement is, before it is rewritten."""
    label = ast.unparse(node).splitlines()[0]
    whole = fingerprint(node)
    goes_over = kind in ("for", "async for")
    target = ast.unparse(node.target) if goes_over else ""
    if goes_over:
        header, name = fingerprint(node.target, node.iter), target
    elif kind in ("while", "if"):
        header, name = fingerprint(node.test), label.removesuffix(":")
    elif kind == "comprehension":
        header, name = comprehensions.header(node), label
    elif kind == "with":
        header, name = fingerprint(*node.items), label.removesuffix(":")
    else:
        header, name = ("" if kind == "try" else whole), label
    loop = kind in LOOPS
    body = fingerprint(*node.body, *node.orelse) if loop else ""
    defines = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    binds = (node.name,) if defines else ()
    over = fingerprint(node.iter) if goes_over else ""
    reads = {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Load)}
    eager = tuple(sorted(_read_to_define(node))) if defines else ()
    aliases = node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ()
    imported = {(alias.asname or alias.name).split(".")[0] for alias in aliases}
    return Statement(
        key,
        kind,
        header,
        whole,
        node.lineno,
        name[:80],
        label[:80],
        body,
        nested,
        binds,
        kind == "with" and any(map(_empties, node.items)),
        eager,
        rivals=defines and bound.get(node.name, 0) > 1,
        last=0 if loop and len(node.body) > 1 else (node.body[0] if loop else node).end_lineno,
        over=over,
        target=target,
        reads=tuple(sorted(reads)),
        imports=tuple(sorted(imported)),
        rebinds=tuple(sorted(names_bound([node]))),
    )


def _empties(item: ast.withitem) -> bool:
    """Whether a context is `open(..., "w")` or the like."""
    match item.context_expr:
        case ast.Call(ast.Name("open") | ast.Attribute(_, "open"), arguments, keywords):
            given = [*arguments, *(keyword.value for keyword in keywords if keyword.arg == "mode")]
            modes = [value.value for value in given if isinstance(value, ast.Constant)]
            return any(isinstance(mode, str) and mode.strip("bt+") in ("w", "x") for mode in modes)
    return False


def _read_to_define(node: Any) -> set[str]:
    """The names that executing a definition reads, as opposed to calling what it defines."""
    if isinstance(node, ast.ClassDef):
        now: list[Any] = [*node.decorator_list, *node.bases, *node.keywords]
        names = set().union(*(_read_to_define(child) for child in node.body))
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        arguments = node.args
        parameters = [
            *arguments.posonlyargs,
            *arguments.args,
            *arguments.kwonlyargs,
            arguments.vararg,
            arguments.kwarg,
        ]
        annotations = [parameter.annotation for parameter in parameters if parameter]
        now = [*node.decorator_list, *arguments.defaults, *arguments.kw_defaults, *annotations, node.returns]
        names = set()
    else:
        now, names = [node], set()
    for part in now:
        if part is not None:
            names |= {name.id for name in ast.walk(part) if isinstance(name, ast.Name)}
    return names


def shown_target(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Spell out what IPython's `last_expr_or_assign` displays, since it will not see a guarded assignment."""
    last = body[-1] if body else None
    target: Any = None
    if isinstance(last, ast.Assign) and len(last.targets) == 1:
        target = last.targets[0]
    elif isinstance(last, (ast.AnnAssign, ast.AugAssign)):
        target = last.target
    if not isinstance(target, ast.Name):
        return []
    return [at(ast.Expr(ast.Name(target.id, ast.Load())), target)]
