"""Going through a loop's iterations, with a boundary at the top of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, compress
from typing import Any, Protocol

from ..state import pickling
from ..state.home import NOTHING
from ..state.iterators import PLACED, onward
from . import cursors
from .cursors import Cursor
from .gathering import Gathering


@dataclass(slots=True)
class Loop:
    """A loop in progress: `count` iterations were begun, `item` is the current one's."""

    key: str
    cursor: Cursor | None = None
    """None for a `while` loop."""
    count: int = 0
    item: Any = NOTHING
    nested: bool = False
    """Whether there are boundaries inside its body."""
    look: Callable[[], None] = lambda: None
    """Brings `count` and `item` up to date in the middle of an iteration."""
    gathering: Gathering | None = None
    """For the first clause of a comprehension: what that has made."""

    @property
    def total(self) -> int | None:
        return self.cursor.total if self.cursor else None

    def saved(self, *, at_top: bool) -> dict[str, Any]:
        """What a snapshot keeps of it; `at_top`, no item is current."""
        record = self.cursor.saved() if self.cursor else {}
        # a replay draws its current item once more, so that one need not be savable
        spare = at_top or (record.get("kind") == "replay" and pickling.digest(self.item) is None)
        kept = NOTHING if spare else self.item
        made = self.gathering.saved() if self.gathering else {}
        return {**record, **made, "count": self.count, "item": kept, "drawn_again": spare and not at_top}


class Clock(Protocol):
    """Says when somebody wants a boundary's attention."""

    due: bool

    def stretch(self, length: int) -> list[bool]:
        """As many tokens as iterations may run before the next look; the list is emptied to end them early."""


class Keeper(Protocol):
    """The run that a loop belongs to."""

    @property
    def schedule(self) -> Clock: ...

    def top(self, loop: Loop) -> None:
        """Stand at a boundary: an iteration of the loop has ended."""

    def left(self, loop: Loop) -> None:
        """Forget a loop that was left."""


def turns(keeper: Keeper, loop: Loop, current: Any = NOTHING) -> Iterator[Any]:
    """The items of a loop, through its progress bar if it has one; `current` is handed out again first.

    A comprehension gets them in pieces, each with the function that adds to what it makes.
    """
    cursor = loop.cursor
    assert cursor is not None  # noqa: S101 - `while` loops have no items
    loop.item = current
    items: Iterator[Any]
    if loop.nested:
        items = _nested(keeper, loop, current)
    elif loop.gathering is not None:
        return adding(loop.gathering, _pieces(keeper, loop))
    elif type(cursor.iterator) in PLACED:
        first = () if current is NOTHING else (current,)
        items = chain.from_iterable(chain((first,), _stretches(keeper, loop)))
    else:
        items = _innermost(keeper, loop, current)
    if cursor.bar is not None:
        items = cursors.through_bar(cursor, items, loop.count - (current is not NOTHING))
    return items if loop.gathering is None else adding(loop.gathering, [items])


def adding(gathering: Gathering, pieces: Iterable[Any]) -> Iterator[tuple[Any, Callable[..., None]]]:
    """A comprehension's items in pieces, each with the function that adds to what it makes."""
    add = gathering.add
    for piece in pieces:
        yield piece, add
    gathering.end()


def _pieces(keeper: Keeper, loop: Loop) -> Iterator[Iterator[Any]]:
    """The items of a comprehension's only clause; boundaries are between the pieces, when what they made is added."""
    cursor = loop.cursor
    assert cursor is not None  # noqa: S101
    if cursor.bar is None and type(cursor.iterator) in PLACED:
        return _stretches(keeper, loop)
    items = onward(cursor.iterator)
    if cursor.bar is not None:
        items = cursors.through_bar(cursor, items, loop.count)
    return _interrupted(keeper, loop, items)


def _interrupted(keeper: Keeper, loop: Loop, items: Iterator[Any]) -> Iterator[Iterator[Any]]:
    flag = keeper.schedule
    ended = False

    def piece() -> Iterator[Any]:
        nonlocal ended
        for item in items:
            loop.count += 1
            loop.item = item
            yield item
            if flag.due:
                return
        ended = True

    try:
        while not ended:
            yield piece()
            if flag.due and not ended:
                keeper.top(loop)
    finally:
        keeper.left(loop)


