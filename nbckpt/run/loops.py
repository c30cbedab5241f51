"""Going through a loop's iterations, with a boundary at the top of each."""

from __future__ import annotations

import operator
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, compress, repeat
from typing import Any, Protocol

from ..state import pickling
from ..state.home import NOTHING
from ..state.iterators import PLACED, onward
from . import cursors
from .cursors import Cursor
from .gathering import Gathering


def _nothing() -> None:
    """There is nothing to look at: `count` is always up to date."""


def _any(item: Any) -> bool:  # noqa: ARG001
    return True


def _at_hand(is_it: Callable[[Any], bool] = _any) -> bool:  # noqa: ARG001
    """There is nothing to do: the current item is at hand anyway."""
    return True


@dataclass(slots=True)
class Loop:
    """A loop in progress: `count` iterations were begun, `current` is the item of the one that is running."""

    key: str
    cursor: Cursor | None = None
    """None for a `while` loop."""
    count: int = 0
    item: Any = NOTHING
    """The current item, where there is nothing to `find` it."""
    nested: bool = False
    """Whether there are boundaries inside its body."""
    look: Callable[[], None] = _nothing
    """Brings `count` up to date in the middle of an iteration."""
    find: Callable[[], Any] | None = None
    hold: Callable[..., bool] = _at_hand
    """Sees to it that the current item is found as long as it is current, whatever becomes of what it is from.

    Given what tells whether something is that item; returns False if it cannot be found any more.
    """
    gathering: Gathering | None = None
    """For the first clause of a comprehension: what that has made."""

    @property
    def current(self) -> Any:
        """The item of the iteration that is running."""
        return self.item if self.find is None else self.find()

    @property
    def total(self) -> int | None:
        return self.cursor.total if self.cursor else None

    def progress(self) -> tuple[int, int | None]:
        """How many iterations were begun by now, of how many."""
        self.look()
        return self.count, self.total

    def saved(self, *, at_top: bool) -> dict[str, Any]:
        """What a snapshot keeps of it; `at_top`, no item is current."""
        record = self.cursor.saved() if self.cursor else {}
        # a replay draws its current item once more, so that one need not be savable
        current = NOTHING if at_top else self.current
        spare = at_top or (record.get("kind") == "replay" and pickling.digest(current) is None)
        kept = NOTHING if spare else current
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
    if loop.gathering is not None and not loop.nested:
        return adding(loop.gathering, _pieces(keeper, loop))
    if cursor.is_own and type(cursor.iterator) in PLACED and not loop.nested:
        first = () if current is NOTHING else (current,)
        items = chain.from_iterable(chain((first,), _stretches(keeper, loop)))
    else:
        items = _one_by_one(keeper, loop, current)
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
    if cursor.bar is None and cursor.is_own and type(cursor.iterator) in PLACED:
        return _stretches(keeper, loop)
    items = onward(cursor.iterator)
    if cursor.bar is not None:
        items = cursors.through_bar(cursor, items, loop.count)
    return _interrupted(keeper, loop, items)


def _interrupted(keeper: Keeper, loop: Loop, items: Iterator[Any]) -> Iterator[Iterator[Any]]:
    flag = keeper.schedule
    item, ended = NOTHING, False
    counted = _counted(loop, items)
    loop.find = lambda: item

    def piece() -> Iterator[Any]:
        nonlocal item, ended
        for item in counted:
            yield item
            if flag.due:
                return
        ended = True

    try:
        while not ended:
            yield piece()
            if flag.due and not ended:
                loop.look()
                keeper.top(loop)
    finally:
        _leave(keeper, loop)


def _leave(keeper: Keeper, loop: Loop) -> None:
    """Take leave of a loop, and of what refers to it itself: what it goes over is freed at once, as without us."""
    loop.look()
    loop.look, loop.find, loop.hold = _nothing, None, _at_hand
    keeper.left(loop)


_TOKENS = sys.maxsize


