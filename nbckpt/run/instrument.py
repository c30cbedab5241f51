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

Nothing else changes: the body of an innermost loop, functions, classes, handlers, `finally` and a loop's
`else` are left as they are. Every top-level statement stays one statement, because IPython compiles each
alone, and conditions and iterables are evaluated in place, so that `await` and `:=` in them keep working.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from typing import Any

from . import RUN
from .position import LOOPS, Kind, Plan, Statement

CONFIGURING = frozenset(
    "aimport alias autoreload cd colors config env gui load_ext matplotlib precision pylab reload_ext set_env".split()
)
"""Line magics that set up the kernel: they run again on resume, as imports do."""

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

# A header made of these only looks things up, and going over it draws no random numbers either: that of a loader does.
_PURE_CALLS = frozenset("range len".split())


def instrument(module: ast.Module) -> tuple[ast.Module, Plan]:
    """Return the rewritten module and the plan of its statements. `module` is used up."""
    body = module.body
    rewriter = _Rewriter()
    rewritten = rewriter.block(body, "", top=True)
    if not (body and isinstance(body[-1], ast.Expr)):
        rewritten.append(ast.Expr(_call("end")))
    result = ast.Module(rewritten, module.type_ignores)
    return ast.fix_missing_locations(result), Plan(rewriter.statements)


def fingerprint(*nodes: ast.AST | None) -> str:
    """Hash code by its meaning: comments, layout and line numbers never matter."""
    text = "\n".join(ast.unparse(node) for node in nodes if node is not None)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class _Rewriter:
    def __init__(self) -> None:
        self.statements: dict[str, Statement] = {}

    def block(self, body: Sequence[ast.stmt], parent: str, *, top: bool = False) -> list[ast.stmt]:
        """Guard each statement of a block; `parent` is the path that their indexes continue."""
        result = []
        for index, node in enumerate(body):
            last = top and index == len(body) - 1
            result.append(self.statement(node, f"{parent}{index}", top=top, last=last))
        return result

    def statement(self, node: ast.stmt, key: str, *, top: bool, last: bool) -> ast.stmt:
        kind = _kind(node)
        self.statements[key] = _describe(node, key, kind)
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            return node  # must stay at the top of the file to be legal; has no effect when the cell runs
        if top and isinstance(node, ast.Expr):
            value = _call("end", node.value) if last else node.value
            otherwise = _call("ended") if last else ast.Constant(None)
            node.value = _at(ast.IfExp(_call("step", ast.Constant(key)), value, otherwise), node.value)
            return node
        rewritten = self.inside(node, key, kind)
        if top and kind not in ("plain", "always"):
            frames = ast.withitem(ast.Attribute(_run(), "frames", ast.Load()))
            rewritten = _at(ast.With([frames], [rewritten]), node)
        guarded: ast.stmt = _at(ast.If(_call("step", ast.Constant(key)), [rewritten], []), node)
        return guarded

    def inside(self, node: Any, key: str, kind: Kind) -> ast.stmt:
        """Rewrite the header of a compound statement and descend into its blocks."""
        name = ast.Constant(key)
        if kind in ("for", "async for"):
            enters = "enters" if _is_pure(node.iter) else "enters_drawing"
            again, loop = ("again", "loop") if kind == "for" else ("async_again", "async_loop")
            choice = ast.IfExp(_call(enters, name), _call(again, name), _call(loop, name, node.iter))
            node.iter = _at(choice, node.iter)
        elif kind == "while":
            node.test = _at(ast.BoolOp(ast.Or(), [_call("turn", name), node.test]), node.test)
        elif kind == "if":
            # `not not` asks for the truth value here, so that an error in it is the user's own line.
            truth = ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), node.test))
            choice = ast.IfExp(_call("enters", name), _call("taken", name), _call("branch", name, truth))
            node.test = _at(choice, node.test)
        if kind in ("for", "async for", "while", "with", "try", "if"):
            self.descend(node, "body", key)
        if kind == "if":
            self.descend(node, "orelse", key)
        rewritten: ast.stmt = node
        return rewritten

    def descend(self, node: Any, block: str, key: str) -> None:
        if any(holds_loop(child) for child in getattr(node, block)):
            setattr(node, block, self.block(getattr(node, block), f"{key}.{block}."))


def _kind(node: ast.stmt) -> Kind:
    if isinstance(node, _DEFINITIONS) or _configures_kernel(node):
        return "always"
    return _KINDS[type(node)] if holds_loop(node) else "plain"


def holds_loop(node: Any) -> bool:
    """Whether a loop can be reached from here through the blocks that are descended into."""
    if isinstance(node, _LOOP_NODES):
        return True
    if isinstance(node, ast.If):
        return any(holds_loop(child) for child in [*node.body, *node.orelse])
    if isinstance(node, _WITH_OR_TRY):
        return any(holds_loop(child) for child in node.body)
    return False


def _configures_kernel(node: ast.stmt) -> bool:
    """Whether this is `%matplotlib inline` and the like, as IPython has spelled it out."""
    match node:
        case ast.Expr(
            ast.Call(ast.Attribute(ast.Call(ast.Name("get_ipython")), "run_line_magic"), [ast.Constant(magic), *_])
        ):
            return magic in CONFIGURING
    return False


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


def _describe(node: Any, key: str, kind: Kind) -> Statement:
    """Note what a statement is, before it is rewritten."""
    label = ast.unparse(node).splitlines()[0]
    whole = fingerprint(node)
    if kind in ("for", "async for"):
        header, name = fingerprint(node.target, node.iter), ast.unparse(node.target)
    elif kind in ("while", "if"):
        header, name = fingerprint(node.test), label.removesuffix(":")
    elif kind == "with":
        header, name = fingerprint(*node.items), label.removesuffix(":")
    else:
        header, name = ("" if kind == "try" else whole), label
    loop = kind in LOOPS
    nested = loop and any(holds_loop(child) for child in node.body)
    body = fingerprint(*node.body, *node.orelse) if loop else ""
    defines = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    binds = (node.name,) if defines else ()
    eager = tuple(sorted(_read_to_define(node))) if defines else ()
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
    return [_at(ast.Expr(ast.Name(target.id, ast.Load())), target)]


def _run() -> ast.expr:
    return ast.Name(RUN, ast.Load())


def _call(method: str, *args: ast.expr) -> ast.expr:
    return ast.Call(ast.Attribute(_run(), method, ast.Load()), list(args), [])


def _at(node: Any, place: ast.AST) -> Any:
    """Give a new node, and what is new in it, the place of the code that it stands for."""
    ast.copy_location(node, place)
    for part in ast.walk(node):
        if isinstance(part, (ast.expr, ast.stmt)) and not hasattr(part, "lineno"):
            ast.copy_location(part, place)
    return node
