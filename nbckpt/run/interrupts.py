"""What is done when somebody asks the run to end: Ctrl-C, SIGTERM, SIGHUP, or a word from elsewhere.

The iteration in progress ends first; at the boundary behind it the run is saved and then ended, as the signal would
have ended it. A second Ctrl-C ends it at once, and so does a SIGTERM for which no boundary came in time: the snapshot
before stands.

Python runs a signal's handler between two steps of the main thread, which may be a long time from now in one call of
NumPy. So a thread listens to the signals themselves (`signal.set_wakeup_fd`): it tells what will happen, and counts
the time.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from .tracebacks import dressed

if TYPE_CHECKING:
    import subprocess

    from ..settings import Settings
    from .news import News
    from .place import Layer
    from .schedule import Schedule
    from .status import Status

INTERRUPT = signal.SIGINT
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
"""The signals that end a process, and give it time for that."""

_HANDLED = 0x80  # with a signal's number: its handler ran; without, it has arrived
_CLEARED, _CLOSED = 0, 0x7F

_SHELL_ESCAPES = {"system", "system_raw", "system_piped", "process_handler"}
"""IPython's functions for `!cmd`, which keep a KeyboardInterrupt to themselves."""

_listening: list[Interrupts] = []


class Interrupted(Protocol):
    """The run that is asked to end."""

    settings: Settings
    status: Status
    schedule: Schedule
    news: News

    @property
    def outermost(self) -> Layer: ...

    def whereabouts(self) -> str:
        """Say where its own loops are, in the middle of an iteration."""

    def stop(self) -> None:
        """The last snapshot stands."""


