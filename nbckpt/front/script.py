"""Checkpoints in scripts and functions: `with nbckpt.checkpointed(...) as ckpt: for x in ckpt.loop(items): ...`.

A script's code is not rewritten, so on resume it runs again from the top of the `with` block: loops that were
done yield nothing, the loop that was in progress goes on, and the variables are put back where it does.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..errors import CellChangedError, OptionError, RestoreError, UnknownCheckpoint
from ..run import cursors
from ..run.checkpoint import Run
from ..run.loops import Loop, turns
from ..run.position import Position, ancestors
from ..settings import DEFAULT_STORE, Settings
from ..state import parts, randomness
from ..state.home import NOTHING, Home
from ..state.namespace import Selection
from ..storage.repository import Repository

if TYPE_CHECKING:
    from ..settings import Every

Item = TypeVar("Item")


def checkpointed(
    name: str,
    *,
    vars: Iterable[str] | None = None,  # noqa: A002 - the name of the option
    every: str | float | Every | None = None,
    store: str | None = None,
    keep: int | None = None,
    fresh: bool | None = None,
    on_change: str | None = None,
    rng: bool | None = None,
    quiet: bool | None = None,
) -> Checkpoint:
    """Make the loops of a `with` block resumable.

    `vars` names variables of the calling module: they are saved, and bound again on resume. Inside a function,
    whose variables cannot be bound from outside, keep what must survive on `ckpt.state` instead. The other
    options are those of `%%checkpointed`.

    >>> import nbckpt, tempfile
    >>> with nbckpt.checkpointed("count", store=tempfile.mkdtemp(), quiet=True) as ckpt:
    ...     if not ckpt.resumed:
    ...         ckpt.state.total = 0
    ...     for x in ckpt.loop(range(5)):
    ...         ckpt.state.total += x
    >>> ckpt.state.total
    10

    Raises:
        OptionError: an option makes no sense, or `vars` is asked for inside a function.
    """
    caller = sys._getframe(1)  # noqa: SLF001 - whose variables to save
    at_module_level = caller.f_locals is caller.f_globals
    if vars is not None and not at_module_level:
        raise OptionError(
            f"checkpointed({name!r}, vars=...) works at the top level of a module, and this is inside "
            f"{caller.f_code.co_name}(), whose variables cannot be bound from outside: keep what must survive on "
            "ckpt.state"
        )
    options = {"name": name, "vars": vars, "every": every, "store": store, "keep": keep}
    settings = Settings.collect({**options, "fresh": fresh, "on_change": on_change, "rng": rng, "quiet": quiet})
    return Checkpoint(settings, caller.f_globals if at_module_level else {})


def load(name: str, *, store: str | None = None) -> dict[str, Any]:
    """The variables in the newest snapshot of a checkpoint, and what was on `ckpt.state`; nothing is touched.

    Raises:
        UnknownCheckpoint: the store has no snapshot of that name.
        RestoreError: its objects cannot be built here.
    """
    place = store or os.environ.get("NBCKPT_STORE") or DEFAULT_STORE
    saved = Repository.open(place, create=False).load(name)
    if saved is None:
        raise UnknownCheckpoint(f"the store {place!r} has no checkpoint {name!r}: `nbckpt list` shows those it has")
    home = Home(dict(sys.modules["__main__"].__dict__))
    root = parts.build(saved.parts, saved.parts["definitions"], home)
    variables: dict[str, Any] = {**root["attributes"], **root["variables"]}
    home.namespace.update(home.made | variables)
    return variables


class Checkpoint:
    """A checkpoint in a script: what `with checkpointed(...) as ckpt` gives.

    `state` is for attributes of one's own: they are saved, and are there again after a resume.
    """

    def __init__(self, settings: Settings, namespace: dict[str, Any]) -> None:
        self._settings, self._namespace = settings, namespace
        self._entered: ScriptRun | None = None
        self.state = State()
        self.resumed = False
        """Whether this run goes on from a snapshot."""
        self.completed = False
        """Whether an earlier run had come to the end: loops yield nothing, and its result is in place."""

    def __enter__(self) -> Checkpoint:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        from IPython.core.getipython import get_ipython

        from .display import StatusLine

        settings = self._settings
        only = frozenset(settings.vars or ())
        reporter = StatusLine(get_ipython(), quiet=settings.quiet)
        selection = Selection(set(only), set(only), only)
        run = ScriptRun(settings.name or "", settings, self._namespace, selection, reporter)
        run.attributes = vars(self.state)
        run.open()
        self.resumed = run.saved is not None
        self.completed = run.saved is not None and bool(run.saved.description["finished"])
        run.prepare()
        run.start()
        self._entered = run
        return self

    @property
    def _run(self) -> ScriptRun:
        if self._entered is None:
            raise OptionError("a checkpoint works inside its block: `with nbckpt.checkpointed(...) as ckpt:`")
        return self._entered

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> Literal[False]:
        run, self._entered = self._run, None
        try:
            if error is None:
                run.leave()
            else:
                run.stop()
        finally:
            run.close()
        return False

    def loop(self, items: Iterable[Item]) -> Iterator[Item]:
        """Go over items, skipping those that are done; loops may be nested.

        Each iteration's end is a boundary: nothing is ever saved in the middle of one.
        """
        return self._run.loop(items, sys._getframe(1))  # noqa: SLF001 - names the loop in messages

    def save(self) -> None:
        """Ask for a snapshot at the next boundary: the end of this iteration, or now if no loop is running."""
        self._run.ask()

    def log(self, **metrics: float) -> None:
        """Record numbers with the snapshots from now on, such as `loss=0.3`."""
        self._run.metrics.update({name: float(value) for name, value in metrics.items()})


class State:
    """Attributes that survive."""

    def __repr__(self) -> str:
        return f"State({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class ScriptRun(Run):
    """The run of a `with` block: loops are known by the order in which they are begun."""

    kind = "script"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, home=vars(sys.modules["__main__"]))
        self._way: Position | None = None
        """The saved boundary, until it is reached."""
        self._digests: dict[str, str | None] = {}
        self._open: list[str] = []
        """The loops in progress, outermost first."""
        self._begun: dict[str, int] = {}
        """How many loops were begun in the current iteration of each loop, and (`""`) outside of any."""
        self._labels: dict[str, str] = {}
        self._totals: dict[str, int | None] = {}

    def prepare(self) -> None:
        """Put the variables in place, for the code before the loop."""
        if self.saved is None:
            given = self.selection.only or frozenset()
            self.capture.check_inputs(self.namespace, given, given)
            self.capture.inputs = {}  # nobody can tell which variables the code only reads
            return
        if self.saved.description.get("kind") != self.kind:
            raise CellChangedError(
                f"checkpoint {self.name!r} was made by a cell, not by a script. Nothing was run: use another name, "
                "or start over with fresh=True"
            )
        self._way = Position.from_json(self.saved.description["position"])
        self.build()
        self._digests = self.variable_digests()

    def start(self) -> None:
        super().start()
        self.recorder.stop()  # a script's output is its terminal's or its log's

    def ask(self) -> None:
        if self._open:
            self.schedule.ask()
        elif self._way is None:
            self.save(Position("before", self._next_key()))

    # -- loops -----------------------------------------------------------------------------------------------

    def loop(self, items: Iterable[Any], caller: FrameType) -> Iterator[Any]:
        key = self._next_key()
        self._begun[key.rpartition(".loop.")[0]] = int(key.rpartition(".")[2]) + 1
        self._labels[key] = _label(caller)
        self._totals[key] = cursors.total_of(items)
        way = self._way
        if way is not None and way.where == "before" and key == way.key:
            self._arrive()
            way = None
        loop = Loop(key, nested=True)
        if way is None:
            fresh = {"global": randomness.capture(), "held": randomness.capture_held(self.namespace)}
            loop.cursor = cursors.open_cursor(items, fresh)
            return self._through(loop)
        if key not in way.entered:
            self._expect_done(key, way, caller.f_lineno)
            return iter(())
        return self._through(loop, self._enter(loop, items, way, caller.f_lineno))

    def _enter(self, loop: Loop, items: Iterable[Any], way: Position, line: int) -> Any:
        """Take a loop up again; return its current item if an iteration had begun."""
        record = self.root["loops"][loop.key]
        loop.count = record["count"]
        if record["kind"] != "iterator":
            held = randomness.capture_held(self.namespace)
            if before := record.get("random"):
                randomness.restore(before["global"])
                randomness.restore_held(self.namespace, before["held"])
            loop.cursor = cursors.advance(items, record, loop.count, line, trust=self.trusting)
            if loop.cursor.notice:
                self.status.notice(loop.cursor.notice)
            randomness.restore_held(self.namespace, held)
        elif cursors.total_of(items) not in (None, record["total"]):
            loop.cursor = cursors.extend(items, record, loop.count, line)
        else:
            loop.cursor = cursors.reopen(record, items)
        if way.where != "top" or way.key != loop.key:
            return cursors.current_item(record, loop.cursor)
        self._arrive(loop)
        return NOTHING

    def _through(self, loop: Loop, current: Any = NOTHING) -> Iterator[Any]:
        self.loops[loop.key] = loop
        self._open.append(loop.key)
        try:
            for item in turns(self, loop, current):
                self._begun[loop.key] = 0
                yield item
        finally:
            if loop.key in self._open:
                del self._open[self._open.index(loop.key) :]

    def _next_key(self) -> str:
        parent = self._open[-1] if self._open else ""
        index = self._begun.get(parent, 0)
        return f"{parent}.loop.{index}" if parent else str(index)

    def _expect_done(self, key: str, way: Position, line: int) -> None:
        saved = self._saved().description.get("totals", {}).get(key)
        if not self.trusting and None not in (saved, self._totals[key]) and saved != self._totals[key]:
            raise CellChangedError(
                f"the loop at line {line} was done when it had {saved} items, and now it has {self._totals[key]}. "
                "Nothing was lost: undo the edit, go on with on_change='resume', or start over with fresh=True"
            )
        block, index = key.rpartition(".")[::2]
        target = next((name for name in [*way.entered, way.key] if name.rpartition(".")[0] == block), None)
        if way.where != "end" and (target is None or int(index) > int(target.rpartition(".")[2])):
            raise RestoreError(
                f"the script took another way than before: it came to the loop at line {line} without the one that "
                "was in progress. Nothing was lost: undo the edit, or start over with fresh=True"
            )

    def _arrive(self, loop: Loop | None = None) -> None:
        """Put the variables back; objects that code before the loop changed once more are built anew."""
        now = self.variable_digests()
        again = [name for name, value in self.root["variables"].items() if self.namespace.get(name, value) is not value]
        apart = (
            "what was made from it in this run is not connected with it: guard such code with `if not ckpt.resumed:`"
        )
        if again:
            self.status.notice(
                f"code before the loop made {', '.join(again)} again, and the saved one took its place; {apart}"
            )
        if changed := [name for name in now if now[name] != self._digests[name]]:
            self.status.notice(
                f"code before the loop changed {', '.join(changed)} again, which was put back as saved; {apart}"
            )
            self.build_again({**self.loops, **({loop.key: loop} if loop else {})})
        position, self._way = self._way, None
        assert position is not None  # noqa: S101
        self.arrive(position)

    def needed(self, position: Position) -> frozenset[str]:  # noqa: ARG002 - nobody can tell for a script
        return self.selection.only or frozenset()

    def leave(self) -> None:
        """The block ended."""
        if self._way is not None:
            if self._way.where != "end":
                raise RestoreError(
                    "the script ended without coming to the loop that was in progress. Nothing was lost: undo the "
                    "edit, or start over with fresh=True"
                )
            self._arrive()
        self.finish()

    # -- position --------------------------------------------------------------------------------------------

    def top(self, loop: Loop) -> None:
        """Stand at a boundary: an iteration has ended."""
        around = [*ancestors(loop.key), loop.key]
        turns_begun = {key: (self.loops[key].count, self.loops[key].total) for key in around if key in self.loops}
        self.boundary(Position("top", loop.key, turns_begun), turn=not self._begun.get(loop.key))

    def loop_name(self, key: str) -> str:
        return f"the loop over {self._labels.get(key, 'iterations')}"

    def progress(self, position: Position) -> str:
        """Say where a position is: `epoch 57 of 100`."""
        if position.where == "end":
            return "the end"
        words = [position.say(self._labels.get(key, "iteration"), key) for key in position.turns]
        return ", ".join(words) or "before a loop"

    def plan_json(self) -> dict[str, Any]:
        """How long its loops are: all that is known of a script."""
        return {"totals": self._totals}

    def save(self, position: Position, *, finished: bool = False) -> bool:
        """Commit a snapshot; a name in `vars` that there is no variable for is said."""
        if missing := sorted((self.selection.only or frozenset()) - self.namespace.keys()):
            self.status.notice(f"vars names {', '.join(missing)}, which does not exist, so it is not saved")
        return super().save(position, finished=finished)


def _label(caller: FrameType) -> str:
    """The loop variable's name, read off the line that begins the loop."""
    line = linecache.getline(caller.f_code.co_filename, caller.f_lineno, caller.f_globals)
    found = re.match(r"\s*(?:async\s+)?for\s+(\w+)\s+in\b", line)
    return found[1] if found and found[1] != "_" else "iteration"
