"""A cell's run: what the rewritten code calls, on its way through and on its way back in.

On the way back the code is run from its top. Statements that had completed are skipped, imports and definitions
run again, and each statement that was in progress is entered as it was; where the saved boundary is reached, the
run *arrives*, and from there on it is an ordinary run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any

from ..errors import CellChangedError, NbckptError, RestoreError
from ..state import randomness
from ..state.home import NOTHING
from ..state.namespace import Liveness, names_of_definitions, names_read_by_calling
from . import comprehensions, cursors
from .checkpoint import Run
from .cursors import Cursor
from .gathering import Comprehensions
from .loops import AsyncTurns, Loop, adding, turns
from .position import LOOPS, Match, Plan, Position, Statement, ancestors, loop_word, match

_PACKAGE = str(Path(__file__).parent.parent)


class CellRun(Run):
    """The run of one cell, of which `plan` names the statements and `source` is the text."""

    kind = "cell"

    def __init__(
        self, plan: Plan, source: str, alive: Liveness, begin: Callable[[int], None], *args: Any, **options: Any
    ) -> None:
        super().__init__(*args, remade=alive.remade, **options)
        self.plan, self.source, self.alive = plan, source, alive
        self.begin = begin
        """Begins another cell that this one runs, as the front would."""
        self.frames = Frames()
        self.comprehensions = Comprehensions(self.loops)
        self.reached_end = False
        self.way: Resume | None = None
        """The way back to the saved boundary, until it is reached."""
        self.ways: dict[str, bool] = {}
        """Which way each `if` went last."""
        self._random_before: dict[str, dict[str, Any]] = {}
        self._sound: set[str] = set()
        """The loops that went over what pickles last time, so that nothing has to be known for a replay."""

    def prepare(self) -> None:
        """Find the way back to the snapshot there is, or make sure that a fresh run can be saved.

        Raises:
            CellChangedError: the snapshot is of other code.
            UnpicklableError: something that the cell is given cannot be saved.
        """
        if self.saved is not None:
            try:
                self.way = Resume(self._match())
            except CellChangedError:
                if self.settings.on_change != "restart":
                    raise
                self.status.notice("the cell was edited where it had run already, so it starts over")
                self.saved = None
        self._look_at_files()
        if self.saved is None:
            self.capture.check_inputs(self.namespace, self.alive.inputs, self.alive.later)
        else:
            known = self.saved.description.get("inputs", {})
            self.differing = self.capture.compare_inputs(self.namespace, known)

    def _look_at_files(self) -> None:
        """A `with open(..., "w")` around a loop is entered again on resume, and would empty its file."""
        entered = self.way.entered if self.way is not None and self.saved is not None else []
        for key, statement in self.plan.statements.items():
            if not statement.empties:
                continue
            if key in entered and not self.trusting:
                raise RestoreError(
                    f"line {statement.line} was in progress and would open its file for writing again, which empties "
                    "it of what finished iterations wrote. Nothing was touched: open it for appending ('a') and run "
                    "the cell with --on-change resume, or start over with --fresh"
                )
            if self.saved is None:
                self.status.notice(
                    f"line {statement.line} opens a file for writing around a loop, and a resume would empty it: open "
                    "it for appending ('a') to go on with it"
                )

    def _match(self) -> Match:
        description = self._saved().description
        if description.get("kind") != self.kind:
            raise CellChangedError(
                f"checkpoint {self.name!r} was made by a {description.get('kind')}, not by a cell. Nothing was run: "
                "use another name, or start over with --fresh"
            )
        saved = Plan.from_json(description["plan"])
        position = Position.from_json(description["position"])
        self._known = {statement.whole for statement in saved.statements.values()}
        found = match(saved, self.plan, position, self.settings.on_change, (description["source"], self.source))
        for notice in found.notices:
            self.status.notice(notice)
        return found

    # -- statements ------------------------------------------------------------------------------------------

    def step(self, key: str) -> bool:
        """Stand before a statement; return whether to execute it."""
        if self.way is not None:
            return self._approach(self.way, key)
        if key in self.loops:
            del self.loops[key]
        if self.schedule.due:
            self.boundary(self._position("before", key), turn=False)
        return True

    def _approach(self, way: Resume, key: str) -> bool:
        statement = self.plan[key]
        needed = key in way.entered or way.is_before(key)
        if not way.built and (needed or way.needs_state(self._read_to_define(statement), self.saved_names())):
            self.build()
            way.built = True
        if way.is_before(key):
            self._arrive()
            return True
        if key in way.entered:
            return True
        if self.plan.comes_after(key, way.position.key):
            raise RestoreError(
                f"the cell took another way than before and missed line {self.plan[way.position.key].line}, where it "
                "was. Nothing was lost: start over with --fresh"
            )
        if statement.kind != "always":
            return False
        if way.built and statement.binds and statement.whole in self._known:
            return False  # it came back with the snapshot, and what came with it refers to it
        way.rebound |= set(statement.binds)
        return True

    def _read_to_define(self, statement: Statement) -> frozenset[str]:
        """The names that a definition needs when it is made, also through the decorators that it calls."""
        return names_read_by_calling(statement.eager, self.namespace)

    def _arrive(self) -> None:
        assert self.way is not None  # noqa: S101
        way = self.way
        edited = {
            name
            for statement in self.plan.statements.values()
            if statement.whole not in self._known
            for name in statement.binds
        }
        self.arrive(way.position, frozenset(way.rebound), frozenset(edited))
        self.way = None

    def needed(self, position: Position) -> frozenset[str]:
        """The names that the rest of the cell may read, itself and through the functions it calls."""
        if position.where == "end":
            return frozenset()
        own = self.alive.before if position.where == "before" else self.alive.tops
        read = own[position.key]
        if position.where == "top" and self._goes_on(position.key):
            # what is read only after the loop, as the loss of its last batch, is bound again before that
            read = self.alive.turns.get(position.key, read)
        return read | names_of_definitions((self.namespace.get(name) for name in read), self.namespace).reads

    def _goes_on(self, key: str) -> bool:
        """Whether a loop is sure to have another iteration."""
        loop = self.loops.get(key)
        return loop is not None and loop.total is not None and loop.count < loop.total

    def end(self, *value: Any) -> Any:
        """The last statement was executed; `value` is the last expression's."""
        if self.way is not None:
            self.ended()
        self.reached_end = True
        if self.status.state != "restored":
            self.result = value[0] if value else NOTHING
            self.recorder.mark()
        return value[0] if value else None

    def ended(self) -> Any:
        """The last statement had been executed already; return its value."""
        if self.way is not None:
            if self.way.position.where != "end":
                raise RestoreError(
                    "the cell took another way than before and did not come to where it was. Nothing was lost: "
                    "start over with --fresh"
                )
            if not self.way.built:
                self.build()
            self._arrive()
        self.reached_end = True
        self.recorder.mark()
        return None if self.result is NOTHING else self.result

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
            held = randomness.capture_held(self.selection.held(self.namespace))
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
            self._arrive()
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
        record = self._record(key)
        if key in self.way.match.extended:
            return self._go_on(loop, cursors.extend(iterable, record, record["count"], self.plan[key].line))
        line = self.plan[key].line
        return self._go_on(loop, cursors.advance(iterable, record, record["count"], line, trust=self.trusting))

    def again(self, key: str) -> Iterator[Any]:
        """The items left of a `for` loop whose iterator came back."""
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
            self.status.notice(cursor.notice)
        if cursor.kind != "iterator":
            self._after_replay(self.way, loop.key)
        record = self._record(loop.key)
        loop.cursor, loop.count = cursor, record["count"]
        if loop.gathering is not None:
            loop.gathering.put_back(record)
        self.loops[loop.key] = loop
        if not self.way.is_top(loop.key):
            return cursors.current_item(record, cursor)
        self._arrive()
        return NOTHING

    def async_loop(self, key: str, iterable: Any) -> Any:
        """The items of an `async for` loop whose header was evaluated."""
        loop = self.loops[key] = self._begun(key)
        if self.way is None:
            loop.cursor = cursors.open_async_cursor(iterable, self._random_before.pop(key, None))
            return self._async_turns(loop)
        record, line = self._record(key), self.plan[key].line

        async def prepare() -> Any:
            cursor = await cursors.advance_async(iterable, record, record["count"], line, trust=self.trusting)
            return self._entered(loop, cursor)

        return self._async_turns(loop, prepare)

    def async_again(self, key: str) -> Any:
        """The items left of an `async for` loop whose iterator came back."""
        loop = self.loops[key] = self._begun(key)
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
        way.held = randomness.capture_held(self.selection.held(self.namespace))
        way.digests = self.variable_digests()
        randomness.restore(before["global"])
        randomness.restore_held(self.namespace, before["held"])

    def _after_replay(self, way: Resume, key: str) -> None:
        """Undo what drawing the finished items again did to the variables."""
        if not way.digests:
            return
        randomness.restore_held(self.namespace, way.held)
        now = self.variable_digests()
        if changed := [name for name in now if now[name] != way.digests[name]]:
            around = way.entered[: way.entered.index(key)]
            if any(self.plan[name].gathers for name in around):
                raise RestoreError(
                    f"drawing the finished items of the loop at line {self.plan[key].line} again changed "
                    f"{', '.join(changed)}, which the comprehension around it had taken up. Nothing was lost: start "
                    "over with --fresh; looping over a list avoids it"
                )
            self.status.notice(
                f"drawing its finished items again also changed {', '.join(changed)}, which was put back"
            )
            self.build_again({way.saved_key(name): self.loops[name] for name in around if name in self.loops})

    def _record(self, key: str) -> dict[str, Any]:
        assert self.way is not None  # noqa: S101
        record: dict[str, Any] = self.root["loops"][self.way.saved_key(key)]
        return record

    # -- position --------------------------------------------------------------------------------------------

    def top(self, loop: Loop) -> None:
        """Stand at a boundary: an iteration has ended."""
        self.boundary(self._position("top", loop.key), turn=not loop.nested)

    def loop_name(self, key: str) -> str:
        statement = self.plan[key]
        return f"the {loop_word(statement)} at line {statement.line}"

    def _position(self, where: Any, key: str) -> Position:
        around = ancestors(key)
        entered = [*around, key] if where == "top" else around
        turns = {name: (self.loops[name].count, self.loops[name].total) for name in entered if name in self.loops}
        return Position(where, key, turns, {name: self.ways[name] for name in around if name in self.ways})

    def progress(self, position: Position) -> str:
        """Say where a position is."""
        return self.plan.describe(position)

    def plan_json(self) -> dict[str, Any]:
        """What a later run compares its own cell with."""
        return {"plan": self.plan.to_json(), "source": self.source}


