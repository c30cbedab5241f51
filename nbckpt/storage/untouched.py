"""Which blocks of large buffers hold what they held in the newest snapshot, told from the pages that were written.

What is known is known of memory, not of variables: that the bytes at an address have not been written since they were
copied or compared for a snapshot. So it does not matter whose they are by now. Memory is protected before it is copied
or compared, so that a write by another thread meanwhile is found by the next save.

The first write to a watched page takes two microseconds, hashing it a tenth of that. So a buffer is watched while
little of it changes, and not again too soon after much of it did.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nbckpt.errors import OptionError
from nbckpt.storage.copying import address
from nbckpt.storage.pages import PAGE, Mappings, Pages
from nbckpt.storage.stores import Buffer

LEAST = 8 * 1024 * 1024
"""Bytes of a buffer from which on its pages are watched."""
MUCH = 0.1
"""The share of a buffer from which on it is cheaper to look at the bytes than to have the kernel look at the writes."""
CHECKS, CHECK_SECONDS = 16, 300.0
"""At every how manieth save, and after how many seconds, what the pages tell is compared with the bytes."""


@dataclass(slots=True)
class Area:
    """A watched buffer: where it lies, and which whole pages are inside it."""

    address: int
    size: int
    block: int
    first: int
    last: int
    marks: list[bytes] = field(default_factory=list)
    """What its blocks were in the newest snapshot of which that is known; empty until there is one."""
    written: set[int] = field(default_factory=set)
    """The blocks that were written since that one was taken."""
    edges: dict[int, bytes] = field(default_factory=dict)
    """By block: the bytes that its mark is for and that share their pages with something else, as far as known."""
    is_settled: bool = False
    """Whether all that the kernel has told is noted in `written`: an interrupt may come at any moment."""
    is_checked: bool = False
    """Whether what its pages told was found true once."""
    pages: int = 0
    """How many pages were written between the last two saves."""

    def stands(self, view: memoryview, blocks: int) -> list[bytes | None]:
        """The marks of its blocks, so many, where it is known that they have not changed; None where it is not."""
        if not self.marks:
            return [None] * blocks
        found: list[bytes | None] = [*self.marks]
        for number in (0, *range(self._tail // self.block, blocks)):
            if self.is_edge_new(view[number * self.block : (number + 1) * self.block], number):
                found[number] = None
        for number in self.written:
            found[number] = None
        return found

    def is_edge_new(self, block: Buffer, number: int) -> bool:
        """Whether the bytes of a block that share their pages with something else may be others than they were."""
        return self._edge(block, number) != self.edges.get(number, b"")

    def hold(self, number: int, mark: bytes, block: Buffer) -> None:
        """Take note of a block's bytes of which the mark was just made."""
        if self.marks and self.marks[number] == mark:
            self.edges[number] = self._edge(block, number)

    def _edge(self, block: Buffer, number: int) -> bytes:
        begin, end = number * self.block, min((number + 1) * self.block, self.size)
        places = (begin, min(end, self.first - self.address)), (max(begin, self._tail), end)
        return b"".join(bytes(block[low - begin : high - begin]) for low, high in places if low < high)

    @property
    def _tail(self) -> int:
        """Where the last whole page ends."""
        return self.last - self.address

    def note(self, start: int, end: int) -> None:
        """Take note that something was written from one address to another."""
        self.pages += (end - start) // PAGE
        self.written.update(range((start - self.address) // self.block, (end - 1 - self.address) // self.block + 1))

    def learn(self, marks: list[bytes]) -> None:
        """Take note of the marks that its blocks had at the last look."""
        self.is_settled = False
        self.edges = {number: edge for number, edge in self.edges.items() if marks[number] == self.marks[number]}
        self.marks, self.written = marks, set()
        self.is_settled = True


class Untouched:
    """The watched buffers of one run; `tell` takes what a person should know.

    Where the kernel cannot watch memory, or must not (`NBCKPT_PAGES=off`), there are none.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._off = not are_wanted()
        self._pages: Pages | None = None
        self._areas: dict[tuple[int, int], Area] = {}
        self._places: list[tuple[int, int]] = []
        """From where to where their pages are, in order; of no fewer areas than there are."""
        self._barred: dict[tuple[int, int], tuple[int, int]] = {}
        """Buffers of which much was written while they were watched: how many more saves they have to be quiet, and
        how many it will be the next time."""
        self._mappings: Mappings | None = None
        """Those of the moment of a save; None where nothing is to be watched."""
        self._is_sure = True
        """Whether nobody was writing unseen during the last look: an interrupt may keep that from being found out."""
        self._saves, self._checked = 0, time.monotonic()
        self._is_checking = False

    def begin(self, views: Sequence[memoryview], *, final: bool) -> None:
        """A snapshot of these buffers is to be compared with the newest one: see what was written since then.

        They are all looked at before any is watched anew: that could make memory which was moved here look watched.
        """
        asked = {(address(view), len(view)) for view in views if len(view) >= LEAST} if not self._off else set()
        self._saves += 1
        self._is_checking = final or self._saves % CHECKS == 0 or time.monotonic() - self._checked > CHECK_SECONDS
        if self._is_checking:
            self._checked = time.monotonic()
        for key in self._areas.keys() - asked if self._is_sure else list(self._areas):
            self._drop(key)  # it is gone, or somebody else's
        self._is_sure = False
        self._barred = {key: known for key, known in self._barred.items() if key in asked}
        lost = [key for key, area in self._areas.items() if not self._scan(area)]
        # after the look: what a device was writing during it is either being written still, or there to be copied
        self._mappings = _mappings() if asked else None
        for key in lost if self._mappings is not None else list(self._areas):
            self._drop(key)
        self._is_sure = True
        self._places = sorted((area.first, area.last) for area in self._areas.values())

    def look(self, view: memoryview, block: int, is_quiet: Callable[[], bool]) -> Area | None:
        """Return what is known of one of these buffers, and watch it from now on; None if it is not watched.

        It must be compared or copied after this. `is_quiet` says whether few of its blocks changed last time.
        """
        if self._off or self._mappings is None or len(view) < LEAST:
            return None
        key = address(view), len(view)
        if key in self._areas or not is_quiet():
            return self._areas.get(key)
        try:
            return self._watch(key, block, self._mappings)
        except OSError:
            self._drop(key)
            return None

    def needs_check(self, area: Area) -> bool:
        """Whether what the pages tell of a buffer is to be compared with its bytes now."""
        return self._is_checking or not area.is_checked

    def question(self, area: Area, block: Buffer, number: int) -> bool:
        """Find out why a block has changed of which no page was written; return whether the kernel is still believed.

        If another thread wrote it just now, its page tells that by now. No page tells of its edge, which may be what it
        was again by now: so `block` is to be the very bytes that were found to be others, where it has one.
        """
        start = area.address + number * area.block
        end = min(start + area.block, area.address + area.size)
        if area.is_edge_new(block, number):
            return True
        try:
            low, high = max(area.first, start // PAGE * PAGE), min(area.last, -(-end // PAGE) * PAGE)
            if self._pages is not None and any(self._pages.written(low, high, protect=False)):
                return True
        except OSError:
            return True  # it is not watched any more, which the next look will find
        self._off = True
        self.close()
        self._tell(
            "the kernel of this machine did not tell of a change to a large array: this snapshot is right, but those "
            "of this run before it may hold older bytes of it. All bytes are compared from now on, as with "
            "NBCKPT_PAGES=off from the start"
        )
        return False

    def judge(self, area: Area, changed: int, blocks: int) -> None:
        """Watch a buffer no more if too much of it changes, by what its pages told or by how many blocks differ."""
        key = area.address, area.size
        if not area.marks:
            if changed > MUCH * blocks:
                self._drop(key)
            return
        area.is_checked = True
        if area.pages * PAGE > MUCH * area.size:
            _, wait = self._barred.get(key, (0, 1))
            self._barred[key] = wait, 2 * wait
            self._drop(key)

    def ignore(self) -> None:
        """Watch nothing and know nothing, as in a forked child, where the kernel tells of no page."""
        self._off, self._pages = True, None
        self._areas.clear()

    def close(self) -> None:
        """Leave the memory as it would be without us."""
        self._areas.clear()
        if self._pages is not None:
            self._pages.close()
            self._pages = None

    def _scan(self, area: Area) -> bool:
        """Note what was written since the last look; False if that cannot be known."""
        assert self._pages is not None  # noqa: S101 - there is an area
        if not area.is_settled:
            return False
        area.is_settled, area.pages = False, 0
        try:
            for start, end in self._pages.written(area.first, area.last):
                area.note(start, end)
        except OSError:  # it was mapped anew
            return False
        area.is_settled = True
        return True

    def _watch(self, key: tuple[int, int], block: int, mappings: Mappings) -> Area | None:
        left, wait = self._barred.get(key, (0, 1))
        if left:
            self._barred[key] = left - 1, wait
            return None
        start, size = key
        first, last = -(-start // PAGE) * PAGE, (start + size) // PAGE * PAGE
        behind = bisect_left(self._places, (last, last))
        if behind and self._places[behind - 1][1] > first:
            return None  # a view of what is watched: a look at one would hide from the other what was written
        if self._pages is None or not self._pages.are_open:
            if self._pages is not None and Pages.are_in_use():
                return None  # a run that began to watch after this one, until it ends
            try:
                self._pages = Pages()
            except OSError:
                self._off = True
                return None
        self._places.insert(behind, (first, last))
        area = self._areas[key] = Area(start, size, block, first, last)
        self._pages.watch(first, last, mappings)
        area.is_settled = True
        return area

    def _drop(self, key: tuple[int, int]) -> None:
        area = self._areas.pop(key, None)
        if area is not None and self._pages is not None:
            self._pages.release(area.first, area.last)


def _mappings() -> Mappings | None:
    """The mappings of now, unless memory may be written by others."""
    try:
        mappings = Mappings()
    except OSError:
        return None
    return mappings if mappings.are_ours_alone else None


def are_wanted() -> bool:
    """Return whether pages are to be watched where that is possible.

    Raises `OptionError` if `NBCKPT_PAGES` makes no sense.
    """
    asked = os.environ.get("NBCKPT_PAGES", "")
    if asked not in ("", "off"):
        raise OptionError(f"NBCKPT_PAGES={asked} is unknown: use off, or leave it out")
    return not asked