# Called for each item as `get(token, item)`: a function in C that gives back its second argument.
_second: Callable[[bool, Any], Any] = {}.get  # type: ignore[assignment]


def _stretches(keeper: Keeper, loop: Loop) -> Iterator[Iterator[Any]]:
    """The items of a tight loop, in stretches that run at C speed and end when the clock wants a look.

    `map` draws a token before it draws an item, so a stretch whose tokens are taken away ends between two
    iterations, and no item is lost. How far it came is read off the iterator.

    An iterator that is the loop's own can be set back. There `compress` is quicker, which draws the item first: the one
    for which it finds no token is drawn once more. It never comes to the end by itself, as a list's iterator that has
    ended does not know its list any more.
    """
    cursor = loop.cursor
    assert cursor is not None  # noqa: S101
    is_own = cursor.iterator is not cursor.iterable
    clock = keeper.schedule
    begun = loop.count - (cursors.place(cursor.iterator) or 0)

    def look() -> None:
        if (place := cursors.place(cursor.iterator)) is not None:
            loop.count, loop.item = begun + place, cursors.latest(cursor.iterator)

    loop.look = look
    try:
        while left := cursor.iterator.__length_hint__():
            if is_own and left > 1:
                tokens = iter(clock.stretch(left - 1))
                yield compress(cursor.iterator, tokens)
                if cursors.place(tokens) is None:
                    cursor.iterator = cursors.set_back(cursor.iterator)
            else:
                yield map(_second, clock.stretch(left), cursor.iterator)
            if clock.due and (place := cursors.place(cursor.iterator)) is not None:
                loop.count = begun + place
                keeper.top(loop)
    finally:
        keeper.left(loop)


def _innermost(keeper: Keeper, loop: Loop, current: Any) -> Iterator[Any]:
    assert loop.cursor is not None  # noqa: S101
    flag = keeper.schedule
    count, item = loop.count, current

    def look() -> None:
        loop.count, loop.item = count, item

    loop.look = look
    try:
        if current is not NOTHING:
            yield current
        for item in onward(loop.cursor.iterator):
            count += 1
            yield item
            if flag.due:
                loop.count, loop.item = count, item
                keeper.top(loop)
    finally:
        loop.count = count
        keeper.left(loop)


def _nested(keeper: Keeper, loop: Loop, current: Any) -> Iterator[Any]:
    cursor = loop.cursor
    assert cursor is not None  # noqa: S101
    flag = keeper.schedule
    before = None
    try:
        if current is not NOTHING:
            loop.item = current
            yield current
            if flag.due:
                keeper.top(loop)
        # a replay inside this loop may have the iterator built a second time
        while (iterator := cursor.iterator) is not before:
            before = iterator
            for item in onward(iterator):
                loop.count += 1
                loop.item = item
                yield item
                if flag.due:
                    keeper.top(loop)
                if cursor.iterator is not iterator:
                    break
    finally:
        keeper.left(loop)


class AsyncTurns:
    """The items of an `async for`; a class, because an async generator that is left early is closed late."""

    def __init__(self, keeper: Keeper, loop: Loop, prepare: Callable[[], Awaitable[Any]] | None = None) -> None:
        self.keeper, self.loop = keeper, loop
        self.prepare = prepare
        """What is still to be awaited before the first item; returns the current item if there is one."""
        self.begun = False

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        loop = self.loop
        if self.begun and self.keeper.schedule.due:
            self.keeper.top(loop)
        self.begun = True
        if self.prepare is not None:
            prepare, self.prepare = self.prepare, None
            if (current := await prepare()) is not NOTHING:
                loop.item = current
                return current
        cursor = loop.cursor
        assert cursor is not None  # noqa: S101 - `while` loops have no items
        try:
            item = await cursor.iterator.__anext__()
        except BaseException:  # it ends or fails: either way the loop is over
            self.keeper.left(loop)
            raise
        loop.count += 1
        loop.item = item
        if cursor.trail is not None:
            cursor.trail.note(item)
        return item
