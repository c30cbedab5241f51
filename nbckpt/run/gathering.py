"""What a comprehension has made so far, and who shares its variables."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..state.home import NOTHING

if TYPE_CHECKING:
    from types import FunctionType


class Gathering:
    """What a comprehension in progress has made: a list, set or dict that nobody else has seen yet.

    `onto` is what it will be added to, as in `xs += [...]`; `whole` is told when it is whole.
    """

    def __init__(self, kind: str, onto: Any, whole: Callable[[Gathering], None]) -> None:
        self.made: Any = {"list": list, "set": set, "dict": dict}[kind]()
        self.onto = onto
        self._whole = whole
        self._cells: tuple[Any, ...] = ()
        self._holders: list[int] = []

    @property
    def add(self) -> Callable[..., None]:
        """Takes a list's elements, several at a time; a set's, or a dict's keys and values, one by one."""
        made = self.made
        if isinstance(made, list):
            return made.extend
        return made.add if isinstance(made, set) else made.__setitem__

    def end(self) -> None:
        """The last element was made."""
        self._whole(self)

    def saved(self) -> dict[str, Any]:
        """What a snapshot keeps of it."""
        return {"made": self.made, "onto": self.onto}

    def put_back(self, record: Mapping[str, Any]) -> None:
        """Go on with what was saved."""
        fill = self.add if isinstance(self.made, list) else self.made.update
        fill(record["made"])
        self.onto = record["onto"]

    def watch(self, function: FunctionType) -> None:
        """Watch the variables that a function of the comprehension shares with it."""
        if not self._cells:
            self._cells = function.__closure__ or ()
            self._holders = self._count_holders()

    @property
    def is_shared(self) -> bool:
        """Whether a function made by an element lives on: it sees the variables that the next elements will have.

        A comprehension that is entered again has variables of its own.
        """
        return self._count_holders() != self._holders

    def _count_holders(self) -> list[int]:
        return [sys.getrefcount(cell) for cell in self._cells]


class Comprehensions:
    """What the rewritten comprehensions of one cell call; `loops` are those in progress."""

    def __init__(self, loops: Mapping[str, Any]) -> None:
        self._loops = loops
        self._kept: dict[str, Any] = {}
        self._ended: Gathering | None = None

    def begin(self, key: str, kind: str) -> Gathering:
        """Begin what the loop at a path gathers."""
        return Gathering(kind, self._kept.pop(key, NOTHING), self._end)

    def keep(self, key: str, value: Any) -> None:
        """Remember what a comprehension is going to be added to."""
        self._kept[key] = value

    def watch(self, key: str, function: FunctionType) -> bool:
        """Stand in an iteration; always true, as it is a condition among others."""
        self._loops[key].gathering.watch(function)
        return True

    def _end(self, gathering: Gathering) -> None:
        self._ended = gathering

    @property
    def ready(self) -> bool:
        """Whether there is a comprehension whose value was not asked for."""
        return self._ended is not None

    def result(self, *_: Any) -> Any:
        """The value of the comprehension that ended; None where there is none."""
        ended, self._ended = self._ended, None
        return ended and ended.made

    def added(self, operation: str, _: Any) -> Any:
        """The value of an augmented assignment whose comprehension ended."""
        ended, self._ended = self._ended, None
        assert ended is not None  # noqa: S101
        return getattr(operator, operation)(ended.onto, ended.made)
