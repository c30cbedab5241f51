"""What somebody says of the end of this machine, and what those who are asked for it have in common."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

YEAR = 366 * 86400.0
LONGEST = 200
"""Characters of somebody else's text that a person is shown."""


@dataclass(frozen=True, slots=True)
class Notice:
    """That the machine will go, as far as is known.

    >>> str(Notice("AWS will terminate this spot instance"))
    'AWS will terminate this spot instance'
    """

    text: str
    when: float | None = None
    """In seconds since 1970, if that is known."""
    certain: bool = True
    """Whether the state of this machine will be lost, rather than may be: only then is it worth stopping for."""

    def __str__(self) -> str:
        if self.when is None or abs(self.when - time.time()) > YEAR:  # as of a job whose time is unlimited
            return self.text
        when = datetime.fromtimestamp(self.when)
        day = "" if when.date() == datetime.now().date() else f" on {when:%Y-%m-%d}"
        return f"{self.text} at {when:%H:%M:%S}{day}"


class Source(Protocol):
    """Somebody who can be asked, by a thread that has nothing else to do."""

    name: str
    """By which it is known within this process: two runs that ask the same one ask once."""
    pause: float
    """Seconds between two questions."""
    patience: float
    """Seconds after which one that has never answered is not asked any more."""

    def ask(self) -> list[Notice]:
        """Return what it says now: nothing, as long as the machine stays.

        Raises:
            OSError: it cannot be reached.
            ValueError: it answers something that it should not.
        """


def brief(text: bytes) -> str:
    """Somebody else's text, in one line of bearable length."""
    line = " ".join(text.decode("utf-8", "replace").split())
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
