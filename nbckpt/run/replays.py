"""Replaying what cannot be pickled, and finding out whether that gives the same again.

A generator's place cannot be saved: a resumed run evaluates it again and draws its finished items once more. That
is right only if it yields what it yielded, so items leave a *trail* of fingerprints, and what the generator works
on is watched: if that changes while the loop runs, it cannot be made again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ReplayError
from ..state import fingerprints, pickling, randomness
from ..state.home import NOTHING, quiet
from ..state.iterators import onward
from ..state.namespace import names_of_code

SPARE = 0.005
"""Seconds that a loop's fingerprints may cost whatever its length."""
SHARE = 0.02
"""Of a loop's time, what they may cost beyond that; beyond it only items 2, 4, 8, ... have one."""


@dataclass(slots=True)
class Trail:
    """Fingerprints of the items drawn: a chain over the first `length` of `count`, and single ones later on."""

    count: int = 0
    length: int = 0
    chain: str = ""
    marks: dict[int, str] = field(default_factory=dict)
    blind: bool = False
    """Whether there were items that have no fingerprint."""
    last: Any = NOTHING
    looks_at: int = 0
    """Which item has a fingerprint next, once they cost too much; before that, each one has."""
    spent: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def note(self, item: Any) -> None:
        """Take note of the next item, before anybody can change it."""
        self.count += 1
        if self.count < self.looks_at:
            return
        now = time.perf_counter()
        if self.looks_at or self.spent > SPARE + SHARE * (now - self.began):
            self.break_off()
            if self.count & (self.count - 1):
                return
            mark = self.marks[self.count] = _mark(item)
        else:
            mark = _mark(item)
            self.length, self.chain = self.count, str(fingerprints.stable_digest([self.chain, mark]))
        self.blind |= mark == "?"
        self.spent += time.perf_counter() - now

    def break_off(self) -> None:
        """End the chain: from here on only items 2, 4, 8, ... are looked at."""
        self.looks_at = 1 << self.count.bit_length()

    def noting(self, iterator: Iterator[Any]) -> Iterator[Any]:
        """Hand items on."""
        for item in onward(iterator):
            if self.count + 1 < self.looks_at:
                self.count += 1
            else:
                self.note(item)
            yield item

    def saved(self) -> dict[str, Any]:
        return {"length": self.length, "chain": self.chain, "marks": dict(self.marks), "blind": self.blind}


def _mark(item: Any) -> str:
    """A fingerprint of an item; of big arrays, of a sample."""
    return fingerprints.stable_digest(item, sample=True) or "?"


def draw_again(iterator: Iterator[Any], record: Mapping[str, Any], count: int) -> Follower:
    """Draw finished items once more."""
    follower = Follower(record["trail"])
    while follower.trail.count < count and (item := next(iterator, NOTHING)) is not NOTHING:
        follower.follow(item)
    return follower


class Follower:
    """Follows a saved trail with the items that are drawn again."""

    def __init__(self, saved: Mapping[str, Any]) -> None:
        self.saved = saved
        self.trail = Trail()
        self.differs = 0
        """Which item was the first known not to be the same; 0 if none was."""

    def follow(self, item: Any) -> None:
        trail = self.trail
        trail.count, trail.last = trail.count + 1, item
        number = trail.count
        if number <= self.saved["length"]:
            mark = _mark(item)
            trail.length, trail.chain = number, str(fingerprints.stable_digest([trail.chain, mark]))
            if number == self.saved["length"] and trail.chain != self.saved["chain"]:
                self.differs = self.differs or number
            return
        trail.break_off()  # the chain had ended, so it cannot go on
        if number in self.saved["marks"]:
            trail.marks[number] = _mark(item)
            if trail.marks[number] != self.saved["marks"][number]:
                self.differs = self.differs or number

    def check(self, count: int, line: int, *, trust: bool) -> str:
        """Make sure that these were the same items; return what a person should know.

        Raises:
            ReplayError: there were fewer of them, or they differ and are not to be trusted.
        """
        self.trail.blind = self.saved["blind"]
        again = f"the loop at line {line} cannot be saved half way, so its {count} finished items were drawn again"
        if self.trail.count < count:
            raise ReplayError(
                f"the loop at line {line} had done {count} iterations, but what it goes over now ends after "
                f"{self.trail.count}. Nothing is lost: bring its items back, or start over with --fresh"
            )
        if self.differs and not trust:
            raise ReplayError(
                f"{again}, and they are not the ones they were (among the first {self.differs}): it reads "
                "something that changed, or draws random numbers in turn with the loop's body. Nothing is lost: if "
                "what it yields does not depend on what it yielded before, go on with --on-change resume; else start "
                "over with --fresh"
            )
        return f"{again}; not all of them could be compared" if self.saved["blind"] else again


