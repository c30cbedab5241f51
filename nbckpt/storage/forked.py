"""A copy of this process that does some work on the memory as it was at the fork, while this one goes on.

It has nothing of the kernel's but the memory and the few descriptors that it is given, is in a session of its own, and
does without what hangs in a copy: signals, logging, threads of libraries. It says what came of its work into a file
that both have, and what it has not said when it ends it never will.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import pickle
import random
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from nbckpt.storage.channel import told

if TYPE_CHECKING:
    from collections.abc import Iterable

Say: TypeAlias = Callable[[dict[str, Any]], None]
LONGEST = 600
"""Seconds of processor time after which a copy is ended: whoever forks saves states that take less."""
_UNHURRIED = 10.0
"""Seconds that no other thread takes this one's turn by force, from the last look at the threads to the fork."""
_USUAL = 0.005
"""The same as Python has it."""


class NotStillError(OSError):
    """Another thread of this process has moved, so that it was not forked."""


class Child:
    """A forked copy that calls `work(say)` with the descriptors it `keeps`, and ends."""

    def __init__(self, work: Callable[[Say], None], keeps: Iterable[int]) -> None:
        self._work, self._keeps = work, keeps
        self.pid = 0
        """Its process number, once it is there."""
        self._line, self._end = os.pipe()
        """Nothing is said on it: it closes when the child ends."""
        self._said = os.memfd_create("nbckpt-said", os.MFD_CLOEXEC)

    def fork(self, still: Callable[[], bool]) -> None:
        """Make it; `still` has the last word: whether all other threads stand where they stood when they were seen.

        Raises `NotStillError` if they do not, `OSError` if there can be no copy. A signal's handler may raise anything,
        and then there may be a copy or not: there will be `records` in either case.
        """
        try:
            drawn = random.getstate()
            with _undisturbed():
                if not still():
                    raise NotStillError
                self.pid = os.fork()
                if self.pid == 0:
                    _be_apart(self._work, {*self._keeps, self._said, self._end}, self._said, drawn)
        finally:
            os.close(self._end)

    def records(self, timeout: float | None = 0.0) -> list[dict[str, Any]] | None:
        """Return what it said once it has ended; None if it has not within `timeout` seconds."""
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        if not poll.poll(None if timeout is None else 1000 * timeout):
            return None
        stream, found = io.BytesIO(os.pread(self._said, os.fstat(self._said).st_size, 0)), []
        with contextlib.suppress(EOFError, pickle.UnpicklingError):  # it was killed in the middle of a word
            while True:
                found.append(pickle.load(stream))
        return found

    def ended(self) -> str:
        """Return how it ended, once there are `records`; empty if that is not known, or was asked before."""
        if not self.pid:
            return ""
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:  # the program wants to hear of no child's end
            return ""
        code = os.waitstatus_to_exitcode(status)
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """Let go of what is left of it."""
        os.close(self._said)
        os.close(self._line)

    def leave(self) -> None:
        """Go on without it: it ends when it has done its work."""
        threading.Thread(target=self._end_alone, name="nbckpt forked", daemon=True).start()

    def kill(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.leave()

    def _end_alone(self) -> None:
        self.records(None)
        self.ended()
        self.close()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals wait, so that none is handled in the child as if it came to this process, and other threads too."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    interval = sys.getswitchinterval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python and of libraries, to those who fork beside threads
            sys.setswitchinterval(_UNHURRIED)
            yield
    finally:
        sys.setswitchinterval(interval)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _be_apart(work: Callable[[Say], None], keeps: set[int], said: int, drawn: Any) -> None:
    """Be the child, and never return: whatever happens here is no business of the frames above."""
    code = 1
    try:
        gc.disable()  # what is collected may belong to a library whose threads are not here
        os.setsid()
        _hear_nothing()
        _show_nothing(keeps)
        _compute_alone()
        random.setstate(drawn)  # Python seeds it anew in each child
        _Report(work, said).run()
        code = 0
    finally:
        os._exit(code)


@dataclass(frozen=True, slots=True)
class _Report:
    """The work, and whatever it says; an error is the last word."""

    work: Callable[[Say], None]
    said: int

    def run(self) -> None:
        try:
            self.work(self.say)
        except Exception as error:  # noqa: BLE001 - shown by the kernel like any error of a save
            self.say(told(error))

    def say(self, record: dict[str, Any]) -> None:
        with os.fdopen(os.dup(self.said), "wb") as file:
            pickle.dump(record, file, 5)


def _hear_nothing() -> None:
    """No handler of the kernel's runs here, and what ends the kernel does not end this."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        heard = callable(signal.getsignal(number))
        if heard or number in {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE}:
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    import resource

    with contextlib.suppress(OSError, ValueError):  # what goes round in circles ends at some time
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        allowed = LONGEST if most == resource.RLIM_INFINITY else min(LONGEST, most)
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, allowed))
    with contextlib.suppress(OSError):  # if memory is short, this goes before the kernel does
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _show_nothing(keeps: set[int]) -> None:
    """Close every descriptor that is not ours: a kernel's ports are free as soon as it is gone."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in {0, 1, 2} - keeps:
        os.dup2(null, fd)
    for fd in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - names, not paths
        if fd > 2 and fd not in keeps:
            with contextlib.suppress(OSError):  # the one of the listing is closed by now
                os.close(fd)
    # the old ones live on, or their end would close what is open now under their numbers
    _unused.extend((sys.stdout, sys.stderr))
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - as long as it lives


_unused: list[Any] = []


def _compute_alone() -> None:
    """Wait for no lock or thread that the fork has left behind, nor long for one that is begun here."""
    sys.setswitchinterval(_USUAL)
    if (logging := sys.modules.get("logging")) is not None:
        logging.disable(logging.CRITICAL)
    if (torch := sys.modules.get("torch")) is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)