class Interrupts:
    """Stands in for the handlers of these signals from `start` to `close`."""

    def __init__(self, run: Interrupted) -> None:
        self._run = run
        self.asked = ""
        """Why the run is to end at the next boundary; empty if it is not."""
        self.number: int | None = None
        """The signal to hand on then; None if that is to be a KeyboardInterrupt."""
        self.obstacle = ""
        """Why the iteration that ends did not do what it should, so that it must not be saved."""
        self._previous: dict[int, Any] = {}
        self._handled: Counter[int] = Counter()
        self._arrived: Counter[int] = Counter()
        """The same as the thread has heard it: several of one kind may be handled as one."""
        self._child: subprocess.Popen[Any] | None = None
        """What the main thread was waiting for, which the interrupt has reached too."""
        self._process = os.getpid()
        self._late = False
        self._cleared = self._cleared_heard = 0
        self._line: tuple[socket.socket, socket.socket] | None = None
        self._task: Any = None
        """The task of an event loop that it runs in."""
        self._other_fd: int | None = None
        """Where the signals were written before, if this has taken their place."""

    # -- in and out ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take the place of the handlers there are. Signals that are ignored stay so, as SIGHUP under `nohup`."""
        try:
            for number in (INTERRUPT, *ENDING):
                previous = signal.getsignal(number)
                if previous not in (None, signal.SIG_IGN):
                    signal.signal(number, self._handle)
                    self._previous[number] = previous
        except ValueError:  # Python lets nobody else have handlers
            self._run.status.notice(
                "this does not run in the main thread, so Ctrl-C and SIGTERM are not waited for: what counts is what "
                "was saved by the clock"
            )
            return
        _listening.append(self)
        self._line = ours, theirs = socket.socketpair()
        theirs.settimeout(0.0)
        self._other_fd = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        if self._other_fd != -1 and self._other_fd not in {one.fd for one in _listening}:
            signal.set_wakeup_fd(self._other_fd)  # somebody else's, as an event loop's: the handler's word must do
            self._other_fd = None
        threading.Thread(target=self._listen, args=(ours,), name="nbckpt interrupts", daemon=True).start()
        self._task = _current_task()
        if self._task is not None:
            atexit.register(self._go_on_at_exit)

    def close(self) -> None:
        """Put the handlers back, unless others were put in their place, and hand on what was not seen to."""
        if self._line is None or self._is_forked:
            return
        for number, previous in self._previous.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, previous)
        if self._other_fd is not None and (now := signal.set_wakeup_fd(self._other_fd)) != self.fd:
            signal.set_wakeup_fd(now)
        atexit.unregister(self._go_on_at_exit)
        _listening.remove(self)
        self._send(_CLOSED)
        self._line[1].close()
        self._line = None
        if self.asked and self.number is not None:
            _flush()
            signal.raise_signal(self.number)

    def _go_on_at_exit(self) -> None:
        """A kernel that is shut down stops its event loop in the middle of an `await`: run it to the boundary."""
        task = self._task
        loop = task.get_loop()
        if self.asked and not (self._is_forked or task.done() or loop.is_closed() or loop.is_running()):
            task.add_done_callback(lambda _: loop.stop())
            while not task.done():  # it may be stopped more than once
                loop.run_forever()
        if self._line is not None:
            self._run.stop()
            self.close()

    def hang_up(self) -> None:
        """In a child that was forked: its signals are none of the parent's."""
        if self._line is None:
            return
        if (now := signal.set_wakeup_fd(-1)) != self.fd:
            signal.set_wakeup_fd(now)
        for end in self._line:
            end.close()
        self._line = None

    @property
    def pending(self) -> bool:
        """Whether it was interrupted, and has come to its end before a boundary."""
        return bool(self.asked) and self.number is None

    @property
    def fd(self) -> int:
        """Where the signals are written."""
        return -1 if self._line is None else self._line[1].fileno()

    # -- in the main thread ----------------------------------------------------------------------------------

    def ask(self, why: str) -> None:
        """Have the run saved at the next boundary, and ended there by a KeyboardInterrupt; from any thread."""
        self.asked = why
        self._run.schedule.ask()
        self._run.news.tell_of_ending(f"{why}: {self._until()}, and saves there", lambda: bool(self.asked))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_forked:
            self._handle_in_child(number, frame)
            return
        self._send(number | _HANDLED)
        self._handled[number] += 1
        if number == INTERRUPT:
            if max(self._handled[number], self._arrived[number]) > 1:
                self._stop_at_once(frame)
                return
            self._child = self._child or _awaited(frame)
        elif self._late:
            self._clear()
            self._hand_on(number, frame)
            return
        elif self.number is None:
            self.number = number
        self.asked = self.asked or _called(number)
        self._run.schedule.ask()

    def _stop_at_once(self, frame: FrameType | None) -> None:
        """The second interrupt: do what would have been done at the first."""
        run = self._run
        run.status.progress, run.status.left = run.whereabouts(), "at once"
        deferred = self.before(INTERRUPT) is not signal.default_int_handler or _is_in_shell_escape(frame)
        self._clear()
        if deferred and self._own_handler(INTERRUPT) is None:
            # an event loop raises it at an `await`, and a `!cmd` keeps it to itself: the next boundary must do
            self.asked, self.obstacle = _called(INTERRUPT), "stopped at once"
            run.schedule.look()
        self._hand_on(INTERRUPT, frame)
        _wake_event_loop()

    def look_at_child(self) -> None:
        """The process that the iteration waited for was interrupted with it, if they are in one process group."""
        if self._child is not None and self._child.returncode in (-INTERRUPT, 128 + INTERRUPT):
            self.obstacle = "the interrupt ended the process that an iteration had started"
            self._run.status.notice(f"{self.obstacle}: that one is not saved, and the snapshot before stands")

    def leave(self, *, saved: bool) -> None:
        """End the run at a boundary.

        Raises:
            KeyboardInterrupt: it was interrupted, or asked to stop.
        """
        run, number = self._run, self.number
        run.status.left = "saved" if saved else run.status.left or "unsaved"
        self._clear()
        number = INTERRUPT if number is None and self._own_handler(INTERRUPT) is not None else number
        if number is None:
            raise dressed(KeyboardInterrupt())
        self._hand_on(number, sys._getframe(1))  # noqa: SLF001 - what a handler is given
        run.status.left = ""  # and it lives on

    def _own_handler(self, number: int) -> Any:
        """The handler that a script has made for itself; None if it is Python's, an event loop's or the kernel's."""
        previous = self.before(number)
        module = getattr(getattr(previous, "func", previous), "__module__", None) or ""
        if previous is signal.SIG_DFL:
            return previous
        return None if module.partition(".")[0] in ("signal", "_signal", "asyncio", "ipykernel") else previous

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        """Do what the signal would have done."""
        previous = self.before(number)
        if callable(previous):
            try:
                previous(number, frame)
            except KeyboardInterrupt as error:
                raise dressed(error) from None
            return
        self._run.stop()
        _flush()
        _die_in_main_thread(number)

    def before(self, number: int) -> Any:
        """The handler that there was before any run."""
        previous = self._previous.get(number, signal.default_int_handler)
        owner = getattr(previous, "__self__", None)
        return owner.before(number) if isinstance(owner, Interrupts) else previous

    def _clear(self) -> None:
        """Whatever was asked for was done: what comes now is the first again."""
        self.asked, self.number, self.obstacle, self._child, self._late = "", None, "", None, False
        self._run.status.ending = ""
        self._handled.clear()
        self._cleared += 1
        self._send(_CLEARED)

    # -- in a child that was forked --------------------------------------------------------------------------

    @property
    def _is_forked(self) -> bool:
        return self._process != os.getpid()

    def _handle_in_child(self, number: int, frame: FrameType | None) -> None:
        """A worker that was forked from here works on while its parent's iteration ends."""
        self._handled[number] += 1
        previous = self.before(number)
        if number == INTERRUPT and self._handled[number] == 1:
            return
        if callable(previous):
            previous(number, frame)
        else:
            _die_in_main_thread(number)

    # -- in the thread that listens --------------------------------------------------------------------------

    def _listen(self, line: socket.socket) -> None:
        end: float | None = None
        with line:
            while True:
                line.settimeout(None if end is None else max(0.001, end - time.monotonic()))
                try:
                    heard = line.recv(4096)
                except TimeoutError:
                    end = None
                    self._run_out_of_time()
                    continue
                if not heard:
                    return
                for byte in heard:
                    if byte == _CLOSED:
                        return
                    if byte == _CLEARED:
                        end = None
                        self._arrived.clear()
                        self._cleared_heard += 1
                    elif (number := byte & ~_HANDLED) in self._previous:
                        self._arrived[number] += not byte & _HANDLED
                        if number != INTERRUPT and end is None:
                            end = time.monotonic() + self._run.settings.grace
                        self._tell(number)

    def _tell(self, number: int) -> None:
        """Say at once what will happen."""
        run = self._run
        what = f"{_called(number)}: {self._until()}"
        if number == INTERRUPT:
            back = run.status.saved_progress or "the start"
            what += f", and saves there; a second interrupt stops at once and goes back to {back}"
        else:
            what += f" and is saved, if that is within {run.settings.grace:g} s"
        if self._is_news(number) and run.status.ending != what:
            run.news.tell_of_ending(what, self._is_pending)

    def _is_pending(self) -> bool:
        """Whether what was heard was not done meanwhile."""
        return self._cleared == self._cleared_heard

    def _is_news(self, number: int) -> bool:
        """Whether a signal changes anything: an interrupt of what ends already does not."""
        return number != INTERRUPT or not any(self._arrived[one] or self._handled[one] for one in ENDING)

    def _until(self) -> str:
        return f"stops when this {'iteration' if self._run.outermost.loops else 'statement'} ends"

    def _run_out_of_time(self) -> None:
        """No boundary came: let the signal do what it would have done; a writer process goes on by itself."""
        run = self._run
        number = self.number or next(one for one in ENDING if self._arrived[one])
        what = f"{_called(number)}: nothing has ended within {run.settings.grace:g} s, so the snapshot before stands"
        run.news.tell_of_ending(what, self._is_pending)
        if callable(self.before(number)):
            self._late = True
            _signal_main_thread(number)
        else:
            _die_in_any_thread(number)

    def _send(self, byte: int) -> None:
        if self._line is not None:
            with contextlib.suppress(BlockingIOError):  # it has more than enough to read
                self._line[1].send(bytes([byte]))


