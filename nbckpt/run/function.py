"""A resumable function's execution: its frame, which knows its caller's, and its local variables."""

from __future__ import annotations

import ast
import inspect
import operator
import sys
import types
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import CellChangedError, RestoreError
from ..state.namespace import names_of_definitions
from .frame import Frame, Resume, Unwound
from .position import Match, Plan, Position, Statement, Where, match
from .resumable import FRAME, NAMES, Rewritten, names_among, rewritten, source_of
from .tracebacks import without_ours

if TYPE_CHECKING:
    from .checkpoint import Run
    from .place import Layer, Place


class Calling(Protocol):
    """Code that may call resumable functions."""

    run: Any
    way: Any
    depth: int
    """How many functions in progress it is inside of."""
    levels: Mapping[str, int]
    """How many functions of each name are in progress up to here."""

    def position(self, where: Where, key: str, site: int = -1) -> Position: ...


class Caller(Frame):
    """A frame that may call resumable functions."""

    label = ""
    """What the names of its local variables begin with, in a snapshot and in messages."""
    depth = 0
    levels: Mapping[str, int] = {}
    operators = operator

    def enters_call(self, key: str, site: int) -> bool:
        """Whether this is the way back into a call."""
        position = None if self.way is None else self.way.position
        return position is not None and (position.where, position.key, position.site) == ("call", key, site)

    def again_call(self, key: str, site: int) -> types.FunctionType:
        """The function that was in progress there."""
        with self.past_handlers(key):
            return reenter(self, key, site)

    def at(self, key: str, site: int, called: Any, awaited: bool) -> Any:  # noqa: FBT001
        """What to call instead of what the code calls."""
        return enter(self, key, site, called, awaited=awaited)

    def as_a_whole(self, line: int, called: Any) -> Any:
        """What the code calls where it cannot be entered again, after saying so of a function that otherwise could."""
        source = source_of(called.__func__ if type(called) is types.MethodType else called)
        if source is not None and source.name not in self.run.told:
            self.run.told.add(source.name)
            self.run.status.notice(
                f"{source.name}() is @nbckpt.resumable, but line {line} calls it where it can only be run as a whole, "
                f"and is not saved inside: a statement of its own (x = {source.name}(...)), outside of headers, "
                "comprehensions and exception handlers, can be gone on with"
            )
        return called

    # -- what a statement had evaluated before a call ---------------------------------------------------------

    def keep(self, number: int, value: Any) -> Any:
        """Keep what a part of the statement has evaluated to."""
        self.values[number] = value
        self.found.discard(number)
        self.inner = None  # its loops are not gone through again
        return value

    def keep_found(self, number: int, value: Any) -> Any:
        """The same for what was merely looked up, and can be again if it cannot be saved."""
        self.values[number] = value
        self.found.add(number)
        return value

    def keeps(self, key: str, number: int) -> bool:
        """Whether it had been evaluated by the saved boundary, and is kept."""
        if self.way is None or self.way.position.where != "call" or self.way.position.key != key:
            return False
        if not self.values:
            kept = {
                name: value
                for name, value in self.run.restore.root["locals"].items()
                if name.startswith(f"{self.label}<")
            }
            self.values = {_number(name): value for name, value in kept.items()}
            self.found = {_number(name) for name in kept if name.endswith("?>")}
        return number in self.values

    def keeps_any(self, number: int) -> bool:
        """Whether it is kept in the statement that is being executed."""
        return number in self.values

    def kept(self, number: int) -> Any:
        return self.values[number]

    def _kept(self, number: int) -> str:
        """What it is called in a snapshot."""
        return f"{self.label}<{number}{'?' if number in self.found else ''}>"

    # -- what a snapshot has of it ----------------------------------------------------------------------------

    def variables(self, place: Place) -> dict[str, Any]:
        """The local variables of functions in progress, and what their statements keep, by their labels."""
        frames = [layer for layer, _ in place if isinstance(layer, FunctionFrame)]
        found = {
            frame.label + name: value
            for frame, own in zip(frames, locals_of(frames), strict=True)
            for name, value in own.items()
        }
        for layer, position in place:
            if isinstance(layer, Caller) and position.where == "call":
                found |= {layer._kept(number): value for number, value in layer.values.items()}  # noqa: SLF001
        return found

    def kept_names(self, position: Position) -> frozenset[str]:
        """The names of kept values that are needed: those that cannot be looked up again."""
        if position.where != "call":
            return frozenset()
        return frozenset(map(self._kept, self.values.keys() - self.found))

    def place(self, position: Position) -> list[tuple[Layer, Position]]:
        """The position in this frame and those in its callers, outermost first."""
        found: list[tuple[Layer, Position]] = [(self, position)]
        frame: Any = self
        while isinstance(frame, FunctionFrame):
            caller: Any = frame.caller
            found.append((caller, caller.position("call", frame.key, frame.site)))
            frame = caller
        return found[::-1]


