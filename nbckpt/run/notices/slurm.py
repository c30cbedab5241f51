"""Schedulers that give notice by a signal, as SLURM does for `--signal`, and a job that is put back into the queue."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from .notice import Notice, brief

JOB = "SLURM_JOB_ID"
USUAL = ("SIGUSR1", "SIGUSR2")
"""What jobs ask for. A job cannot see which one it was; without a handler either would end it."""
SCONTROL_SECONDS = 30.0


class Signals:
    """Hears signals from `listen` to `stop`. The handlers that were there are called, and put back at the end.

    A signal is handled in the main thread in the middle of whatever it does, so that nothing can be waited for there:
    a thread of its own calls `hear`.
    """

    def __init__(self, names: Sequence[str], environ: Mapping[str, str], hear: Callable[[Notice], None]) -> None:
        self._names, self._hear = names, hear
        self._in_job = JOB in environ
        self._end = environ.get("SLURM_JOB_END_TIME", "")
        self._before: dict[int, Any] = {}
        self._process = os.getpid()
        self._line: queue.SimpleQueue[Notice | None] | None = None
        """To the thread that tells, while it listens; putting something into it is safe in a handler."""

    def listen(self) -> bool:
        """Begin; return whether that can be done here: only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return False
        self._line = queue.SimpleQueue()
        threading.Thread(target=self._tell, args=(self._line,), name="nbckpt hears signals", daemon=True).start()
        for name in self._names:
            number = getattr(signal, name)
            if signal.getsignal(number) is not None:  # None: a library in C has it, and it could not be put back
                self._before[number] = signal.signal(number, self._handle)
        return True

    def stop(self) -> None:
        """Put the handlers back that were there, except where somebody else has put another since."""
        if self._line is None:
            return
        self._line.put(None)
        self._line = None
        if threading.current_thread() is threading.main_thread():
            for number, before in self._before.items():
                if signal.getsignal(number) == self._handle:
                    signal.signal(number, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        before = self._before.get(number, signal.SIG_DFL)
        if callable(before):
            before(number, frame)
        if os.getpid() != self._process:
            return  # a forked worker: its parent is told, too
        if self._line is not None:
            self._line.put(self._notice(signal.Signals(number).name))
        elif before is signal.SIG_DFL and signal.getsignal(number) == self._handle:
            # nobody listens any more, and this could not be taken away: by a thread, or from under another one
            signal.signal(number, signal.SIG_DFL)
            os.kill(self._process, number)

    def _tell(self, line: queue.SimpleQueue[Notice | None]) -> None:
        while (notice := line.get()) is not None:
            self._hear(notice)

    def _notice(self, name: str) -> Notice:
        if not self._in_job:
            return Notice(f"{name} says that this machine will go")
        return Notice(f"SLURM sent {name}, so this job will end", float(self._end) if self._end.isdigit() else None)


def requeue(job: str) -> str:
    """Put a job back into SLURM's queue, which ends it soon; return a sentence about what came of it."""
    command = ["scontrol", "requeue", job]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SCONTROL_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the job could not be put back into the queue: `{' '.join(command)}` failed ({error})"
    if done.returncode:
        why = brief(done.stderr or done.stdout) or f"exit status {done.returncode}"
        return f"the job could not be put back into the queue: `{' '.join(command)}` failed ({why})"
    return f"job {job} was put back into the queue, and will go on from the newest snapshot"
