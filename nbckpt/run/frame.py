"""One piece of rewritten code in execution: what that code calls, on its way through and on its way back in.

On the way back the code is run from its top. Statements that had completed are skipped, imports and definitions
run again, and each statement that was in progress is entered as it was; where the saved boundary is reached, the
run *arrives*, and from there on it is an ordinary run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import NbckptError, RestoreError
from ..state import randomness
from ..state.home import NOTHING
from . import cursors
from .checkpoint import Run
from .cursors import Cursor
from .gathering import Comprehensions
from .loops import AsyncTurns, Loop, adding, turns
from .place import Layer, Place, standing
from .position import LOOPS, Match, Plan, Position, Statement, Where, ancestors, loop_word


class Frame:
    """The execution of the code whose statements `plan` names: a cell's.

    `way` is the way back to the saved boundary, until it is reached.
    """

    subject = ""
    """What a person calls such code."""

    def __init__(self, run: Run, plan: Plan) -> None:
        self.run, self.plan = run, plan
        self.schedule = run.schedule
        self.loops: dict[str, Loop] = {}
        self.way: Resume | None = None
        self.ways: dict[str, bool] = {}
        """Which way each `if` went last."""
        self.current = ""
        """The statement in progress."""
        self.inner: Any = None
        """The loops in progress in what that statement calls; its position, where none of them can be saved."""
        self.values: dict[int, Any] = {}
        """What the parts of the statement in progress have evaluated to, before a call in it."""
        self.found: set[int] = set()
        """Those that were merely looked up."""
        self.comprehensions = Comprehensions(self.loops)
        self.slow: set[str] = set()
        """The statements that take so long that the boundaries before them are looked at."""
        self._random_before: dict[str, dict[str, Any]] = {}
        self._sound: set[str] = set()
        """The loops that went over what pickles last time, so that nothing has to be known for a replay."""

    # -- statements ------------------------------------------------------------------------------------------

    def step(self, key: str) -> bool:
        """Stand before a statement; return whether to execute it."""
        self.current = key
        if self.way is not None:
            with self.past_handlers(key):
                return self._approach(self.way, key)
        if key in self.loops:
            del self.loops[key]
        if self.values:
            self.values = {}
        if self.schedule.due or key in self.slow:
            self.boundary("before", key, turn=False)
        return True

    def _approach(self, way: Resume, key: str) -> bool:
        statement = self.plan[key]
        self.run.recorder.swallowing = False
        needed = key in way.entered or way.is_before(key)
        self.make_ready(way, statement, needed=needed)
        if way.is_before(key):
            self.arrive()
            return True
        if key in way.entered:
            if way.is_inside(key):
                self.run.restore.watch()
            if statement.kind in LOOPS and way.position.completed(key):
                way.take_back(statement.rebinds)
            return True
        if self.plan.comes_after(key, way.position.key):
            raise self.run.restore.refusal or RestoreError(
                f"{self.subject} took another way than before and missed line "
                f"{self.plan[way.position.key].line}, where it was. Nothing was lost: start over with --fresh"
            )
        way.take_back(statement.rebinds)
        new = statement.kind == "always" and way.is_new(statement)
        if statement.kind != "always" or not self.runs_again(way, statement, new=new):
            return False
        way.rebound |= set(statement.binds)
        if new:
            way.made |= {*statement.binds, *statement.imports}
        # what it shows was shown by the statement as it was, and is in what was replayed
        self.run.recorder.swallowing = self.run.settings.replay and not new
        return True

    def runs_again(self, way: Resume, statement: Statement, *, new: bool) -> bool:
        """Whether to run a definition again, or to leave what came back with the snapshot, which may refer to it."""
        raise NotImplementedError

    def make_ready(self, way: Resume, statement: Statement, *, needed: bool) -> None:
        """See to it that the saved objects are in place before a statement that may need them."""

    def arrive(self) -> None:
        """Stand at the saved boundary: put everything back."""
        self.run.recorder.swallowing = False
        come_back(self.place(self.way_back().position))

    @contextmanager
    def past_handlers(self, key: str) -> Iterator[None]:
        """Let a refusal on the way back, at a statement, leave the user's code: its handlers are not meant for it."""
        try:
            yield
        except NbckptError as error:
            self.run.restore.refusal = self.run.restore.refusal or error
            if self.is_caught(key):
                raise Unwound(error) from None
            raise

    def is_caught(self, key: str) -> bool:
        """Whether an `Unwound` from a statement is taken care of: nothing is around those at the top of a cell."""
        return "." in key

    def lost(self) -> NbckptError:
        """Why the code did not come to the saved boundary."""
        return self.run.restore.refusal or RestoreError(
            f"{self.subject} took another way than before and did not come to where it was. Nothing was lost: start "
            "over with --fresh"
        )

    def way_back(self) -> Resume:
        """The way back that this frame is on."""
        assert self.way is not None  # noqa: S101
        return self.way

    # -- blocks ----------------------------------------------------------------------------------------------

    def enters(self, key: str) -> bool:
        """Whether this is the way back into a statement, whose header is then not evaluated again."""
        if self.way is None or key not in self.way.entered:
            return False
        if self.plan[key].kind not in LOOPS:
            return True
        return self._record(key)["kind"] == "iterator" and key not in self.way.match.extended

    def enters_drawing(self, key: str) -> bool:
        """The same for a header that may draw random numbers: what they were before is kept for a replay."""
        if self.enters(key):
            return True
        if self.way is None and key in self._sound:
            return False
        if self.way is not None and key in self.way.entered:
            self._before_replay(self.way, self._record(key))
        else:
            held = randomness.capture_held(self.holders())
            self._random_before[key] = {"global": randomness.capture(), "held": held}
        return False

    def branch(self, key: str, way: bool) -> bool:  # noqa: FBT001 - the value of a condition
        """Remember which way an `if` goes."""
        self.ways[key] = way
        return way

    def taken(self, key: str) -> bool:
        """The way that an `if` went."""
        assert self.way is not None  # noqa: S101
        return self.branch(key, self.way.position.taken[key])

    def turn(self, key: str) -> bool:
        """Stand at the top of a `while` loop; return True to enter an iteration that had begun."""
        loop = self.loops.get(key)
        if loop is None:
            loop = self.loops[key] = self._begun(key)
        if self.way is not None:
            loop.count = self._record(key)["count"]
            if not self.way.is_top(key):
                return True
            with self.past_handlers(key):
                self.arrive()
        elif self.schedule.due:
            self.top(loop)
        loop.count += 1
        return False

    @property
    def returning(self) -> bool:
        """Whether this is the way back to the saved boundary."""
        return self.way is not None

    def loop(self, key: str, iterable: Any) -> Iterator[Any]:
        """The items of a `for` loop whose header was evaluated."""
        loop = self._begun(key)
        if self.way is None:
            loop.cursor = cursors.open_cursor(iterable, self._random_before.pop(key, None))
            if loop.cursor.kind == "iterator":
                self._sound.add(key)
            return self._go(loop)
        with self.past_handlers(key):
            return self._loop_again(loop, iterable, self.way)

    def _loop_again(self, loop: Loop, iterable: Any, way: Resume) -> Iterator[Any]:
        key = loop.key
        record, line, trust = self._record(key), self.plan[key].line, self.run.trusting
        if key not in way.match.extended:
            return self._go_on(loop, cursors.advance(iterable, record, record["count"], line, trust=trust))
        if (cursor := cursors.extend(iterable, record, record["count"], line, trust=trust)) is None:
            raise way.match.changed(
                f"the header of the loop at line {line}, which was in progress, was edited, and its first "
                f"{record['count']} items cannot be shown to be the ones that are done"
            )
        return self._go_on(loop, cursor)

    def again(self, key: str) -> Iterator[Any]:
        """The items left of a `for` loop whose iterator came back."""
        with self.past_handlers(key):
            return self._go_on(self._begun(key), cursors.reopen(self._record(key)))

    def _begun(self, key: str) -> Loop:
        statement = self.plan[key]
        gathering = self.comprehensions.begin(key, statement.gathers) if statement.gathers else None
        return Loop(key, nested=statement.nested, gathering=gathering)

    def _go(self, loop: Loop, current: Any = NOTHING) -> Iterator[Any]:
        self.loops[loop.key] = loop
        return turns(self, loop, current)

    def _go_on(self, loop: Loop, cursor: Cursor) -> Iterator[Any]:
        return self._go(loop, self._entered(loop, cursor))

    def _entered(self, loop: Loop, cursor: Cursor) -> Any:
        """Take a loop up again; return its current item if an iteration had begun."""
        assert self.way is not None  # noqa: S101
        if cursor.notice:
            self.run.status.notice(cursor.notice)
        if cursor.kind != "iterator":
            self._after_replay(self.way, loop.key)
        record = self._record(loop.key)
        loop.cursor, loop.count = cursor, record["count"]
        if loop.gathering is not None:
            loop.gathering.put_back(record)
        self.loops[loop.key] = loop
        if not self.way.is_top(loop.key):
            return cursors.current_item(record, cursor)
        self.arrive()
        return NOTHING

    def async_loop(self, key: str, iterable: Any) -> Any:
        """The items of an `async for` loop whose header was evaluated."""
        loop = self.loops[key] = self._begun(key)
        if self.way is None:
            loop.cursor = cursors.open_async_cursor(iterable, self._random_before.pop(key, None))
            return self._async_turns(loop)
        record, line = self._record(key), self.plan[key].line

        async def prepare() -> Any:
            with self.past_handlers(key):
                cursor = await cursors.advance_async(iterable, record, record["count"], line, trust=self.run.trusting)
                return self._entered(loop, cursor)

        return self._async_turns(loop, prepare)

    def async_again(self, key: str) -> Any:
        """The items left of an `async for` loop whose iterator came back."""
        loop = self.loops[key] = self._begun(key)
        with self.past_handlers(key):
            current = self._entered(loop, cursors.reopen(self._record(key)))

        async def prepare() -> Any:
            return current

        return self._async_turns(loop, prepare)

    def _async_turns(self, loop: Loop, prepare: Callable[[], Awaitable[Any]] | None = None) -> Any:
        items = AsyncTurns(self, loop, prepare)
        return items if loop.gathering is None else adding(loop.gathering, [items])

    # -- replays ---------------------------------------------------------------------------------------------

    def _before_replay(self, way: Resume, record: dict[str, Any]) -> None:
        """Put random state back to what it was when the loop began; note what drawing might change."""
        if not (before := record.get("random")):
            return
        way.held = randomness.capture_held(self.holders())
        way.digests = self.run.restore.variable_digests()
        randomness.restore(before["global"])
        randomness.restore_held(self.holders(), before["held"])

    def _after_replay(self, way: Resume, key: str) -> None:
        """Undo what drawing the finished items again did to the variables."""
        if not way.digests:
            return
        randomness.restore_held(self.holders(), way.held)
        now = self.run.restore.variable_digests()
        if changed := [name for name in now if now[name] != way.digests[name]]:
            self.redo(key, changed)

    def holders(self) -> dict[str, Any]:
        """The variables that may hold generators of random numbers."""
        return self.run.selection.held(self.run.namespace)

    def redo(self, key: str, changed: Sequence[str]) -> None:
        """Undo what the replay of a loop has changed."""
        raise NotImplementedError

    def _record(self, key: str) -> dict[str, Any]:
        assert self.way is not None  # noqa: S101
        record: dict[str, Any] = self.saved()["loops"][self.way.saved_key(key)]
        return record

    def saved(self) -> Mapping[str, Any]:
        """What the snapshot has of this frame."""
        return self.run.restore.root

    # -- position --------------------------------------------------------------------------------------------

    def top(self, loop: Loop) -> None:
        """Stand at a boundary: an iteration has ended."""
        if loop.nested and self.current != loop.key:
            last = Position("before", self.current)
            if self.schedule.ended(standing(self.place(last))[0]):
                self.slow.add(self.current)
        self.boundary("top", loop.key, turn=not (loop.nested and self.plan.has_loop_inside(loop.key)))

    def boundary(self, where: Where, key: str, *, turn: bool) -> None:
        """Stand at a boundary that somebody asked for."""
        self.run.boundary(self.place(self.position(where, key)), turn=turn)

    def is_inside(self, key: str, line: int) -> bool:
        """Whether a line belongs to a statement that would be run again as a whole, or to the body of such a loop."""
        if key not in self.plan.statements:
            return False
        statement = self.plan[key]
        if statement.kind in LOOPS:
            return not statement.nested and key in self.loops and statement.line <= line <= statement.last
        return statement.kind in ("plain", "call") and statement.line <= line <= statement.last

    def place(self, position: Position) -> list[tuple[Layer, Position]]:
        """The position in this frame and in those around it, outermost first."""
        return [(self, position)]

    def left(self, loop: Loop) -> None:
        """Forget a loop that was left, so that what it went over can be freed."""
        if self.loops.get(loop.key) is loop:
            del self.loops[loop.key]
        self.run.left(loop)

    def variables(self, place: Place) -> dict[str, Any]:  # noqa: ARG002
        """The variables that no namespace has."""
        return {}

    def captured(self) -> dict[str, Any]:
        """What a snapshot has to keep of code that was called, besides loops and variables."""
        return {}

    def described(self) -> dict[str, Any]:
        """What a later run compares such code with."""
        return {}

    def loop_name(self, key: str) -> str:
        statement = self.plan[key]
        return f"the {loop_word(statement)} at line {statement.line}"

    def position(self, where: Where, key: str, site: int = -1) -> Position:
        around = ancestors(key)
        entered = [*around, key] if where in ("top", "call") else around
        turns = {name: self.loops[name].progress() for name in entered if name in self.loops}
        return Position(where, key, turns, {name: self.ways[name] for name in around if name in self.ways}, site)

    def needed(self, position: Position) -> frozenset[str]:
        """The names that the code from a position on may read."""
        raise NotImplementedError

    def goes_on(self, key: str) -> bool:
        """Whether a loop is sure to have another iteration."""
        loop = self.loops.get(key)
        return loop is not None and loop.total is not None and loop.count < loop.total

    def progress(self, position: Position) -> str:
        """Say where a position is."""
        return self.plan.describe(position)


