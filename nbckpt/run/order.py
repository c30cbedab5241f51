"""Loops in code that is not rewritten: they are known by the order in which they are begun.

Such code runs again from its top on resume: loops that were done yield nothing, and the one that was in progress
goes on. Calls that can be gone on with (`block.py`) are counted among them.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from ..errors import CellChangedError, RestoreError
from ..state import randomness
from ..state.home import NOTHING
from . import cursors
from .checkpoint import Run
from .loops import Loop, turns
from .place import Place
from .position import Position, Where, ancestors


class Order:
    """The loops of one piece of such code; `way` is the saved boundary, until it is reached."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.schedule = run.schedule
        self.loops: dict[str, Loop] = {}
        self.way: Position | None = None
        self.totals: dict[str, int | None] = {}
        self._open: list[str] = []
        """The loops in progress, outermost first."""
        self._begun: dict[str, int] = {}
        """How many loops were begun in the current iteration of each loop, and (`""`) outside of any."""
        self._labels: dict[str, str] = {}

    def arrive(self, loop: Loop | None = None) -> None:
        """Stand at the saved boundary, at the top of a loop or before one."""
        raise NotImplementedError

    def boundary(self, position: Position, *, turn: bool) -> None:
        """Stand at a boundary that somebody asked for."""
        self.run.boundary([(self, position)], turn=turn)

    def saved(self) -> Any:
        """What the snapshot has of this code."""
        return self.run.restore.root

    def saved_totals(self) -> Any:
        """How long its loops were."""
        return self.run.restore.loaded.description.get("totals", {})

    def loop(self, items: Iterable[Any], caller: FrameType) -> Iterator[Any]:
        key = self.begin()
        self._labels[key] = label_of(caller)
        self.totals[key] = cursors.total_of(items)
        way = self.way
        if way is not None and way.where == "before" and key == way.key:
            self.arrive()
            way = None
        loop = Loop(key, nested=True)
        if way is None:
            fresh = {"global": randomness.capture(), "held": randomness.capture_held(self.run.namespace)}
            loop.cursor = cursors.open_cursor(items, fresh)
            return self._through(loop)
        if key not in way.entered or (way.key == key and way.where == "call"):
            self.expect_done(key, way, f"the loop at line {caller.f_lineno}")
            self._expect_length(key, caller.f_lineno)
            self.ended(key)
            return iter(())
        return self._through(loop, self._enter(loop, items, way, caller.f_lineno))

    def _enter(self, loop: Loop, items: Iterable[Any], way: Position, line: int) -> Any:
        """Take a loop up again; return its current item if an iteration had begun."""
        record = self.saved()["loops"][loop.key]
        loop.count = record["count"]
        if record["kind"] != "iterator":
            held = randomness.capture_held(self.run.namespace)
            if before := record.get("random"):
                randomness.restore(before["global"])
                randomness.restore_held(self.run.namespace, before["held"])
            loop.cursor = cursors.advance(items, record, loop.count, line, trust=self.run.trusting)
            if loop.cursor.notice:
                self.run.status.notice(loop.cursor.notice)
            randomness.restore_held(self.run.namespace, held)
        elif cursors.total_of(items) not in (None, record["total"]):
            loop.cursor = cursors.extend(items, record, loop.count, line, trust=self.run.trusting)
            if loop.cursor is None:
                raise CellChangedError(
                    f"the loop at line {line}, which was in progress, goes over something else now, and its first "
                    f"{loop.count} items cannot be shown to be the ones that are done. Nothing was lost: undo the "
                    "edit, go on with on_change='resume', or start over with fresh=True"
                )
        else:
            loop.cursor = cursors.reopen(record, items)
        if way.where != "top" or way.key != loop.key:
            return cursors.current_item(record, loop.cursor)
        self.arrive(loop)
        return NOTHING

    def _through(self, loop: Loop, current: Any = NOTHING) -> Iterator[Any]:
        self.loops[loop.key] = loop
        self._open.append(loop.key)
        try:
            for item in turns(self, loop, current):
                if self._begun.get(loop.key, 1):
                    self.turned(loop.key)
                self._begun[loop.key] = 0
                yield item
        finally:
            if loop.key in self._open:
                del self._open[self._open.index(loop.key) :]
            self._begun.pop(loop.key, None)
            self.ended(loop.key)

    def turned(self, key: str) -> None:
        """An iteration of a loop that may have loops of its own begins."""

    def ended(self, key: str) -> None:
        """A loop is over, or was found to be done."""

    def begin(self) -> str:
        """Count what begins, a loop or a call; return what it is known by."""
        key = self._next_key()
        self._begun[outside(key)] = int(key.rpartition(".")[2]) + 1
        return key

    def _next_key(self) -> str:
        parent = self._open[-1] if self._open else ""
        index = self._begun.get(parent, 0)
        return f"{parent}.loop.{index}" if parent else str(index)

    def _expect_length(self, key: str, line: int) -> None:
        saved = self.saved_totals().get(key)
        if not self.run.trusting and None not in (saved, self.totals[key]) and saved != self.totals[key]:
            raise CellChangedError(
                f"the loop at line {line} was done when it had {saved} items, and now it has {self.totals[key]}. "
                "Nothing was lost: undo the edit, go on with on_change='resume', or start over with fresh=True"
            )

    def expect_done(self, key: str, way: Position, what: str) -> None:
        """Make sure that what is begun on the way back stands before what was in progress.

        Raises:
            RestoreError: it does not.
        """
        block, index = key.rpartition(".")[::2]
        target = next((name for name in [*way.entered, way.key] if name.rpartition(".")[0] == block), None)
        if way.where != "end" and (target is None or int(index) >= int(target.rpartition(".")[2])):
            raise RestoreError(
                f"the script took another way than before: it came to {what} without the one that "
                "was in progress. Nothing was lost: undo the edit, or start over with fresh=True"
            )

    def variables(self, place: Place) -> dict[str, Any]:  # noqa: ARG002
        """Nobody can tell which it has."""
        return {}

    def captured(self) -> dict[str, Any]:
        """Its loops say it all."""
        return {}

    def described(self) -> dict[str, Any]:
        """How long its loops were."""
        return {"totals": self.totals}

    @property
    def in_loop(self) -> bool:
        """Whether a loop is in progress."""
        return bool(self._open)

    def before_next(self) -> Position:
        """The position before the loop that is begun next."""
        return Position("before", self._next_key())

    def left(self, loop: Loop) -> None:
        """Forget a loop that was left."""
        if self.loops.get(loop.key) is loop:
            del self.loops[loop.key]
        self.run.left(loop)

    def needed(self, position: Position) -> frozenset[str]:  # noqa: ARG002 - nobody can tell for such code
        """The names that must be saved."""
        return self.run.selection.only or frozenset()

    def top(self, loop: Loop) -> None:
        """Stand at a boundary: an iteration has ended."""
        self.boundary(self.position("top", loop.key), turn=not self._begun.get(loop.key))

    def position(self, where: Where, key: str, site: int = -1) -> Position:
        """A position in this code."""
        around = [*ancestors(key), key]
        begun = {name: self.loops[name].progress() for name in around if name in self.loops}
        return Position(where, key, begun, site=site)

    def loop_name(self, key: str) -> str:
        return f"the loop over {self._labels.get(key, 'iterations')}"

    def progress(self, position: Position) -> str:
        """Say where a position is: `epoch 57 of 100`."""
        if position.where == "end":
            return "the end"
        words = [position.say(self._labels.get(key, "iteration"), key) for key in position.turns]
        return ", ".join(words) or ("" if position.where == "call" else "before a loop")


def outside(key: str) -> str:
    """The loop that something was begun in, or nothing."""
    return key.rpartition(".loop.")[0]


def label_of(caller: FrameType) -> str:
    """The loop variable's name, read off the line that begins the loop."""
    line = linecache.getline(caller.f_code.co_filename, caller.f_lineno, caller.f_globals)
    found = re.match(r"\s*(?:async\s+)?for\s+(\w+)\s+in\b", line)
    return found[1] if found and found[1] != "_" else "iteration"
