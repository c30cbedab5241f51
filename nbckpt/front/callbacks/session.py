"""A training loop that a library runs, as a run of nbckpt: what every callback is made of.

A callback knows its library: what its state is, and how to give it back. When to save, how a snapshot becomes
durable, random state, and what a person is told are the same for all of them, and are here. A callback

- calls `begin` before the first step: it returns what was saved, or None;
- gives that back to the library, then calls `go_on`: the random state comes last;
- calls `step` at the end of each step, with a function that collects the state when a snapshot is due;
- calls `complete` at the end of training, and `close` whatever happens.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import CellChangedError, OptionError
from ...run.checkpoint import Run
from ...run.loops import Loop
from ...run.place import Layer, Place
from ...run.position import Position
from ...settings import Settings
from ...state.namespace import Selection
from ..display import StatusLine

Gather = Callable[[], Mapping[str, Any]]
"""Collects the objects that a snapshot is made of, by name. They are pickled as one graph."""

_HERE = Position("before", "0")


class Session(Run):
    """One attempt at a training, from its first step or from a snapshot, until it ends or dies.

    `library` says whose training it is: a snapshot of another one is refused.
    """

    kind = "callback"
    stops_in_order = False  # nobody says when the library leaves its loop

    def __init__(
        self,
        name: str,
        library: str,
        *,
        every: str | float | None = None,
        store: str | None = None,
        keep: int | None = None,
        fresh: bool | None = None,
        quiet: bool | None = None,
    ) -> None:
        if not name:
            raise OptionError("a callback needs the name of its checkpoint, as in Lightning('train')")
        options = {"name": name, "every": every, "store": store, "keep": keep, "fresh": fresh, "quiet": quiet}
        settings = Settings.collect(options)
        reporter = StatusLine(_shell(), quiet=settings.quiet)
        nothing = Selection(set(), set(), frozenset())
        super().__init__(name, settings, {}, nothing, reporter, home=vars(sys.modules["__main__"]))
        self.library = library
        self._gather: Gather = dict
        self.training = Training(library)
        self.finished = False
        """Whether the snapshot that was found is that of a training which had come to its end."""

    def begin(self) -> dict[str, Any] | None:
        """Find the newest snapshot, and make sure that new ones can be written; return what was saved, or None.

        Raises:
            StoreError: the store cannot be read or written.
            CellChangedError: the checkpoint is not of such a training.
            RestoreError: its objects cannot be built here.
        """
        self.open()
        saved = self.restore.saved
        if saved is not None and saved.description.get("library") != self.library:
            kind = saved.description.get("library") or f"a {saved.description.get('kind')}"
            raise CellChangedError(
                f"checkpoint {self.name!r} was made by {kind}, not by {self.library}. Nothing was run: use another "
                "name, or start over with fresh=True"
            )
        if saved is not None:
            self.finished = bool(saved.description["finished"])
            self.restore.build()
        self.start()
        self.recorder.stop()  # what the library prints is its own
        return None if saved is None else dict(self.attributes)

    def go_on(self) -> None:
        """The library has its state back: put back the random state, and say that the training goes on."""
        position = Position.from_json(self.restore.loaded.description["position"])
        self.restore.arrive([(self.training, position)])
        self.attributes.clear()

    def step(self, gather: Gather, progress: Callable[[], str] | str) -> bool:
        """A step has ended, and the state is whole: save it if a snapshot is due. Returns whether it did."""
        return self.wants(progress) and self.take(gather)

    def wants(self, progress: Callable[[], str] | str) -> bool:
        """A step has ended: say whether a snapshot is due."""
        if not self.schedule.due:
            return False
        self.training.where = self.status.progress = progress if isinstance(progress, str) else progress()
        if self.is_due(turn=True):
            return True
        self.tell("progress")
        return False

    def take(self, gather: Gather) -> bool:
        """Save a snapshot of this moment; return whether that worked. A failure never ends the training."""
        if self.status.state == "restored":  # it had ended, and is being trained further
            self.status.state = "running"
        self._gather = gather
        saved = self.save([(self.training, _HERE)], durable=self.schedule.is_asked)
        if self.interrupts.asked and saved:
            self.interrupts.leave(saved=saved)
        return saved

    def ask(self) -> None:
        """Want a snapshot at the end of the next step, whatever the time."""
        self.schedule.ask()

    def complete(self, gather: Gather) -> None:
        """The training has come to its end: save what it came to."""
        self._gather, self.training.where = gather, "the end"
        self.finish()

    @property
    def outermost(self) -> Layer:
        return self.training

    def plan_json(self) -> dict[str, Any]:
        return {"library": self.library}

    def _rest(self, place: Place) -> dict[str, Any]:
        # here, and not where it is asked for: a library that fails to give its state must not end the training
        gathered = dict(self._gather())
        return {**super()._rest(place), "attributes": gathered}


class Training:
    """The library's loop, which the run cannot look into."""

    def __init__(self, library: str) -> None:
        self.library = library
        self.where = ""
        self.loops: dict[str, Loop] = {}
        self.way: Any = None

    def needed(self, position: Position) -> frozenset[str]:  # noqa: ARG002 - there are no variables
        """The names that must be saved."""
        return frozenset()

    def progress(self, position: Position) -> str:
        """Say where it is, as the callback says."""
        return "the end" if position.where == "end" else self.where

    def loop_name(self, key: str) -> str:  # noqa: ARG002 - there is one
        """How a person knows it."""
        return f"{self.library}'s loop"

    def variables(self, place: Place) -> dict[str, Any]:  # noqa: ARG002
        """The variables that no namespace has."""
        return {}

    def captured(self) -> dict[str, Any]:
        """What a snapshot has to keep of code that was called."""
        return {}

    def described(self) -> dict[str, Any]:
        """What a later run compares such code with."""
        return {}


def _shell() -> Any:
    from IPython.core.getipython import get_ipython

    return get_ipython()
