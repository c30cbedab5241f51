"""Asking for notices while a run goes: a thread for each source, shared by the runs of a process, ending with them.

Nothing here disturbs a run. A source that `auto` found and that never answers is given up without a word; one that
was asked for by name, and cannot be asked, is told of once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from .aws import Aws
from .azure import Azure
from .gcp import Gcp
from .notice import Notice, Source
from .own import File, Page
from .signs import seen
from .slurm import USUAL, Signals

CLOUDS: dict[str, Callable[[Mapping[str, str]], Source]] = {"aws": Aws, "gcp": Gcp, "azure": Azure}
SLOWEST = 15.0
"""Seconds between two questions to a source that does not answer, at most."""
TRIES = 2
"""Failures in a row after which it is said that a source which was named cannot be asked."""


class Listener(Protocol):
    """Who wants to know; called from other threads than its own."""

    def noticed(self, notice: Notice) -> None:
        """Take note that the machine will go."""

    def unheard(self, why: str) -> None:
        """Take note that somebody who was named cannot give notice."""


class Watch:
    """Listens for one run to the sources that `preempt` names, until `stop`."""

    def __init__(self, preempt: Sequence[str], listener: Listener, environ: Mapping[str, str] | None = None) -> None:
        self._listener: Listener | None = listener
        environ = os.environ if environ is None else environ
        named = [word for word in preempt if word not in ("auto", "off")]
        found = seen(environ) if "auto" in preempt else []
        words = list(dict.fromkeys([*named, *found]))
        if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true" and "aws" in words:
            words.remove("aws")
            if "aws" in named:
                listener.unheard("AWS_EC2_METADATA_DISABLED is set, so AWS is not asked whether this machine will go")
        self._questions = [
            _joined(source, self, by_name=word in named)
            for word in words
            if (source := _source(word, environ)) is not None
        ]
        signals = [f"SIG{word.removeprefix('signal:')}" for word in words if word.startswith("signal:")]
        signals += [name for name in USUAL if "slurm" in words and name not in signals and hasattr(signal, name)]
        self._signals = Signals(signals, environ, self.noticed)
        if signals and not self._signals.listen() and any(word.startswith(("signal:", "slurm")) for word in named):
            listener.unheard(f"{' and '.join(signals)} can be heard in the main thread only, and this is another one")

    def tell(self, listener: Listener) -> None:
        """Tell somebody else from now on."""
        self._listener = listener

    def stop(self) -> None:
        """Listen no more."""
        self._listener = None
        for question in self._questions:
            question.leave(self)
        self._questions = []
        self._signals.stop()

    def noticed(self, notice: Notice) -> None:
        """Pass it on, unless the run has ended meanwhile."""
        if (listener := self._listener) is not None:
            listener.noticed(notice)

    def unheard(self, why: str) -> None:
        """Pass it on, unless the run has ended meanwhile."""
        if (listener := self._listener) is not None:
            listener.unheard(why)


def _source(word: str, environ: Mapping[str, str]) -> Source | None:
    """Whom a word of `--preempt` means, if it is somebody who can be asked."""
    if word in CLOUDS:
        return CLOUDS[word](environ)
    if word.startswith("file:"):
        return File(word.removeprefix("file:"))
    return Page(word) if word.startswith(("http:", "https:")) else None


class _Question:
    """One source, and the thread that asks it for all who listen."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._listeners: list[Listener] = []
        self._by_name = False
        self.heard: list[Notice] = []
        self._over = threading.Event()

    def join(self, listener: Listener, *, by_name: bool) -> None:
        """Listen from now on; `heard` is what was said before."""
        self._by_name = self._by_name or by_name
        self._listeners.append(listener)
        if len(self._listeners) == 1:
            threading.Thread(target=self._ask_on, name=f"nbckpt asks {self._source.name}", daemon=True).start()

    def leave(self, listener: Listener) -> None:
        """Listen no more; the last one ends it."""
        with _sharing:
            self._listeners.remove(listener)
            if not self._listeners:
                self._over.set()
                _asked.pop(self._source.name, None)

    def _ask_on(self) -> None:
        began, answered, failures, pause = time.monotonic(), False, 0, self._source.pause
        while not self._over.is_set():
            try:
                said = self._source.ask()
            except (OSError, ValueError, RecursionError) as error:  # the last: nested deeper than JSON is read
                failures += 1
                pause = pause if failures < TRIES else min(2 * pause, SLOWEST)
                if failures == TRIES and self._by_name:
                    self._tell_trouble(error)
                if not (answered or self._by_name) and time.monotonic() - began > self._source.patience:
                    return
            else:
                answered, failures, pause = True, 0, self._source.pause
                for notice in said:
                    self._tell(notice)
            self._over.wait(pause)

    def _tell(self, notice: Notice) -> None:
        with _sharing:
            if notice.text in {known.text for known in self.heard}:
                return
            self.heard.append(notice)
            listeners = list(self._listeners)
        for listener in listeners:
            listener.noticed(notice)

    def _tell_trouble(self, error: Exception) -> None:
        with _sharing:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.unheard(
                f"{self._source.name} cannot be asked whether this machine will go ({error}); it is tried again, and "
                "until it answers only the snapshots taken anyway protect the run"
            )


_sharing = threading.Lock()
_asked: dict[str, _Question] = {}
"""What threads of this process ask, by the source's name."""


def _joined(source: Source, listener: Listener, *, by_name: bool) -> _Question:
    with _sharing:
        question = _asked.setdefault(source.name, _Question(source))
        question.join(listener, by_name=by_name)
        heard = list(question.heard)
    for notice in heard:
        listener.noticed(notice)
    return question


def _forget() -> None:
    """In a forked child no thread asks, and nobody may hold the lock."""
    global _sharing  # noqa: PLW0603 - a lock cannot be put back into its first state otherwise
    _sharing = threading.Lock()
    _asked.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