class FunctionFrame(Caller):
    """The execution of a resumable function that was called from a statement of another frame's.

    That one is `caller`; `key` and `site` say which call of which statement it was.
    """

    def __init__(
        self,
        caller: Calling,
        key: str,
        site: int,
        function: types.FunctionType,
        code: Rewritten,
        *,
        again: bool = False,
    ) -> None:
        super().__init__(caller.run, code.plan)
        self.caller, self.key, self.site = caller, key, site
        self.function, self.rewritten = function, code
        self.code = code.reentry if again else code.entry
        self.depth = caller.depth + 1
        before = caller.levels.get(code.source.name, 0)
        self.levels = {**caller.levels, code.source.name: before + 1}
        self.subject = f"{code.source.name}()"
        self.label = self.subject + (f"[{before + 1}]." if before else ".")
        self.cells: dict[str, types.CellType] = {}
        self.contents: dict[str, Any] = {}
        """What the variables that it shares with other functions were, on the way back in."""

    def callable(self) -> types.FunctionType:
        """What to call: the function's rewritten code with its own closure, globals and defaults."""
        function = self.function
        known = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        cells = {**known, **self.cells, FRAME: types.CellType(self)}
        closure = tuple(cells[name] for name in self.code.co_freevars)
        made = types.FunctionType(self.code, function.__globals__, function.__name__, function.__defaults__, closure)
        made.__kwdefaults__ = function.__kwdefaults__
        made.__qualname__ = function.__qualname__
        return made

    # -- what the rewritten function calls ---------------------------------------------------------------------

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Unwound) or (error is None and self.way is not None):
            refusal = error.error if isinstance(error, Unwound) else self.lost()
            caught = isinstance(self.caller, Frame) and self.caller.is_caught(self.key)
            raise Unwound(refusal) if caught else refusal from None
        if error is not None:
            without_ours(error)

    def is_caught(self, key: str) -> bool:  # noqa: ARG002 - all of it is inside the `with` that ends here
        return True

    def share(self, cells: Sequence[types.CellType]) -> None:
        """Take note of the variables that functions inside share."""
        names = sorted(self.rewritten.cells)
        self.cells = dict(zip(names, cells, strict=True))

    def had(self, name: str) -> bool:
        """Whether a variable was bound at the saved boundary, and could be saved."""
        return name in self.contents or self.label + name in self.run.restore.root["locals"]

    def taken_up(self, name: str) -> Any:
        """What it was bound to."""
        return self.contents[name] if name in self.contents else self.run.restore.root["locals"][self.label + name]

    def cell_of_its_own(self, name: str) -> types.CellType:
        """A cell for a variable that no function inside had shared, before an edit made one do so."""
        own = self.run.restore.root["locals"]
        return types.CellType(own[self.label + name]) if self.label + name in own else types.CellType()

    def lacked(self, name: str) -> bool:
        """Whether it was not bound."""
        return self.label + name not in self.run.restore.loaded.description["left_out"]

    @staticmethod
    def seen(names: Any) -> Any:
        """What `locals()` or `dir()` found, without what is ours."""
        if isinstance(names, dict):
            names.pop(FRAME, None)
        elif FRAME in names:
            names.remove(FRAME)
        return names

    # -- where it is -------------------------------------------------------------------------------------------

    def saved(self) -> Mapping[str, Any]:
        record: Mapping[str, Any] = self.run.restore.root["calls"][str(self.depth - 1)]
        return record

    def captured(self) -> dict[str, Any]:
        """What a snapshot keeps of it besides its loops and its local variables."""
        return {"function": self.function, "cells": self.cells}

    def described(self) -> dict[str, Any]:
        """What a later run compares its own function with."""
        source = self.rewritten.source
        return {
            "module": self.function.__module__,
            "qualname": source.qualname,
            "plan": self.plan.to_json(),
            "source": self.rewritten.text,
        }

    def needed(self, position: Position) -> frozenset[str]:
        alive = self.rewritten.alive
        read = (alive.tops if position.where == "top" else alive.before)[position.key]
        if position.where == "top" and self.goes_on(position.key):
            read = alive.turns.get(position.key, read)
        namespace = self.run.namespace
        if self.function.__globals__ is not namespace:
            return frozenset(self.label + name for name in read) | self.kept_names(position)
        own = {*self.rewritten.local, *self.rewritten.cells}
        outside = read - own
        called = names_of_definitions((namespace.get(name) for name in outside), namespace).reads
        return frozenset(self.label + name for name in read & own) | outside | called | self.kept_names(position)

    def progress(self, position: Position) -> str:
        return f"{self.subject}: {super().progress(position)}"

    def holders(self) -> dict[str, Any]:
        (own,) = locals_of([self])
        return {**super().holders(), **{self.label + name: value for name, value in own.items()}}

    def runs_again(self, way: Resume, statement: Statement, *, new: bool) -> bool:
        """Local variables are back before that: only what was edited is bound again."""
        names = {*statement.binds, *statement.imports}
        if not (new and names):
            return False
        for later in self.plan.between(statement.key, way.position):
            if again := sorted(names.intersection(later.rebinds)):
                if self.run.trusting:
                    return False
                raise way.match.changed(
                    f"line {statement.line} was edited and would bind {again[0]}, which line {later.line} has bound"
                )
        return True

    def redo(self, key: str, changed: Sequence[str]) -> None:
        raise RestoreError(
            f"the loop at line {self.plan[key].line} cannot be saved half way, and drawing its finished items again "
            f"changed {', '.join(changed)}. Nothing was lost: loop over a list, or start over with --fresh"
        )


