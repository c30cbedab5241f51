"""`--capture fork`: a forked copy of the process takes a snapshot, and the loop goes on at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ..storage.forked import NotStillError
from .forkable import Threads, why_not

if TYPE_CHECKING:
    from ..storage.handover import Handover
    from ..storage.snapshot import PartData
    from .capture import Capture
    from .status import Status

    Capturing: TypeAlias = Callable[[], tuple[Sequence[PartData], dict[str, Any]]]
    """What is left to be done for a snapshot, here or in a forked copy of this process."""

WORTH = 0.02
"""Seconds of capturing from which on a fork takes less of the loop's time."""
_LOOKS, _PAUSE = 10, 0.001
"""How often to look whether all threads rest, and how many seconds to wait in between."""


class Forked(Protocol):
    """The run, as far as it matters here."""

    namespace: dict[str, Any]
    capture: Capture
    status: Status
    handover: Handover


class Forking:
    """Knows for a run whether its next snapshot is `wanted` from a copy, and hears what that has found out."""

    def __init__(self, run: Forked, *, wanted: bool) -> None:
        self._run, self._wanted = run, wanted
        self._has_told = False
        self.took = float("inf")
        """Seconds that the last state took to capture; unknown before the first."""
        self.told: dict[str, Any] = {}
        """How the newest snapshot was taken, as far as it was a matter of forks: `way` and what it `took` the copy, in
        seconds, once that is known; or, where one was wanted, why there was `no fork`."""

    def hand_over(self, capturing: Capturing, held: Mapping[str, Any], *, durable: bool) -> bool:
        """Have a copy of the process capture and hand over a snapshot, if that is wanted and can be.

        `held` are the variables that no namespace has. One that must be `durable` before the loop goes on is not worth
        a fork.
        """
        if not self._wanted:
            return False
        if durable:
            why: str | None = "it was waited for"
        elif self.took < WORTH:
            why = f"all is pickled within {1000 * WORTH:.0f} ms"
        elif self._run.status.unprotected:
            why = "the one before could not be saved"  # for a reason of the copy's own, perhaps
        elif not self._run.handover.forks:
            why = "a copy was lost"
        elif (why := why_not() or self._fork(capturing, held)) and not self._has_told:
            self._has_told = True
            self._run.status.notice(f"--capture fork: {why}, so snapshots are copied while the loop stands still")
        self.told.update({"way": "fork"} if why is None else {"no fork": why})
        return why is None

    def _fork(self, capturing: Capturing, held: Mapping[str, Any]) -> str | None:
        """Fork as soon as all threads rest, which may be in a moment; return why not, if they do not."""
        run, told = self._run, self.told
        kinds = {name: type(value) for name, value in chain(run.namespace.items(), held.items())}
        known = len(run.status.notices)

        def capture(say: Callable[[dict[str, Any]], None]) -> tuple[dict[str, Any], Sequence[PartData]]:
            began = time.perf_counter()
            try:
                parts, description = capturing()
            finally:
                notices = run.status.notices[known:]
                say({"found": run.capture.learned(), "notices": notices, "took": time.perf_counter() - began})
            return description, parts

        def learn(said: dict[str, Any]) -> None:
            self.took = told["took"] = said["took"]
            for text in said["notices"]:
                run.status.notice(text)
            run.capture.learn(said["found"], kinds)

        for _ in range(_LOOKS):
            threads = Threads()
            if not threads.busy:
                with contextlib.suppress(NotStillError):
                    return run.handover.fork(capture, learn, threads.still)
            time.sleep(_PAUSE)
        name = threads.busy or "another one"
        return f"the thread {name!r} may be inside native code, beside which a fork can hang"
