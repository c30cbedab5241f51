"""Skipping ahead in what a loop goes over.

A cursor is how one loop's iterable is advanced past the iterations that are done. There are four, tried in
this order:

- an iterator that pickles (over ranges, lists, dicts, sets, `enumerate`, `zip`, `map`, the user's own classes)
  is itself part of the snapshot: nothing is evaluated again, and the items that were left are the ones left;
- an object with `state_dict` and `load_state_dict` is told where it was;
- a progress bar is looked through: what it shows gets the cursor, the bar goes on at the right count;
- everything else is replayed: evaluated again with the random state it had, its finished items drawn and
  dropped.
"""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ReplayError
from ..state.home import NOTHING, quiet
from ..state.iterators import is_sound, pickles, savable
from . import extensions, loaders
from .replays import Follower, Sources, Trail, draw_again, refuse_blind, refuse_changed, refuse_other


@dataclass(slots=True)
class Cursor:
    """A way through one iterable: `iterator` yields the items left, `saved()` is what a snapshot keeps of it.

    `iterable` is what the loop's header evaluated to; `total` how many items there are in all, where known.
    """

    kind: str
    iterable: Any
    iterator: Any
    total: int | None
    bar: Any = None
    """The progress bar that was looked through."""
    bar_start: int = 0
    """What the bar showed before the first item."""
    fresh_random: Any = None
    """For a replay: the random state before the header was evaluated."""
    trail: Trail | None = None
    """For a replay: the fingerprints of its items."""
    sources: Sources | None = None
    """For a replay: what it works on."""
    by_index: bool = False
    """For a replay: whether its finished items are skipped without being loaded, and `trail` is of their indices."""
    is_own: bool = False
    """Whether nobody else can have the iterator and draw from it: the loop has made it itself."""
    notice: str = ""
    """For a replay that was made: what a person should know of it."""

    def saved(self) -> dict[str, Any]:
        """What a snapshot keeps of it."""
        record: dict[str, Any] = {"kind": self.kind, "total": self.total, "bar": self.bar, "bar_start": self.bar_start}
        if self.kind == "iterator":
            record["iterator"], record["is_own"] = self.iterator, self.is_own
        elif self.kind == "state_dict":
            record["state"] = _stateful(self.iterable, self.iterator).state_dict()
            record["random"] = self.fresh_random
        else:
            record["random"] = self.fresh_random
            record["by_index"] = self.by_index
            record["trail"] = self.trail.saved() if self.trail else None
            record["changed"] = self.sources.changed() if self.sources else []
            record["given"] = self.sources.given if self.sources else {}
        return record


def open_cursor(iterable: Any, fresh_random: Any = None) -> Cursor:
    """Begin a loop over an iterable.

    Raises whatever `iter(iterable)` raises.
    """
    bar, inner = look_through(iterable)
    iterator = iter(inner)
    if not is_sound(iterator):
        iterator = savable(iterator)
    start = getattr(bar, "n", 0)
    kind, is_own = _kind(inner, iterator), iterator is not inner
    cursor = Cursor(kind, inner, iterator, _total(inner), bar, start, fresh_random, is_own=is_own)
    if cursor.kind == "replay":
        cursor.trail, cursor.sources = Trail(), Sources(iterator)
        if loader := loaders.loader_in(iterator):
            cursor.by_index = True
            loaders.note_indices(loader, cursor.trail)
        else:
            cursor.iterator = cursor.trail.noting(iterator)
    return cursor


def open_async_cursor(iterable: Any, fresh_random: Any = None) -> Cursor:
    """Begin an `async for` over an asynchronous iterable."""
    iterator = type(iterable).__aiter__(iterable)
    cursor = Cursor(_kind(iterable, iterator), iterable, iterator, _total(iterable), None, 0, fresh_random)
    if cursor.kind == "replay":
        cursor.trail = Trail()
    return cursor


def _kind(iterable: Any, iterator: Any) -> str:
    if is_sound(iterator):
        return "iterator"
    if _has_state_dict(iterator) or _has_state_dict(iterable):
        return "state_dict"
    # of a loader only what a variable holds is itself saved: all others are skipped through without loading
    return "iterator" if not loaders.begins(iterable, iterator) and pickles(iterator) else "replay"


def reopen(record: Mapping[str, Any], iterable: Any = None) -> Cursor:
    """The cursor of a loop whose iterator came back with the snapshot; a live bar is used where there is one."""
    iterator = record["iterator"]
    bar, _ = look_through(iterable)
    bar, start, is_own = bar or record["bar"], record["bar_start"], record["is_own"]
    return Cursor("iterator", iterator, iterator, record["total"], bar, start, is_own=is_own)


