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

from ..errors import OptionError, UnknownCheckpoint
from ..run import doors
from ..run.script import ScriptRun
from ..run.tracebacks import without_ours
from ..settings import DEFAULT_STORE, Settings
from ..state import memory, parts
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
    keep_best: str | None = None,
    keep_every: str | None = None,
    fresh: bool | None = None,
    on_change: str | None = None,
    rng: bool | None = None,
    grace: str | float | None = None,
    verify: bool | None = None,
    preempt: str | Iterable[str] | None = None,
    on_preempt: str | None = None,
    capture: str | None = None,
    quiet: bool | None = None,
) -> Checkpoint:
    """Make the loops of a `with` block resumable, and the functions that it calls.

    `vars` names variables of the calling module: they are saved, and bound again on resume. Inside a function,
    whose variables cannot be bound from outside, keep what must survive on `ckpt.state` instead. The other
    options are those of `%%checkpointed`.

    On resume the block runs again from its top to where it was. Its `ckpt.loop`s skip what is done. A call of an
    `@nbckpt.resumable` function, from the block itself or through code that is not resumable, returns or raises what
    it had if it was done in the iteration in progress, and goes on in its middle if it was in progress; calls are
    told apart by their order. The block's own statements between them run again, with the random numbers, and with
    the variables that are numbers or texts, that they had; at the place in progress all variables are put back as
    saved, and a note says if that undoes something. Effects outside the process happen again. A function that a
    thread or another task calls, or code in the function that is not resumable, runs as a whole.

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
        "keep_best": keep_best,
        "keep_every": keep_every,
        "grace": grace,
        "verify": verify,
        "preempt": preempt,
        "on_preempt": on_preempt,
        "capture": capture,
        "quiet": quiet,
    }
    settings = Settings.collect({**options, "fresh": fresh, "on_change": on_change, "rng": rng})
    return Checkpoint(settings, caller.f_globals if at_module_level else {})


def load(name: str, *, store: str | None = None, seq: int | None = None) -> dict[str, Any]:
    """The variables in the newest snapshot of a checkpoint, and what was on `ckpt.state`; nothing is touched.

    `seq` is the number of another snapshot, as `nbckpt show` lists them.

    Raises:
        UnknownCheckpoint: the store has no snapshot of that name.
        RestoreError: its objects cannot be built here.
    """
    place = store or os.environ.get("NBCKPT_STORE") or DEFAULT_STORE
    saved = Repository.open(place, create=False).load(name, seq=seq, allocate=memory.allocate)
    if saved is None:
        raise UnknownCheckpoint(f"the store {place!r} has no checkpoint {name!r}: `nbckpt list` shows those it has")
    home = Home(dict(sys.modules["__main__"].__dict__))
    root = parts.build(saved.parts, saved.parts["definitions"], home, saved.description["modules"])
    variables: dict[str, Any] = {**root["attributes"], **root["variables"]}
    home.namespace.update(variables)
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
        run.ours = (self, self.state)
        run.open()
        self.resumed = run.restore.saved is not None
        self.completed = run.restore.saved is not None and bool(run.restore.saved.description["finished"])
        run.prepare()
        run.start()
        self._entered = run
        doors.enter(run.block)
        run.block.turned("")
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
        doors.leave(run.block)
        interrupted = False
        try:
            if error is None:
                run.leave()
                interrupted = run.interrupts.pending
            else:
                without_ours(error)
                run.stop(error)
        finally:
            run.close()
        if interrupted:
            raise KeyboardInterrupt
        return False

    def loop(self, items: Iterable[Item]) -> Iterator[Item]:
        """Go over items, skipping those that are done; loops may be nested.

        Each iteration's end is a boundary: nothing is ever saved in the middle of one.
        """
        self._run.before_loop()
        return self._run.block.loop(items, sys._getframe(1))  # noqa: SLF001 - names the loop in messages

    def save(self) -> None:
        """Ask for a snapshot at the next boundary: the end of this iteration, or now if no loop is running."""
        self._run.ask()

    def log(self, **metrics: float) -> None:
        """Record numbers with the snapshots from now on, such as `loss=0.3`: for `keep_best`, and for people."""
        self._run.log(metrics)


class State:
    """Attributes that survive."""

    if TYPE_CHECKING:  # which ones, the user says

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __repr__(self) -> str:
        return f"State({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