def _counted(loop: Loop, items: Iterator[Any]) -> Iterator[Any]:
    """Some items, of which the loop's `look` finds out how many were drawn.

    `compress` takes a token for each that it has drawn. A sum kept in Python would cost twice as much.
    """
    begun, tokens = loop.count, repeat(object=True, times=_TOKENS)

    def look() -> None:
        loop.count = begun + _TOKENS - operator.length_hint(tokens)

    def more() -> Iterator[Iterator[bool]]:
        nonlocal begun, tokens
        while True:
            yield tokens
            begun, tokens = begun + _TOKENS, repeat(object=True, times=_TOKENS)

    loop.look = look
    # no loop lives to see the end of 2**63 tokens, but in a small Python there are no more than 2**31 at a time
    return compress(items, tokens if _TOKENS >= 2**62 else chain.from_iterable(more()))


# Called for each item as `pop(token, item)`: a function in C that gives back its second argument.
# It is a quick one, as an empty dict does not hash what it is asked for.
_second: Callable[[bool, Any], Any] = {}.pop  # type: ignore[assignment]


def _stretches(keeper: Keeper, loop: Loop) -> Iterator[Iterator[Any]]:
    """The items of a tight loop, in stretches that run at C speed and end when the clock wants a look.

    `map` draws a token before it draws an item, so a stretch whose tokens are taken away ends between two
    iterations, and no item is lost. How far it came is read off the iterator.

    The iterator is the loop's own, so that where it is tells how many items there were, and that it can be set back:
    `compress` is quicker, which draws the item first, and the one for which it finds no token is drawn once more. It
    never comes to the end by itself, as a list's iterator that has ended does not know its list any more.
    """
    cursor = loop.cursor
    assert cursor is not None  # noqa: S101
    clock = keeper.schedule
    begun = loop.count - (cursors.place(cursor.iterator) or 0)

    def look() -> None:
        if (place := cursors.place(cursor.iterator)) is not None:
            loop.count = begun + place

    held, item = 0, NOTHING
    drawing: list[bool] = []

    def find() -> Any:
        look()
        if loop.count == held:
            return item
        return NOTHING if cursors.place(cursor.iterator) is None else cursors.latest(cursor.iterator)

    def hold(is_it: Callable[[Any], bool] = _any) -> bool:
        nonlocal held, item
        drawing.clear()  # so that it is let go of when this iteration ends
        found = find()
        if found is NOTHING or (type(cursor.iterator) is cursors.LIST and not is_it(found)):
            return False
        held, item = loop.count, found
        return True

    loop.look, loop.find, loop.hold, loop.item = look, find, hold, NOTHING
    try:
        while left := cursor.iterator.__length_hint__():
            drawing = clock.stretch(max(1, left - 1))
            if left > 1:
                tokens = iter(drawing)
                yield compress(cursor.iterator, tokens)
                if cursors.place(tokens) is None:
                    cursor.iterator = cursors.set_back(cursor.iterator)
            else:
                yield map(_second, drawing, cursor.iterator)
            held, item = 0, NOTHING
            if clock.due and (place := cursors.place(cursor.iterator)) is not None:
                loop.count = begun + place
                keeper.top(loop)
    finally:
        _leave(keeper, loop)


def _one_by_one(keeper: Keeper, loop: Loop, current: Any) -> Iterator[Any]:
    """The items of a loop with boundaries inside its body, or over what does not tell where it is and what it gave.

    Here they are drawn by Python code: only so is the current one still at hand when a snapshot needs it.
    """
    cursor = loop.cursor
    assert cursor is not None  # noqa: S101
    flag = keeper.schedule
    try:
        if current is not NOTHING:
            yield current
            if flag.due:
                keeper.top(loop)
        # a replay inside that iteration may have had both built a second time
        items, item = onward(cursor.iterator), loop.item
        loop.find, loop.item, current = lambda: item, NOTHING, NOTHING
        for item in _counted(loop, items):
            yield item
            if flag.due:
                loop.look()
                keeper.top(loop)
    finally:
        _leave(keeper, loop)


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
