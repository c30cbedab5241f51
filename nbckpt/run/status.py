"""What a run says about itself: one record, which the front renders as it can."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

State = Literal["running", "finished", "restored", "stopped"]


@dataclass(slots=True)
class Status:
    """The run as a person wants to see it. Times are seconds since 1970 unless said otherwise."""

    name: str
    store: str
    every: str
    state: State = "running"
    progress: str = ""
    """Where it is: `epoch 57 of 100`."""
    resumed_at: str = ""
    """Where it went on, or empty for a run from the start."""
    resumed_age: float = 0.0
    """How old that snapshot was then, in seconds."""
    kept: float = 0.0
    """Seconds of work that need not be done again, as of the resume."""
    worked: float = 0.0
    """Seconds of work in all runs, as of the end of this one."""
    waiting: str = ""
    """What it has to wait for before it can begin."""
    ending: str = ""
    """Why it ends at the next boundary, and what happens until then."""
    left: Literal["", "saved", "unsaved", "at once"] = ""
    """How it was ended by an interrupt or a signal: at a boundary, or in the middle of an iteration."""
    saving: bool = False
    """Whether a snapshot is on its way, which is not durable yet."""
    saved_at: float | None = None
    saved_progress: str = ""
    """Where the newest snapshot stands."""
    snapshots: int = 0
    """Saved by this run."""
    size: int = 0
    """Bytes that the newest snapshot is made of."""
    capture: dict[str, Any] = field(default_factory=dict)
    """How the newest snapshot was taken: see `Handover.capture`, and `stall`, the seconds that the loop stood still."""
    verified: bool = False
    """Whether a snapshot was loaded back in a clean process, and was what had been saved."""
    unprotected: str = ""
    """Why the run is not being saved, or empty if it is."""
    unprotected_since: float = 0.0
    gap: tuple[float, float, str] | None = None
    """From when to when nothing could be saved last, and why, if it can be now."""
    retry: str = ""
    """The newest time that a failed cell was tried again: how often now, after what, and from where."""
    error: str = ""
    """What stopped it, if that was an error."""
    notices: list[str] = field(default_factory=list)

    def notice(self, text: str) -> None:
        """Add something that must be read, once."""
        if text not in self.notices:
            self.notices.append(text)

    def protect(self) -> None:
        """Take note that saving works."""
        if self.unprotected:
            self.gap = self.unprotected_since, time.time(), self.unprotected
        self.unprotected, self.unprotected_since = "", 0.0

    def unprotect(self, why: str) -> None:
        """Take note that saving does not work."""
        if not self.unprotected:
            self.unprotected_since = time.time()
        self.unprotected = why

    def follow(self, earlier: Status) -> None:
        """Go on with what was said of the attempt before."""
        self.notices, self.retry = earlier.notices, earlier.retry
        self.unprotected, self.unprotected_since = earlier.unprotected, earlier.unprotected_since
        self.snapshots, self.size, self.verified = earlier.snapshots, earlier.size, earlier.verified
        self.gap = earlier.gap


def said_of(error: BaseException) -> str:
    """An error in a line: its class, and the beginning of what it says.

    >>> said_of(ValueError("of two\\nlines")), said_of(KeyError())
    ('ValueError: of two', 'KeyError')
    """
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - what it says is the user's code, and fails as that likes
        text = ""
    kind, (said, *_) = type(error).__name__, text.strip().splitlines() or [""]
    return f"{kind}: {short(said, 80)}" if said else kind


def listed(reasons: Mapping[str, str]) -> str:
    """Names with their reasons."""
    return ", ".join(f"{name} ({why})" for name, why in reasons.items())


def short(text: str, width: int = 40) -> str:
    """A text, cut where it gets long."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


class Reporter(Protocol):
    """Shows a run's status to somebody."""

    def show(self, status: Status, *, event: str) -> None:
        """Show it; `event` says what just happened.

        One of `waiting`, `started`, `resumed`, `progress`, `saving`, `saved`, `unprotected`, `retrying`, `finished`,
        `restored`, `ending`, `stopped`. Only `progress`, `saving` and `saved` may be passed over to spare the screen.
        """