class Resume:
    """The way back to a saved boundary."""

    def __init__(self, found: Match) -> None:
        self.match = found
        self.position = found.position
        self.entered = found.position.entered
        self.built = False
        """Whether the saved objects are in place."""
        self.rebound: set[str] = set()
        """Names of definitions that ran again."""
        self.held: dict[tuple[str, ...], Any] = {}
        self.digests: dict[str, str | None] = {}
        self._saved_keys = {now: saved for saved, now in found.renamed.items()}

    def is_before(self, key: str) -> bool:
        return self.position.where == "before" and self.position.key == key

    def is_top(self, key: str) -> bool:
        return self.position.where == "top" and self.position.key == key

    def saved_key(self, key: str) -> str:
        return self._saved_keys[key]

    def needs_state(self, read: frozenset[str], saved: frozenset[str]) -> bool:
        """Whether a definition can only be made from saved values."""
        return not read.isdisjoint(saved)


class Frames:
    """Takes nbckpt's own frames out of the traceback of an exception that passes."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error is None or isinstance(error, NbckptError):
            return
        at = error.__traceback__
        while at is not None:
            while at.tb_next is not None and _is_ours(at.tb_next.tb_frame.f_code):
                at.tb_next = at.tb_next.tb_next
            at = at.tb_next


def _is_ours(code: CodeType) -> bool:
    if code.co_name == "<listcomp>" and comprehensions.STRETCH in code.co_varnames:
        return True  # around the user's own
    return code.co_filename.startswith(_PACKAGE)