def enter(caller: Calling, key: str, site: int, called: Any, *, awaited: bool) -> Any:
    """What to call instead of `called`: the same, but for resumable functions the version that can be saved."""
    function: Any = called.__func__ if type(called) is types.MethodType else called
    source = source_of(function)
    if source is None:
        _tell_of_wrapper(caller.run, function)
    if source is None or (source.asynchronous and not awaited) or caller.way is not None:
        return called
    code = rewritten(source, _known_names(caller.run, function))
    made = FunctionFrame(caller, key, site, function, code).callable()
    return made if function is called else types.MethodType(made, called.__self__)


def _tell_of_wrapper(run: Any, function: Any) -> None:
    """Say that a function is not saved inside, because another one stands around it and calls it."""
    wrapped = function.__dict__.get("__wrapped__") if isinstance(function, types.FunctionType) else None
    while isinstance(wrapped, types.FunctionType) and source_of(wrapped) is None:
        wrapped = wrapped.__dict__.get("__wrapped__")
    if isinstance(wrapped, types.FunctionType):
        name = wrapped.__name__
        run.status.notice(
            f"{name}() is @nbckpt.resumable, but the decorator above that calls it, and code that is not rewritten can "
            f"only be run again: {name}() is not saved inside. Take that decorator off, or do what it does in the cell"
        )


