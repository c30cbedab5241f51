"""Checkpoints in scripts and functions: `with nbckpt.checkpointed(...) as ckpt: for x in ckpt.loop(items): ...`.

A script's code is not rewritten, so on resume it runs again from the top of the `with` block: loops that were
done yield nothing, the loop that was in progress goes on, and the variables are put back where it does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..errors import CellChangedError, OptionError, RestoreError, UnknownCheckpoint
from ..run.checkpoint import Layer, Place, Run
from ..run.loops import Loop
from ..run.order import Order
from ..run.position import Position
from ..settings import DEFAULT_STORE, Settings
from ..state import parts
from ..state.home import Home
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
    verify: bool | None = None,
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
    options = {
        "name": name,
        "vars": vars,
        "every": every,
        "store": store,
        "keep": keep,
        "verify": verify,
        "quiet": quiet,
    }
    settings = Settings.collect({**options, "fresh": fresh, "on_change": on_change, "rng": rng})
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
        return self._run.block.loop(items, sys._getframe(1))  # noqa: SLF001 - names the loop in messages

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
    """The run of a `with` block."""

    kind = "script"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, home=vars(sys.modules["__main__"]))
        self.block = Block(self)
        self._digests: dict[str, str | None] = {}

    @property
    def outermost(self) -> Layer:
        return self.block

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
        self.block.way = Position.from_json(self.saved.description["position"])
        self.build()
        self._digests = self.variable_digests()

    def start(self) -> None:
        super().start()
        self.recorder.stop()  # a script's output is its terminal's or its log's

    def ask(self) -> None:
        if self.block.in_loop:
            self.schedule.ask()
        elif self.block.way is None:
            self.save([(self.block, self.block.before_next())])

    def take_variables(self, loop: Loop | None) -> None:
        """Put the variables in place for good; objects that code before the loop changed are built anew."""
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
            self.build_again({**self.block.loops, **({loop.key: loop} if loop else {})})

    def leave(self) -> None:
        """The block ended."""
        if self.block.way is not None:
            if self.block.way.where != "end":
                raise RestoreError(
                    "the script ended without coming to the loop that was in progress. Nothing was lost: undo the "
                    "edit, or start over with fresh=True"
                )
            self.block.arrive()
        self.finish()

    def plan_json(self) -> dict[str, Any]:
        """How long its loops are: all that is known of a script."""
        return {"totals": self.block.totals}

    def save(self, place: Place, *, finished: bool = False, durable: bool = True) -> bool:
        """Commit a snapshot; a name in `vars` that there is no variable for is said."""
        if missing := sorted((self.selection.only or frozenset()) - self.namespace.keys()):
            self.status.notice(f"vars names {', '.join(missing)}, which does not exist, so it is not saved")
        return super().save(place, finished=finished, durable=durable)


class Block(Order):
    """The code of a `with` block."""

    run: ScriptRun

    def arrive(self, loop: Loop | None = None) -> None:
        """Put the variables back."""
        self.run.take_variables(loop)
        position, self.way = self.way, None
        assert position is not None  # noqa: S101
        self.run.arrive([(self, position)])