def _called(number: int) -> str:
    return "interrupted" if number == INTERRUPT else signal.Signals(number).name


def _awaited(frame: FrameType | None) -> subprocess.Popen[Any] | None:
    """The process that some code waits for."""
    module: ModuleType | None = sys.modules.get("subprocess")
    while frame is not None and module is not None:
        if frame.f_globals is vars(module) and isinstance(found := frame.f_locals.get("self"), module.Popen):
            return found  # type: ignore[no-any-return]
        frame = frame.f_back
    return None


def _is_in_shell_escape(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name in _SHELL_ESCAPES and str(frame.f_globals.get("__name__")).startswith("IPython."):
            return True
        frame = frame.f_back
    return False


def _current_task() -> Any:
    """The task of the event loop that runs here, if one does."""
    if asyncio := sys.modules.get("asyncio"):
        with contextlib.suppress(RuntimeError):  # none is running
            return asyncio.current_task()
    return None


def _wake_event_loop() -> None:
    """Have an event loop that waits look at what a handler has told it."""
    if asyncio := sys.modules.get("asyncio"):
        with contextlib.suppress(RuntimeError):  # none is running
            asyncio.get_running_loop().call_soon_threadsafe(int)


def _flush() -> None:
    """Let out what was printed: a signal that ends the process leaves no time for it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there is none
            stream.flush()


def _signal_main_thread(number: int) -> None:
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        import _thread

        _thread.interrupt_main(signal.Signals(number))


def _die_in_main_thread(number: int) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(128 + number)  # the first process of a container, which no signal ends


def _die_in_any_thread(number: int) -> NoReturn:
    """The same where Python lets nobody change handlers, while the main thread may be anywhere."""
    import ctypes

    set_handler: Callable[[int, Any], Any] = ctypes.pythonapi.PyOS_setsig
    set_handler.argtypes, set_handler.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p  # type: ignore[attr-defined]
    set_handler(number, None)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


_fd_before_fork = -1


def _before_fork() -> None:
    """A signal that reaches a child before it has hung up must not be heard as one of the parent's."""
    global _fd_before_fork  # noqa: PLW0603 - there is one of it in a process
    if _listening and threading.current_thread() is threading.main_thread():
        _fd_before_fork = signal.set_wakeup_fd(-1)


def _after_fork() -> None:
    global _fd_before_fork  # noqa: PLW0603
    if _fd_before_fork != -1:
        signal.set_wakeup_fd(_fd_before_fork, warn_on_full_buffer=False)
        _fd_before_fork = -1


def _after_fork_in_child() -> None:
    for one in _listening:
        one.hang_up()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
