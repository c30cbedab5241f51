"""`--retry`: a cell that fails goes on from its newest snapshot, in the same kernel, after a pause.

The rewritten cell stands inside one statement, since IPython compiles each statement of a cell alone:

    while RUN.retries.begins():
        with RUN.retries:
            <the cell>
    RUN.retries.shown()

Each time round is a run of its own, that goes on like one in a new kernel. It counts as a try until a snapshot is
saved that is further on than any was when the cell failed before; then all tries, and short pauses, are there again.
What is not saved is no progress, since the next try does not begin with it. Where two runs in a row fail before they
saved anything, the snapshot that they began with may be what is wrong, and the next one begins with the one before
it; the newer one stays in the store until retention drops it.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import pkgutil
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import NbckptError, OptionError, StoreError
from ..settings import duration
from ..state.home import NOTHING
from .position import Position, rank
from .status import said_of
from .syntax import at, call, run

if TYPE_CHECKING:
    from ..storage.repository import SnapshotInfo
    from .cell import CellRun

CERTAIN = (SyntaxError, NameError, ImportError, NotImplementedError, NbckptError)
"""What would be the same in every try, whatever happens outside."""
FIRST, LONGEST = 1.0, 60.0
"""Seconds before the first try, and before any, at most."""
_STRAIGHT = 2
"""After so many failures straight after a restore the snapshot before is taken."""
_LOOK = 0.2
"""Seconds after which a pause in a cell with `await` sees an interrupt."""


# -- the cell ------------------------------------------------------------------------------------------------


def repeated(module: ast.Module, place: ast.AST, *, asynchronous: bool, shows: bool) -> ast.Module:
    """Put a rewritten cell inside the statement that runs it again; `shows` its result at the end."""
    ahead = [node for node in module.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    body = [node for node in module.body if node not in ahead]
    begins = ast.Await(call("retries.begins_later")) if asynchronous else call("retries.begins")
    tries = ast.withitem(ast.Attribute(run(), "retries", ast.Load()))
    loop = ast.While(begins, [ast.With([tries], body)], [])
    # nbckpt's own frames are taken out of what an interrupted pause raises
    whole = ast.With([ast.withitem(ast.Attribute(run(), "frames", ast.Load()))], [loop])
    after = [at(ast.Expr(call("retries.shown")), place)] if shows else []
    return ast.Module([*ahead, at(whole, place), *after], module.type_ignores)


# -- which errors --------------------------------------------------------------------------------------------


class Wanted:
    """Says of an error whether to try again after it: any that is not certain, or those of the named types.

    A name is the notebook's, a builtin, or leads into a module. Those that the cell itself will bind are looked up
    when it fails. `hopeless` are types beside those that are known here.

    Raises:
        OptionError: there is no such type, or it can never be tried again.
    """

    def __init__(
        self,
        words: Sequence[str],
        namespace: Mapping[str, Any],
        bound: Collection[str],
        hopeless: tuple[type[Exception], ...] = (),
    ) -> None:
        self._words, self._namespace, self._hopeless = words, namespace, (*CERTAIN, *hopeless)
        for word in words:
            if word.partition(".")[0] in namespace or word.partition(".")[0] not in bound:
                self._type(word)

    def __call__(self, error: BaseException) -> bool:
        if not isinstance(error, Exception) or isinstance(error, self._hopeless):
            return False
        return not self._words or any(self._is(error, word) for word in self._words)

    def _is(self, error: Exception, word: str) -> bool:
        try:
            return isinstance(error, self._type(word))
        except OptionError:  # the cell had not bound it by then, or to something else
            return False

    def _type(self, word: str) -> type[Exception]:
        found = self._find(word)
        if not (isinstance(found, type) and issubclass(found, BaseException)):
            raise OptionError(f"--retry-on {word} is no exception: name classes of them, as in TimeoutError,OSError")
        if not issubclass(found, Exception) or issubclass(found, self._hopeless):
            raise OptionError(f"--retry-on {word}: after that a cell is never tried again, since it would not help")
        return found

    def _find(self, word: str) -> Any:
        first, *rest = word.split(".")
        try:
            if first in self._namespace or hasattr(builtins, first):
                found = self._namespace[first] if first in self._namespace else getattr(builtins, first)
                for name in rest:
                    found = getattr(found, name)
                return found
            return pkgutil.resolve_name(word)
        except (AttributeError, ImportError) as error:
            raise OptionError(
                f"--retry-on {word} is not known here ({error}): name a builtin exception, one of the notebook's, or "
                "one with its module, as in requests.ConnectionError"
            ) from error


@dataclass(frozen=True, slots=True)
class Target:
    """A snapshot to go on from."""

    seq: int
    progress: str
    is_certain: bool = True
    """Whether the store was asked."""


# -- the attempts --------------------------------------------------------------------------------------------


class Retries:
    """The attempts at one cell, which finds them under its frame's name `retries`.

    `begin` begins another run after one that failed, from the snapshot of a number; the front does it.
    """

    def __init__(self, first: CellRun, wanted: Wanted, begin: Callable[[CellRun, int], CellRun]) -> None:
        from tenacity import RetryCallState, wait_exponential

        self._wanted, self._begin = wanted, begin
        self._limit = first.settings.retry
        self._pauses: Any = wait_exponential(multiplier=FIRST, max=LONGEST)
        self._state: Any = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
        self._tries = 0
        self._straight = 0
        self._furthest: tuple[float, ...] = ()
        """How far the newest snapshot was at an earlier failure."""
        self._runs: set[str] = set()
        """The runs whose snapshots are this cell's."""
        self._known = 0
        """The newest snapshot when the run began."""
        self._waits: float | None = None
        """Seconds to wait before the next attempt, None if there is none to be made."""
        self._target: Target | None = None
        self._error: Exception | None = None
        self._is_first = True
        self._take(first)

    def _take(self, run: CellRun) -> None:
        self.run = run
        run.frame.retries = self
        self._runs.add(str(run.who["run"]))
        self._from = 0
        if run.restore.saved is not None:
            self._runs.add(str(run.restore.saved.description.get("run")))
            self._from = run.restore.saved.seq
            self._known = max(self._known, self._from)

    def begins(self) -> bool:
        """Whether the cell is to be run now; waits, and begins a run, if it failed before."""
        while self._waits is not None:
            time.sleep(self._waits)
            if self._begun():
                return True
        return self._begins_first()

    async def begins_later(self) -> bool:
        """The same in a cell with `await`, where only the event loop notices an interrupt."""
        while self._waits is not None:
            end = time.monotonic() + self._waits
            while (left := end - time.monotonic()) > 0:
                await asyncio.sleep(min(left, _LOOK))
            if self._begun():
                return True
        return self._begins_first()

    def _begins_first(self) -> bool:
        first, self._is_first = self._is_first, False
        return first

    def shown(self) -> Any:
        """The value of the cell's last expression, for IPython to show."""
        result = self.run.result
        return None if result is NOTHING else result

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        if error is None or not self._wanted(error) or self.run.reached_end or self._is_to_end:
            return False
        assert isinstance(error, Exception)  # noqa: S101 - nothing else is wanted
        run = self.run
        run.news.hear(None)
        target = self._choose()
        if target is None:
            return False
        if self._tries >= self._limit:
            run.status.notice(f"tried again {self._tries} time{'s' * (self._tries != 1)} without progress")
            return False
        self._target, self._error = target, error
        self._try(error)
        run.close(tried_again=True)
        if self._is_to_end:  # meanwhile
            return False
        traceback.clear_frames(error.__traceback__)  # what the failed iteration held need not fit beside what comes
        return True

    @property
    def _is_to_end(self) -> bool:
        """Whether somebody wants it to stop now, as no boundary will come; a notice is for the next attempt."""
        return bool(self.run.interrupts.asked) and not self.run.interrupts.patient

    # -- where to go on --------------------------------------------------------------------------------------

    def _choose(self) -> Target | None:
        """The snapshot to go on from, if there is one of this cell's; takes note of progress."""
        run = self.run
        tell = run.status.notice
        try:
            found = [info for info in run.repository.history(run.name) if not info.damage]
        except StoreError:
            if known := run.news.committed or self._from:  # the store may be back after the pause
                return Target(known, run.status.saved_progress, is_certain=False)
            found = []
        except NbckptError as error:
            tell(f"not tried again: {error}")
            return None
        ours = [info for info in found if info.description.get("run") in self._runs]
        if not ours:
            tell("not tried again: nothing was saved that it could go on from")
            return None
        if ours[0] is not found[0]:
            tell("not tried again: another kernel has saved under this name meanwhile")
            return None
        if ours[0].seq > self._known or not self._from:
            self._straight = 0
            target = ours[0]
        else:
            self._straight += 1
            target = next((info for info in ours if info.seq == self._from), ours[0])
        self._known = ours[0].seq
        if (furthest := _rank(ours[0])) > self._furthest:
            self._furthest, self._tries = furthest, 0
        if self._straight >= _STRAIGHT:
            before = [info for info in ours if info.seq < target.seq and _rank(info) < _rank(target)]
            if before:
                target, self._straight = before[0], 0
        return Target(target.seq, str(target.description.get("progress")))

    def _try(self, error: Exception) -> None:
        """Count a try, and say it."""
        assert self._target is not None  # noqa: S101 - it is chosen before
        self._tries += 1
        self._state.attempt_number = self._tries
        self._waits = float(self._pauses(self._state))
        status = self.run.status
        status.retry = (
            f"retry {self._tries} of {self._limit} after {said_of(error)}, from {self._target.progress}, "
            f"in {duration(self._waits)}"
        )
        self.run.tell("retrying")

    def _begun(self) -> bool:
        """Begin the next run; where the store fails, that was a try, too.

        Raises the cell's own error if there is no beginning it.
        """
        assert self._target is not None and self._error is not None  # noqa: S101, PT018 - there was a failure
        try:
            target = self._target if self._target.is_certain else self._choose()
            if target is None:
                self._waits = None
                raise self._error
            run = self._begin(self.run, target.seq)
        except NbckptError as error:
            if isinstance(error, StoreError) and self._tries < self._limit:
                self._try(error)
                return False
            self._waits = None
            raise self._error from error
        self._waits, self._target, self._error = None, None, None
        run.departure.relieve(self.run.departure)
        self._take(run)
        return True


def _rank(info: SnapshotInfo) -> tuple[float, ...]:
    """How far a cell was when a snapshot was taken."""
    told = info.description
    return rank([Position.from_json(at) for at in (told["position"], *(one["position"] for one in told["calls"]))])
