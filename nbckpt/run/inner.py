"""`nbckpt.loop`: a loop in a function that is not rewritten keeps its progress.

The statement that called the function is run again on resume, and the function with it, from its top. The loop
then yields what is left, and the objects that it was given as its `state` are what they were.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from types import FrameType, FunctionType
from typing import Any, TypeVar

from ..errors import OptionError, RestoreError
from ..state import randomness
from ..state.home import NOTHING
from . import RUN, doors
from .frame import come_back
from .function import Caller
from .in_place import FIXED, Memo, put, replace
from .loops import Loop, turns
from .order import Order
from .place import Layer, Place
from .position import Position
from .resumable import FRAME, NAMES, codes

Item = TypeVar("Item")


def loop(items: Iterable[Item], state: Any = ()) -> Iterable[Item]:
    """Go over items in a function, so that a run which is resumed inside it skips those that are done.

    For functions that a checkpointed cell calls and that are not `@nbckpt.resumable`. A resumed run calls the
    function again from its top: what comes before the loop is done again, then the loop goes on, and each object in
    `state` (one, or a tuple, list or dict of them) is put back *in place*, to what it was at the end of the last
    iteration that was saved. So whatever the iterations change, and later ones or the rest of the function need,
    belongs to `state`, unless a variable of the notebook holds it. In a function that a
    `with nbckpt.checkpointed(...)` block calls it is a `ckpt.loop` with such a state. Elsewhere it is just the items.

    >>> import nbckpt
    >>> def train(n):
    ...     losses = []
    ...     for epoch in nbckpt.loop(range(n), state=losses):
    ...         losses.append(1 / (epoch + 1))
    ...     return losses
    >>> train(2)
    [1.0, 0.5]

    Raises:
        OptionError: something in `state` cannot be changed in place, as a number: put it into a dict or an object.
    """
    for thing in _objects(state):
        if isinstance(thing, FIXED):
            raise OptionError(
                f"nbckpt.loop(state=...) puts objects back in place, which cannot be done to {thing!r}: keep it in a "
                "dict or an attribute, and give that as the state"
            )
    at = sys._getframe(1)  # noqa: SLF001 - who calls says which run this belongs to
    if FRAME in at.f_code.co_freevars:
        return items  # a loop of rewritten code is saved as it is
    found = None if at.f_locals is at.f_globals else _caller(at)
    if found is None:
        block = doors.block_here()
        return items if block is None or block.calling else block.going_over(items, state, at)
    frame, line, names = found
    return _calls_of(frame, line, names, items, state, at)


def names_of_users(node: ast.AST, namespace: Mapping[str, Any]) -> frozenset[str]:
    """The names of the functions, in some code and in a namespace, that use `nbckpt.loop` or call those that do.

    A statement that calls one is a place to go on at, so that nothing before it need be run again.
    """
    uses: dict[str, set[str]] = {}
    for part in ast.walk(node):
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names = {getattr(one, "attr", getattr(one, "id", "")) for one in ast.walk(part)}
            uses.setdefault(part.name, set()).update(names)
    for value in list(namespace.values()):
        parts = vars(value).values() if isinstance(value, type) and value.__module__ == "__main__" else [value]
        for function in parts:
            if isinstance(function, FunctionType) and function.__globals__ is namespace:
                names = {name for code in codes(function.__code__) for name in code.co_names}
                uses.setdefault(function.__name__, set()).update(names)
    found = {name for name, used in uses.items() if "loop" in used and ("nbckpt" in used or "loop" in namespace)}
    while more := {name for name, used in uses.items() if used & found} - found:
        found |= more
    return frozenset(found)


def _objects(state: Any) -> list[Any]:
    """The objects that a state stands for."""
    if isinstance(state, tuple):
        return list(state)
    return [state]


def _caller(at: FrameType | None) -> tuple[Caller, int, dict[str, Any]] | None:
    """The rewritten code that some code was called from, its line, and its variables."""
    outermost = getattr(builtins, RUN, None)
    while at is not None and at.f_code.co_filename != turns.__code__.co_filename:  # else a loop's header draws items
        if FRAME in at.f_code.co_freevars:
            return at.f_locals[FRAME], at.f_lineno, at.f_locals
        if isinstance(outermost, Caller) and at.f_locals is outermost.run.namespace:
            return outermost, at.f_lineno, outermost.run.namespace
        at = at.f_back
    return None


def _calls_of(
    frame: Caller, line: int, names: dict[str, Any], items: Iterable[Any], state: Any, at: FrameType
) -> Iterable[Any]:
    key = frame.current
    if frame.way is not None and not frame.way.is_inside(key):
        return items
    NAMES.add(at.f_code.co_name)
    if not frame.is_inside(key, line):
        frame.run.status.notice(
            f"the nbckpt.loop in {at.f_code.co_name}() is not saved: line {line}, which leads to it, is not a place to "
            "go on at. Call the function from a plain statement or a loop's body"
        )
        return items
    position = frame.position("call", key)
    inner = frame.inner
    if not isinstance(inner, Inner) or inner.called_at != position:
        if inner == position:
            return items
        if key in frame.loops and not _hold(frame, key, names):
            frame.inner = position  # nothing of this execution is saved, whatever else it begins
            frame.run.status.notice(
                f"the nbckpt.loop in {at.f_code.co_name}() is not saved: its caller at line {line} is in a loop "
                "over a list of which nobody can tell the current item for certain: that list, or what the item was "
                "bound to, may be another by now. Loop over a tuple of it instead"
            )
            return items
        inner = frame.inner = Inner(frame, position, at.f_code.co_name)
    return inner.going_over(items, state, at)


def _hold(frame: Caller, key: str, names: dict[str, Any]) -> bool:
    """Have a loop keep its current item; return False if what it goes over does not tell which that is any more."""
    loop, target = frame.loops[key], frame.plan[key].target
    if not target:
        return loop.hold()
    bound = ast.parse(target, mode="eval").body
    # a function's loop variable may be a global one
    return loop.hold(lambda item: _are_bound(bound, item, ChainMap(names, frame.run.namespace)))


def _are_bound(target: ast.expr, item: Any, names: Mapping[str, Any]) -> bool:
    """Whether the variables of a loop are what an item is unpacked to, as far as that is seen without the user's code.

    An attribute or an element is not looked up, and what is no tuple, list or text is not unpacked.
    """
    if isinstance(target, ast.Name):
        return names.get(target.id, NOTHING) is item
    if not isinstance(target, (ast.Tuple, ast.List)):
        return False
    if type(item) is str:
        parts: Sequence[Any] = tuple(item)  # characters are told apart by what they are
        known = [names.get(one.id) if isinstance(one, ast.Name) else None for one in target.elts]
        return len(known) == len(parts) and all(type(one) is str for one in known) and tuple(known) == parts
    kind = next((kind for kind in (tuple, list) if isinstance(item, kind)), None)
    if kind is None or any(getattr(type(item), way) is not getattr(kind, way) for way in ("__iter__", "__len__")):
        return False
    return len(target.elts) == len(item) and all(map(_are_bound, target.elts, item, repeat(names)))


class Inner(Order):
    """The loops in what one statement of rewritten code calls, in one execution."""

    def __init__(self, caller: Caller, called_at: Position, name: str) -> None:
        super().__init__(caller.run)
        self.caller, self.called_at, self.name = caller, called_at, name
        self.depth = caller.depth + 1
        self.states: dict[str, Any] = {}
        """The states of the loops in progress."""
        self.finished: set[str] = set()
        """Loops that have ended and would be run again, without a state."""
        if caller.way is not None:
            self.way = Position.from_json(self.run.restore.loaded.description["calls"][caller.depth]["position"])

    def going_over(self, items: Iterable[Any], state: Any, at: FrameType) -> Iterator[Any]:
        key = self.before_next().key
        self.states[key] = state
        found = self.loop(items, at)
        return self._until_it_ends(key, found)

    def _until_it_ends(self, key: str, items: Iterator[Any]) -> Iterator[Any]:
        yield from items
        self.finished.add(key)
        del self.states[key]

    def top(self, loop: Loop) -> None:
        inner = f"{loop.key}."
        self.finished = {key for key in self.finished if not key.startswith(inner)}  # they belong to its iterations
        super().top(loop)

    # -- where it is -----------------------------------------------------------------------------------------

    def boundary(self, position: Position, *, turn: bool) -> None:
        if self.finished:
            self.run.status.notice(
                f"{self.name}() has more than one nbckpt.loop, and nothing is saved in the later ones: what the first "
                "one did would be lost. Put @nbckpt.resumable on it instead"
            )
            return
        self.run.boundary(self.place(position), turn=turn)

    def place(self, position: Position) -> Place:
        """The position here and those in its callers, outermost first."""
        around: list[tuple[Layer, Position]] = self.caller.place(self.caller.position("call", self.called_at.key))
        return [*around, (self, position)]

    def progress(self, position: Position) -> str:
        return f"{self.name}(): {super().progress(position)}"

    def needed(self, position: Position) -> frozenset[str]:  # noqa: ARG002 - what called it says so
        return frozenset()

    def variables(self, place: Place) -> dict[str, Any]:
        return self.caller.variables(place)

    def captured(self) -> dict[str, Any]:
        return {"states": self.states}

    def saved(self) -> Any:
        return self.run.restore.root["calls"][str(self.depth - 1)]

    def saved_totals(self) -> Any:
        call = self.run.restore.loaded.description["calls"][self.depth - 1]
        return self.run.restore.loaded.description["functions"][call["function"]]["totals"]

    # -- the way back ----------------------------------------------------------------------------------------

    def arrive(self, loop: Loop | None = None) -> None:  # noqa: ARG002
        """Put the states back into the objects that there are now."""
        run = self.run
        self._refuse_changes()
        memo = Memo()
        for key, saved in self.saved()["states"].items():
            if key in self.states:
                put(self.states[key], saved, memo)
        if memo.pairs:
            replace(memo, [run.restore.root[kind] for kind in ("variables", "locals", "attributes", "loops")])
        run.recorder.swallowing = False
        run.status.notice(f"{self.name}() was called again, so what it does before its nbckpt.loop was done again")
        come_back(self.place(self._way()))

    def _way(self) -> Position:
        assert self.way is not None  # noqa: S101
        return self.way

    def _refuse_changes(self) -> None:
        """Variables that the function changes before its loop are what they were only if it changes them alike."""
        run = self.run
        randomness.restore_held(run.namespace, run.restore.held_before)
        now = run.restore.variable_digests()
        changed = {name for name in now if now[name] != run.restore.digests_before.get(name)}
        for name, value in run.restore.root["variables"].items():
            live = run.namespace.get(name, value)
            if live is not value and not (isinstance(live, FIXED) and isinstance(value, FIXED)):
                changed.add(name)
        if changed and not run.trusting:
            run.recorder.swallowing = False
            raise RestoreError(
                f"what {self.name}() does before its nbckpt.loop was done again, and has changed "
                f"{', '.join(sorted(changed))}. Nothing was lost: put that before the cell or into its own statement, "
                "go on with --on-change resume if it does not matter, or start over with --fresh"
            )