class Resume:
    """The way back to a saved boundary."""

    def __init__(self, found: Match, saved: Plan, position: Position) -> None:
        self.match = found
        self._begun = Counter(statement.whole for statement in saved.begun(position))
        """Fingerprints of the saved code's statements that were begun."""
        self.position = found.position
        self.entered = found.position.entered
        self.built = False
        """Whether the saved objects are in place."""
        self.rebound: set[str] = set()
        """Names of definitions that ran again."""
        self.made: set[str] = set()
        """Names that stand for what today's imports and definitions have bound on the way, and no saved one had."""
        self.held: dict[tuple[str, ...], Any] = {}
        self.digests: dict[str, str | None] = {}
        self._saved_keys = {now: saved for saved, now in found.renamed.items()}

    def is_new(self, statement: Statement) -> bool:
        """Whether a statement that is come to on the way had not been come to before, as it is now."""
        self._begun[statement.whole] -= 1
        return self._begun[statement.whole] < 0

    def take_back(self, names: Collection[str]) -> None:
        """Let names that were bound on the way be what was saved: a statement that had completed bound them since."""
        self.rebound.difference_update(names)
        self.made.difference_update(names)

    def is_before(self, key: str) -> bool:
        return self.position.where == "before" and self.position.key == key

    def is_inside(self, key: str) -> bool:
        """Whether a statement is run again, for the loop in a function that it calls."""
        position = self.position
        return position.where == "call" and position.key == key and position.site == -1

    def is_top(self, key: str) -> bool:
        return self.position.where == "top" and self.position.key == key

    def saved_key(self, key: str) -> str:
        return self._saved_keys[key]

    def needs_state(self, read: frozenset[str], saved: frozenset[str]) -> bool:
        """Whether a definition can only be made from saved values."""
        return not read.isdisjoint(saved)


class Unwound(BaseException):
    """Carries a refusal out of the user's code; no error of the user's, so that only `finally` sees it pass."""

    def __init__(self, error: NbckptError) -> None:
        super().__init__(str(error))
        self.error = error


def come_back(place: Place) -> None:
    """Let each layer of code in progress be at the saved boundary."""
    ways = [layer.way for layer, _ in place]
    for layer, _ in place:
        layer.way = None
    outermost: Any = place[0][0]
    positions = [way if isinstance(way, Position) else way.position for way in ways]
    outermost.arrived([(layer, at) for (layer, _), at in zip(place, positions, strict=True)], ways[0])