def reenter(caller: Calling, key: str, site: int) -> types.FunctionType:
    """The function that was in progress there, ready to be called without arguments.

    Raises:
        CellChangedError: it was edited where it had run.
    """
    run, depth = caller.run, caller.depth
    record = run.restore.root["calls"][str(depth)]
    description = run.restore.loaded.description
    call = description["calls"][depth]
    known = description["functions"][call["function"]]
    function = record["function"]
    source = source_of(function)
    if source is None:
        raise CellChangedError(
            f"{known['qualname']}() was in progress and is not @nbckpt.resumable any more. Nothing was run and the "
            "snapshots are kept: put the decorator back, or start over with --fresh"
        )
    code = rewritten(source, _known_names(caller.run, function))
    saved = Plan.from_json(known["plan"])
    position = Position.from_json(call["position"])
    sources = known["source"], code.text
    found = match(saved, code.plan, position, run.settings.on_change, sources, f"{source.name}()")
    for notice in found.notices:
        run.status.notice(notice)
    frame = FunctionFrame(caller, key, site, function, code, again=True)
    frame.way = Resume(found, saved, position)
    frame.way.built = True
    frame.cells = {name: record["cells"].get(name) or frame.cell_of_its_own(name) for name in code.cells}
    outer = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    shared = {**outer, **record["cells"], **frame.cells}  # also those that an edit has made the function's alone
    frame.contents = {name: inside[0] for name, cell in shared.items() if (inside := _inside(cell))}
    for name, value in _given_since(found, function).items():
        if not frame.had(name):
            frame.contents[name] = value
    return frame.callable()


def _given_since(found: Match, function: types.FunctionType) -> dict[str, Any]:
    """What the parameters stand for that a function has got since it was called: their defaults.

    Raises:
        CellChangedError: one has none.
    """
    definition: Any = ast.parse(found.sources[0]).body[0]
    before = {part.arg for part in ast.walk(definition.args) if isinstance(part, ast.arg)}
    values: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in before:
            continue
        empty: dict[Any, Any] = {parameter.VAR_POSITIONAL: (), parameter.VAR_KEYWORD: {}}
        values[name] = empty.get(parameter.kind, parameter.default)
        if values[name] is parameter.empty:
            raise found.changed(f"its parameter {name} is new, and the call in progress gave it no value")
    return values


def check(run: Run, defined: Collection[str]) -> None:
    """Find out before anything runs whether the functions in progress can be entered again.

    Those that the cell itself has `defined` can be looked at only then.

    Raises:
        CellChangedError: one was edited where it had run.
    """
    description = run.restore.loaded.description
    for call in description["calls"]:
        known = description["functions"][call["function"]]
        if "qualname" not in known:  # the loops of a function that is not rewritten
            continue
        module = run.home.namespace if known["module"] == "__main__" else vars(sys.modules.get(known["module"], sys))
        names = known["qualname"].split(".")
        function: Any = None if names[0] in defined else module.get(names[0])
        for name in names[1:]:
            function = getattr(function, name, None)
        if (source := source_of(function)) is not None:
            code = rewritten(source, _known_names(run, function))
            match(
                Plan.from_json(known["plan"]),
                code.plan,
                Position.from_json(call["position"]),
                run.settings.on_change,
                (known["source"], code.text),
                f"{source.name}()",
            )


def _inside(cell: types.CellType) -> tuple[Any, ...]:
    """What a variable of a closure is bound to, if it is."""
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _known_names(run: Run, function: types.FunctionType) -> frozenset[str]:
    """The names of the functions at whose calls a function can be entered again."""
    run.callees |= NAMES | names_among(function.__globals__)
    return frozenset(run.callees)


def _number(name: str) -> int:
    """The number in the name of a kept value."""
    return int(name.rpartition("<")[2].rstrip("?>"))


def locals_of(frames: Sequence[FunctionFrame]) -> list[dict[str, Any]]:
    """The local variables of functions in progress, outermost first, the last of which is executed right now."""
    found: list[dict[str, Any]] = []
    at: types.FrameType | None = sys._getframe(1)  # noqa: SLF001 - the only way to a function's variables
    for frame in reversed(frames):
        while at is not None and at.f_code is not frame.code:
            at = at.f_back
        assert at is not None  # noqa: S101 - it is what called us
        values = at.f_locals
        found.append({name: values[name] for name in frame.rewritten.local if name in values})
        if sys.version_info < (3, 13) and not frame.rewritten.looks:
            values.clear()  # a copy that the interpreter keeps, and with it what the function lets go of
        at = at.f_back
    return found[::-1]
