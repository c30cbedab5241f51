"""What a run does when it hears that the machine, or its job on it, will go."""

from __future__ import annotations

import os
from typing import Protocol

from ..settings import Settings
from .interrupts import Interrupts
from .news import News
from .notices.notice import Notice
from .notices.slurm import JOB, requeue
from .notices.watch import Watch
from .schedule import Schedule
from .status import Status


class Departing(Protocol):
    """The run, as far as it matters here."""

    settings: Settings
    status: Status
    schedule: Schedule
    news: News
    interrupts: Interrupts

    def tell(self, event: str) -> None:
        """Show the status."""


class Departure:
    """Listens for a run to whoever may say so, and has it saved, stopped and put back into its scheduler's queue."""

    def __init__(self, run: Departing) -> None:
        self._run = run
        self._watch: Watch | None = None
        self.notice = ""
        """What was said last."""
        self._requeues = False
        """Whether the job is put back into its scheduler's queue once the run has stopped for that."""

    def start(self, *, listens: bool) -> None:
        """Listen, unless another attempt's listening will be taken over."""
        settings = self._run.settings
        if settings.on_preempt == "requeue" and JOB not in os.environ:
            self._run.status.notice(f"this is no SLURM job ({JOB} is not set), so on a notice the run only stops")
        if listens:
            self._watch = Watch(settings.preempt, self)

    def relieve(self, earlier: Departure) -> None:
        """Listen in the place of an attempt that failed, and take to heart what it has heard."""
        self._watch, earlier._watch = earlier._watch, None
        if self._watch is not None:
            self._watch.tell(self)
        if earlier.notice:
            self.notice = self.notice or earlier.notice
            self._run.schedule.hurry()
        if asked := earlier._run.interrupts.asked:
            self._requeues = earlier._requeues
            self._run.interrupts.ask(asked)

    def noticed(self, notice: Notice) -> None:
        """The machine will go: save at the next boundary, more often from then on, and stop there if that is wanted.

        Called by the thread that listens.
        """
        run = self._run
        stops = notice.certain and run.settings.on_preempt != "continue"
        self.notice = f"{notice}"
        if stops:
            run.status.notice(self.notice)
            self._requeues = run.settings.on_preempt == "requeue" and JOB in os.environ
            run.interrupts.ask("this machine will go")
        else:
            run.status.notice(f"{notice}: a snapshot is taken at the next boundary, and more of them from then on")
            run.news.soon()
        run.schedule.hurry()

    def unheard(self, why: str) -> None:
        """Somebody who was named cannot give notice."""
        self._run.status.notice(why)
        self._run.news.soon()

    def outlived(self) -> None:
        """The run is done, and the rest of the job is not."""
        self.close()  # what is said from now on is for the run after this one
        if self._requeues and self._run.interrupts.pending:
            self._run.status.notice(requeue(os.environ[JOB]))
            self._run.tell("progress")

    def stopped(self) -> None:
        """The run ended early; if that was for a notice, the job goes back into the queue."""
        if self._requeues and self._run.status.left in ("saved", "unsaved"):
            self._run.status.notice(requeue(os.environ[JOB]))

    def close(self) -> None:
        """Listen no more."""
        if self._watch is not None:
            self._watch.stop()