def advance(
    iterable: Any, record: Mapping[str, Any], count: int, line: int, *, trust: bool = False, edited: bool = False
) -> Cursor:
    """Bring an iterable that was evaluated again to where it was, `count` items in.

    `trust` that it yields what it did, although that cannot be shown. If its header was `edited`, it may be made of
    other arguments, but each of its finished items must be known to be the same.

    Raises:
        ReplayError: it does not, or cannot.
    """
    bar, inner = look_through(iterable)
    if record["kind"] == "state_dict":
        return _told_its_state(inner, iter, record, bar)
    refuse_changed(record, line, trust=trust)
    iterator = iter(inner)
    sources = Sources(iterator)
    if edited and not trust:
        refuse_blind(record, line)
    else:
        refuse_other(record, sources, line, trust=trust)
    if record.get("by_index") and loaders.loader_in(iterator):
        iterator, follower = loaders.skip(iterator, record, count)
        said = follower.check(count, line, trust=trust)
        cursor = _replayed(inner, bar, record, follower, said if record["drawn_again"] or follower.trail.blind else "")
        cursor.sources, cursor.iterator, cursor.by_index = sources, iterator, True
        return cursor
    follower = draw_again(iterator, record, count)
    cursor = _replayed(inner, bar, record, follower, follower.check(count, line, trust=trust))
    cursor.sources, cursor.iterator = sources, follower.trail.noting(iterator)
    return cursor


async def advance_async(
    iterable: Any, record: Mapping[str, Any], count: int, line: int, *, trust: bool = False
) -> Cursor:
    """The same for an asynchronous iterable."""
    begin = type(iterable).__aiter__
    if record["kind"] == "state_dict":
        return _told_its_state(iterable, begin, record, None)
    iterator = begin(iterable)
    follower = Follower(record["trail"])
    while follower.trail.count < count and (item := await anext(iterator, NOTHING)) is not NOTHING:
        follower.follow(item)
    cursor = _replayed(iterable, None, record, follower, follower.check(count, line, trust=trust))
    cursor.iterator = iterator
    return cursor


def _replayed(iterable: Any, bar: Any, record: Mapping[str, Any], follower: Follower, notice: str) -> Cursor:
    start = record["bar_start"]
    cursor = Cursor("replay", iterable, None, record["total"], bar, start, record["random"])
    cursor.trail, cursor.notice = follower.trail, notice
    return cursor


def _told_its_state(iterable: Any, begin: Any, record: Mapping[str, Any], bar: Any) -> Cursor:
    if _has_state_dict(iterable):
        iterable.load_state_dict(record["state"])
        iterator = begin(iterable)
    else:
        iterator = begin(iterable)
        iterator.load_state_dict(record["state"])
    return Cursor("state_dict", iterable, iterator, record["total"], bar, record["bar_start"], record.get("random"))


def current_item(record: Mapping[str, Any], cursor: Cursor) -> Any:
    """The item of the iteration in progress, as it was saved or as a replay has drawn it again."""
    saved = record["item"]
    return cursor.trail.last if saved is NOTHING and cursor.trail else saved


def extend(iterable: Any, record: Mapping[str, Any], count: int, line: int, *, trust: bool = False) -> Cursor | None:
    """Go on in an edited header if what is done stands unchanged at its beginning; None if that cannot be shown.

    `trust` that it does, all the same.
    """
    if record["kind"] != "iterator":
        if record["kind"] == "state_dict" and not trust:
            return None
        try:
            return advance(iterable, record, count, line, trust=trust, edited=True)
        except ReplayError:
            return None
    bar, inner = look_through(iterable)
    cursor = open_cursor(inner)
    cursor.bar, cursor.bar_start = bar, record["bar_start"]
    if cursor.kind != "iterator" and not trust:
        return None
    found = extensions.brought(cursor.iterator, record["iterator"], count, trust=trust)
    if found is None:
        return None
    cursor.iterator = found
    return cursor


# ---------------------------------------------------------------------------------------------------------
# where iterators are


def place(iterator: Any) -> int | None:
    """Where one of `PLACED` is, as a number that grows by one an item; None once it has ended and forgot."""
    if type(iterator) is not LIST:
        return -int(iterator.__length_hint__())
    # a list's length may change under way, the index of its iterator does not
    source = iterator.__reduce__()
    return int(source[2]) if len(source) == 3 else None