class Sources:
    """What a generator of the notebook works on: its arguments, and the variables that its code reads."""

    def __init__(self, iterator: Any) -> None:
        self.namespace = vars(sys.modules["__main__"])
        self.held: dict[str, Any] = {}
        self.read: set[str] = set()
        for generator in _generators_in(iterator):
            if generator.gi_frame is not None and generator.gi_frame.f_globals is self.namespace:
                self.held |= {name: _data(value) for name, value in generator.gi_frame.f_locals.items()}
                self.read |= names_of_code(generator.gi_code, self.namespace).reads
        self.digests = self._digests()
        self.given = {name: fingerprints.stable_digest(value, sample=True) for name, value in self.held.items()}
        """Fingerprints of its arguments as they were when it began."""

    def changed(self) -> list[str]:
        """The names of what is not what it was when the loop began."""
        now = self._digests()
        return sorted(name for name, known in self.digests.items() if now[name] != known)

    def _digests(self) -> dict[str, str | None]:
        values = {**{name: self.namespace.get(name) for name in self.read}, **self.held}
        return {
            name: None if value is NOTHING or randomness.is_generator(value) else pickling.digest(value)
            for name, value in values.items()
        }


def refuse_other(record: Mapping[str, Any], sources: Sources, line: int, *, trust: bool) -> None:
    """Refuse to replay what was made of other arguments: those of its items that are left may be others, too.

    Raises:
        ReplayError: it was, and is not to be trusted.
    """
    before = record.get("given", {})
    other = [name for name, known in sources.given.items() if known and before.get(name, known) not in (None, known)]
    if other and not trust:
        raise ReplayError(
            f"the loop at line {line} cannot be saved half way, and what it goes over was made of something that "
            f"changed while it ran ({', '.join(map(_argument, other))}), so it cannot be made again. Nothing is lost: "
            "go on with --on-change resume if that does not matter, or start over with --fresh; looping over a list "
            "avoids it"
        )


def refuse_blind(record: Mapping[str, Any], line: int) -> None:
    """Refuse to replay what has items that cannot be compared.

    Raises:
        ReplayError: it has.
    """
    if record["trail"]["blind"]:
        raise ReplayError(f"not all the finished items of the loop at line {line} could be compared")


def _argument(name: str) -> str:
    return "what its first `in` goes over" if name == ".0" else name


def refuse_changed(record: Mapping[str, Any], line: int, *, trust: bool) -> None:
    """Refuse to replay what works on something that changed while the loop ran.

    Raises:
        ReplayError: it does, and is not to be trusted.
    """
    if record["changed"] and not trust:
        raise ReplayError(
            f"the loop at line {line} cannot be saved half way, and what it goes over works on "
            f"{', '.join(record['changed'])}, which changed while it ran, so it cannot be made again. Nothing is "
            "lost: go on with --on-change resume if that does not matter, or start over with --fresh; looping over a "
            "list avoids it"
        )


def _generators_in(iterator: Any) -> Iterator[Any]:
    """The generators that an iterator draws from."""
    if hasattr(iterator, "gi_frame"):
        yield iterator
        for value in (iterator.gi_frame.f_locals if iterator.gi_frame else {}).values():
            if isinstance(value, Iterator) and value is not iterator:
                yield from _generators_in(value)
    elif type(iterator) in (enumerate, zip, map, filter):
        for part in iterator.__reduce__()[1]:
            if isinstance(part, Iterator):
                yield from _generators_in(part)


def _data(value: Any) -> Any:
    """What an argument stands for: an iterator is its source, since its place moves by itself."""
    if not isinstance(value, Iterator):
        return value
    with quiet():
        try:
            source = value.__reduce__()
        except (TypeError, RuntimeError):  # a generator, for one; an iterator over a dict that has changed
            return NOTHING
    return source[1][0] if len(source) == 3 and source[0] is iter else NOTHING
