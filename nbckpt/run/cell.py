"""A cell's run: whether it can go on where it was, and what its own code calls besides what any code does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from ..errors import CellChangedError, NbckptError, RestoreError, UnpicklableError
from ..state.home import NOTHING
from ..state.liveness import Liveness
from ..state.namespace import HISTORY, names_of_definitions, names_read_by_calling
from .checkpoint import Run
from .frame import Resume, Unwound
from .function import Caller, check
from .hint import Hint
from .place import Layer, Place
from .position import EDITED, Plan, Position, Statement, match
from .tracebacks import without_ours


class CellRun(Run):
    """The run of one cell, of which `plan` names the statements and `source` is the text."""

    kind = "cell"

    def __init__(
        self,
        plan: Plan,
        source: str,
        alive: Liveness,
        callees: frozenset[str],
        begin: Callable[[int], None],
        *args: Any,
        **options: Any,
    ) -> None:
        super().__init__(*args, remade=alive.remade, **options)
        self.plan, self.source, self.alive = plan, source, alive
        self.callees |= callees
        self.frame = CellFrame(self, begin)
        self.reached_end = False
        self.schedule.missed = Hint(self.namespace, self.status.notice).look

    @property
    def outermost(self) -> Layer:
        return self.frame

    def prepare(self) -> None:
        """Find the way back to the snapshot there is, or make sure that a fresh run can be saved.

        Raises:
            CellChangedError: the snapshot is of other code.
            UnpicklableError: something that the cell is given cannot be saved.
        """
        if self.restore.saved is not None:
            try:
                self.frame.way = self._match()
                check(self, {name for statement in self.plan.statements.values() for name in statement.binds})
            except CellChangedError:
                if self.settings.on_change != "restart":
                    raise
                self.status.notice("the cell was edited where it had run already, so it starts over")
                self.restore.saved = self.frame.way = None
        self._look_at_files()
        if self.restore.saved is None:
            self._look_at_history()
            began = time.perf_counter()
            self.check(self.alive.inputs, self.alive.later)
            self.schedule.expect(time.perf_counter() - began)
        elif not self.is_retry:
            known = self.restore.saved.description.get("inputs", {})
            self.restore.differing = self.capture.compare_inputs(self.namespace, known)
            self._look_at_definitions()

    def start(self) -> None:
        super().start()
        if self.settings.retry and self.restore.saved is None:
            self.schedule.soon()  # so that there is something to go back to

    def _look_at_files(self) -> None:
        """A `with open(..., "w")` around a loop is entered again on resume, and would empty its file."""
        entered = self.frame.way.entered if self.frame.way is not None and self.restore.saved is not None else []
        for key, statement in self.plan.statements.items():
            if not statement.empties:
                continue
            if key in entered and not self.trusting:
                raise RestoreError(
                    f"line {statement.line} was in progress and would open its file for writing again, which empties "
                    "it of what finished iterations wrote. Nothing was touched: open it for appending ('a') and run "
                    "the cell with --on-change resume, or start over with --fresh"
                )
            if self.restore.saved is None:
                self.status.notice(
                    f"line {statement.line} opens a file for writing around a loop, and a resume would empty it: open "
                    "it for appending ('a') to go on with it"
                )

    def _look_at_definitions(self) -> None:
        """Say which functions and classes of earlier cells were edited that had been used: what came of that stands."""
        description, namespace = self.restore.loaded.description, self.namespace
        edited = self.capture.compare_code(namespace, description.get("code", {}))
        if not edited:
            return
        plan, position = Plan.from_json(description["plan"]), Position.from_json(description["position"])
        read = plan.read_by(position)
        read |= names_of_definitions((namespace.get(name) for name in read), namespace).reads
        named = {name for statement in plan.statements.values() for name in statement.reads}
        made = {name for name in edited - named if isinstance(namespace[name], type)}  # objects of it were there before
        for name in sorted(edited & (read | made)):
            self.status.notice(EDITED.format(name))

    def _look_at_history(self) -> None:
        """What the kernel was told and has answered is not what another kernel was."""
        selection = self.selection
        if read := sorted((selection.names & HISTORY) - selection.binds - selection.exclude):
            raise UnpicklableError(
                f"the cell reads {read[0]}, which belongs to this kernel and would be another one's after a resume. "
                f"Nothing was run: give what it needs of it a name in a cell before this one (answer = Out[3]), or, "
                f"if it does not matter, use --exclude {read[0]}",
                read[0],
            )

    def _match(self) -> Resume:
        description = self.restore.loaded.description
        if description.get("kind") != self.kind:
            raise CellChangedError(
                f"checkpoint {self.name!r} was made by a {description.get('kind')}, not by a cell. Nothing was run: "
                "use another name, or start over with --fresh"
            )
        saved = Plan.from_json(description["plan"])
        position = Position.from_json(description["position"])
        found = match(saved, self.plan, position, self.settings.on_change, (description["source"], self.source))
        for notice in found.notices:
            self.status.notice(notice)
        return Resume(found, saved, position)

    def plan_json(self) -> dict[str, Any]:
        """What a later run compares its own cell with."""
        return {"plan": self.plan.to_json(), "source": self.source, "callees": sorted(self.callees)}


class CellFrame(Caller):
    """The execution of the cell's own code, which finds it under the name `__nbckpt__`.

    `begin` begins another cell that this one runs, as the front would.
    """

    run: CellRun
    subject = "the cell"

    def __init__(self, run: CellRun, begin: Callable[[int], None]) -> None:
        super().__init__(run, run.plan)
        self.begin = begin
        self.frames = Frames()
        self.retries: Any = None
        """Runs it again when it fails, with `--retry`."""

    def make_ready(self, way: Resume, statement: Statement, *, needed: bool) -> None:
        """Build the saved objects as late as that may be: a definition that runs again may be needed for it."""
        read = self._read_to_define(statement) - way.rebound
        held = self.run.restore.saved_names() | self._redefined_before() | self._lacking()
        if not way.built and (needed or way.needs_state(read, held)):
            self._build(way)

    def _lacking(self) -> frozenset[str]:
        """Modules and definitions of cells that were not run here: they come with what was saved."""
        saved = self.run.restore.loaded
        known = frozenset(saved.description["modules"]) | frozenset(saved.parts["definitions"].info["names"])
        return known - self.run.namespace.keys()

    def _build(self, way: Resume) -> None:
        """Build what was saved. What the cell had defined by then and has not again is another than is live."""
        self.run.home.outdated = self._redefined_before() - way.rebound
        self.run.restore.build(way.made)
        way.built = True

    def _redefined_before(self) -> frozenset[str]:
        return frozenset(self.run.restore.loaded.description.get("redefined", ()))

    def _read_to_define(self, statement: Statement) -> frozenset[str]:
        """The names that a definition needs when it is made, also through the decorators that it calls."""
        return names_read_by_calling(statement.eager, self.run.namespace)

    def runs_again(self, way: Resume, statement: Statement, *, new: bool) -> bool:
        return new or not statement.binds or not self._comes_back(way, statement)

    def _comes_back(self, way: Resume, statement: Statement) -> bool:
        """Whether a definition is in the snapshot, and is to be had from there: what comes with it refers to it."""
        name = statement.binds[0]
        if way.built:
            return name in self.run.home.saved or name in self.run.restore.root["variables"]
        return statement.rivals and name in self._redefined_before()

    def arrived(self, place: Place, way: Resume) -> None:
        """Put everything back."""
        self.run.restore.arrive(place, frozenset(way.rebound), frozenset(way.made))
        run = self.run
        answers = {"_", "__", "___"} & run.selection.names - run.selection.binds & run.namespace.keys()
        run.recorder.take_for_shown({name: run.namespace[name] for name in answers})

    def redo(self, key: str, changed: Sequence[str]) -> None:
        way = self.way_back()
        around = way.entered[: way.entered.index(key)]
        if any(self.plan[name].gathers for name in around):
            raise RestoreError(
                f"drawing the finished items of the loop at line {self.plan[key].line} again changed "
                f"{', '.join(changed)}, which the comprehension around it had taken up. Nothing was lost: start "
                "over with --fresh; looping over a list avoids it"
            )
        self.run.status.notice(
            f"drawing its finished items again also changed {', '.join(changed)}, which was put back"
        )
        entered = {way.saved_key(name): self.loops[name] for name in around if name in self.loops}
        self.run.restore.build_again(entered, way.made)

    def needed(self, position: Position) -> frozenset[str]:
        """The names that the rest of the cell may read, itself and through the functions it calls."""
        if position.where == "end":
            return frozenset()
        alive, namespace = self.run.alive, self.run.namespace
        read = (alive.tops if position.where == "top" else alive.before)[position.key]
        if position.where == "top" and self.goes_on(position.key):
            # what is read only after the loop, as the loss of its last batch, is bound again before that
            read = alive.turns.get(position.key, read)
        called = names_of_definitions((namespace.get(name) for name in read), namespace).reads
        return read | called | self.kept_names(position)

    def end(self, *value: Any) -> Any:
        """The last statement was executed; `value` is the last expression's."""
        if self.way is not None:
            self.ended()
        run = self.run
        run.reached_end = True
        if run.status.state != "restored":
            run.result = value[0] if value else NOTHING
            run.recorder.mark()
        return value[0] if value else None

    def ended(self) -> Any:
        """The last statement had been executed already; return its value."""
        run = self.run
        if self.way is not None:
            if self.way.position.where != "end":
                raise self.lost()
            if not self.way.built:
                self._build(self.way)
            self.arrive()
        run.reached_end = True
        run.recorder.mark()
        return None if run.result is NOTHING else run.result


class Frames:
    """Takes nbckpt's own frames out of the traceback of an exception that passes."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, Unwound):
            raise error.error from None
        if error is not None and not isinstance(error, NbckptError):
            without_ours(error)