def latest(iterator: Any) -> Any:
    """The item that one of `PLACED` gave last, or what is in its place by now; `NOTHING` if nothing is."""
    with quiet():
        source = iterator.__reduce__()
    (items, index) = source[1][0], source[2] if len(source) == 3 and source[2] is not None else 0
    if isinstance(items, range):
        return items.start + (index - 1) * items.step
    return items[index - 1] if 0 < index <= len(items) else NOTHING


def set_back(iterator: Any) -> Any:
    """One of `PLACED`, which has not ended, as it was before it gave its latest item."""
    with quiet():
        _, (items,), index = iterator.__reduce__()
    if index is None:  # newer Pythons keep the rest of a range, and do not go back in it
        return iter(range(items.start - items.step, items.stop, items.step))
    iterator.__setstate__(index - 1)
    return iterator


LIST: type = type(iter([]))


# ---------------------------------------------------------------------------------------------------------
# progress bars


def look_through(iterable: Any) -> tuple[Any, Any]:
    """Return (bar, what it goes over), or (None, the iterable itself)."""
    if (tqdm := sys.modules.get("tqdm.std")) and isinstance(iterable, tqdm.tqdm):
        return iterable, iterable.iterable
    if tqdm and type(iterable) is enumerate:
        made: Any = iterable.__reduce__()
        counted, start = made[1]
        if isinstance(bar := _begun_by(counted), tqdm.tqdm):
            return bar, enumerate(bar.iterable, start)
    if (progress := sys.modules.get("rich.progress")) and getattr(iterable, "gi_code", None) is progress.track.__code__:
        arguments = dict(iterable.gi_frame.f_locals) if iterable.gi_frame else {}
        if "sequence" in arguments:
            inner = arguments.pop("sequence")
            return RichTrack(arguments), inner
    return None, iterable


def _begun_by(iterator: Any) -> Any:
    """What a generator method belongs to, as long as it has not run."""
    if not inspect.isgenerator(iterator) or inspect.getgeneratorstate(iterator) != inspect.GEN_CREATED:
        return None
    return inspect.getgeneratorlocals(iterator).get("self")


class RichTrack:
    """The arguments of a `rich.progress.track` that has not begun."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments

    def __getstate__(self) -> dict[str, Any]:
        # consoles and styles belong to the terminal of the process that made them
        plain = {key: value for key, value in self.arguments.items() if isinstance(value, (str, int, float, bool))}
        return {"arguments": plain}


def through_bar(cursor: Cursor, items: Iterator[Any], done: int) -> Iterator[Any]:
    """Iterate over a cursor's items with their progress bar, after `done` of them."""
    bar = cursor.bar
    if isinstance(bar, RichTrack):
        from rich.progress import track

        arguments = dict(bar.arguments)
        arguments["total"] = arguments.get("total") or cursor.total
        arguments["completed"] = done
        return iter(track(items, **arguments))
    if done:  # the bar itself counts in its iterator, which is gone; `initial` keeps the rate sane
        bar.n = bar.last_print_n = bar.initial = cursor.bar_start + done
    return _shown(bar, items)


def _shown(bar: Any, items: Iterator[Any]) -> Iterator[Any]:
    from ..state.adapters.tqdm_bar import Shown

    original, bar.iterable = bar.iterable, Shown(bar.iterable, items)
    try:
        yield from bar
    finally:
        bar.iterable = original


# ---------------------------------------------------------------------------------------------------------


def total_of(iterable: Any) -> int | None:
    """How many items there are to go over, where that is known."""
    return _total(look_through(iterable)[1])


def _total(iterable: Any) -> int | None:
    if type(iterable) in (enumerate, zip, map):
        with quiet():
            parts = [part for part in iterable.__reduce__()[1] if isinstance(part, Iterator)]
        totals = [_total(part) for part in parts]
        known = [total for total in totals if total is not None]
        return min(known) if known and len(known) == len(totals) else None
    try:
        hint = operator.length_hint(iterable, -1)
    except Exception:  # noqa: BLE001 - the user's own __len__, asked for a decoration only
        return None
    return hint if hint >= 0 else None


def _has_state_dict(thing: Any) -> bool:
    kind = type(thing)
    return hasattr(kind, "state_dict") and hasattr(kind, "load_state_dict")


def _stateful(iterable: Any, iterator: Any) -> Any:
    return iterable if _has_state_dict(iterable) else iterator
