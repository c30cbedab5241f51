"""What a person is told of a run while it goes: its progress, and what becomes of its saves.

The thread that watches the clock tells of a save that becomes durable while an iteration takes long; otherwise the
run's own thread speaks.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointConflict
from ..storage.parcel import BlocksGoneError
from ..storage.process import CopyLostError, WriterLostError
from ..storage.writer import Committed
from .schedule import REFRESH

if TYPE_CHECKING:
    from ..storage.handover import Handover, Outcome
    from .outputs import Recorder
    from .schedule import Schedule
    from .status import Reporter, Status


class News:
    """Shows the status of a run, and hears from its `handover` once there is one."""

    handover: Handover

    def __init__(self, status: Status, reporter: Reporter, recorder: Recorder, schedule: Schedule) -> None:
        self.status, self._reporter, self._recorder, self._schedule = status, reporter, recorder, schedule
        self.fenced = False
        """Whether another kernel has saved under this run's name: it saves no more."""
        self.lost = False
        """Whether the writer process was lost at the last save, and another will take its place."""
        self.handed: Mapping[str, Any] = {}
        """Of the newest snapshot of this run: where it stands, when it was taken, and the variables in it."""
        self.committed = 0
        """The number of the newest that is durable."""
        self.turned: Callable[[], None] = lambda: None
        """Called when saving begins to fail, and when it works again."""
        self._speaking = threading.RLock()
        self._since = 0.0
        """When something was said of a save that may have been passed over to spare the screen; 0 if nothing was."""
        schedule.ticked = self._hear_meanwhile

    def tell(self, event: str) -> None:
        """Show the status; what it shows is not part of the cell's output."""
        if event in ("saving", "saved"):
            self._since = time.monotonic()
        with self._speaking, self._recorder.paused(), contextlib.suppress(OSError):  # nobody looks any more: compute on
            self._reporter.show(self.status, event=event)

    def soon(self) -> None:
        """Have what was noticed shown within a moment, by the thread that watches the clock."""
        self._since = time.monotonic() - REFRESH

    def tell_of_ending(self, what: str, pending: Callable[[], bool]) -> None:
        """Say from another thread what will end the run, unless it is not `pending` any more."""
        with self._speaking:
            if pending():
                self.status.ending = what
                self.tell("ending")
            if not pending():
                self.status.ending = ""

    def handed_over(self, *, durable: bool) -> None:
        """Take note that the snapshot is on its way, and wait until it is `durable` if that is wanted."""
        self.hear(None if durable else 0.0)
        if self.handover.is_busy:
            self.status.saving = True
            self.tell("saving")

    def hear(self, timeout: float | None = 0.0) -> None:
        """Take note of what became of the snapshot on its way, if that is known within so many seconds."""
        with self._speaking:
            outcome: Outcome | None = self.handover.outcome(timeout)
            if outcome is not None:
                self.status.saving = False
            if isinstance(outcome, Committed):
                failed = bool(self.status.unprotected)
                self.status.protect()
                self.status.saved_at, self.status.saved_progress = self.handed["at"], self.handed["progress"]
                self.status.snapshots += 1
                self.status.size, self.status.capture = outcome.total_bytes, self.handed["capture"]
                self._schedule.wrote(outcome.processor)
                self.committed = outcome.seq
                if failed:
                    self.turned()
                self.tell("saved")
            elif isinstance(outcome, CopyLostError):
                self.status.notice(f"{outcome}")
                self._schedule.soon()
            elif outcome is not None:
                self.failed(outcome)

    def failed(self, error: Exception) -> None:
        """Say that the run is not protected, and why."""
        protected = not self.status.unprotected
        self.fenced = self.fenced or isinstance(error, CheckpointConflict)
        self.lost = isinstance(error, WriterLostError)
        self.status.unprotect(f"{error}" if str(error) else type(error).__name__)
        if self.lost or isinstance(error, BlocksGoneError):
            self._schedule.ask()
        if protected:
            self.turned()
        self.tell("unprotected" if protected else "progress")

    def _hear_meanwhile(self) -> None:
        """Hear in an iteration that takes long: a person who looks should see that it is saved."""
        if self._since and self._speaking.acquire(blocking=False):
            try:
                self.hear()
                if time.monotonic() - self._since > REFRESH:
                    self.tell("progress")
                    self._since = time.monotonic() if self.status.saving else 0.0
            finally:
                self._speaking.release()
