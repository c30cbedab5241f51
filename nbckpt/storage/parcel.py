"""A snapshot on its way from the kernel to its writer: what has to be copied for that, and how it is found again.

Large streams and buffers go in blocks. A block that is as it was in the newest snapshot is not copied: its *mark*, a
hash with a seed that only the two know, stands for it. The writer makes the marks, of the very bytes that it has
saved, so that the loop waits for no hash of what has changed; and a block that changed last time is copied
without a look. Of memory that is watched (`untouched`) the loop waits for no hash of what has not changed either.
What does not fit into the memory that both share goes in several batches.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from nbckpt.errors import StoreError
from nbckpt.storage.arena import places
from nbckpt.storage.chunks import Chunk, flat
from nbckpt.storage.snapshot import PartData
from nbckpt.storage.untouched import MUCH, Area, Untouched

if TYPE_CHECKING:
    from nbckpt.storage.stores import Buffer

BLOCK = 1024 * 1024
"""Bytes of a block; whole chunks, of whichever length."""
_MARK = 16
_COPIED = bytes(_MARK)
"""Stands in the place of a mark for a block that is handed over."""

Blocks = Iterator["memoryview | tuple[Chunk, ...]"]
"""The bytes of a stream or buffer, one block after another; of one that is known, the chunks that have them."""


Place = tuple[str, int, int]
"""Where a block is: part, stream or buffer, and offset."""


class BlocksGoneError(StoreError):
    """A block that was not handed over, because the newest snapshot has it, is not to be had any more."""


class BatchGoneError(StoreError):
    """Bytes are asked for a second time that were not all in memory at once."""


# ---------------------------------------------------------------------------------------------------------
# the kernel's end


class Comparison:
    """Knows the blocks of the newest snapshot by their marks, and which of them changed last time.

    `tell` takes what a person should know.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.seed = secrets.randbits(64)
        self.found: Literal["pages", "hash"] = "hash"
        """How the blocks that need not be copied were found last: by the pages that were written, or all by hashes."""
        self._known: frozenset[bytes] = frozenset()
        self._seen: frozenset[Place] = frozenset()
        """Where there were blocks."""
        self._restless: frozenset[Place] = frozenset()
        """Where they changed last time."""
        self._asked: list[Place] = []
        self._untouched = Untouched(tell)
        self._looked: list[tuple[Area, int, int]] = []
        """The watched buffers of what was asked, with where their blocks begin and end there."""

    def marks(self, parts: Sequence[PartData], *, final: bool = False) -> list[bytes]:
        """The mark of each block that need not be copied, zeros for the others; copy them after this."""
        pieces = [
            (part.name, index, flat(piece))
            for part in parts
            for index, piece in enumerate((part.stream, *part.buffers))
            if len(piece) >= BLOCK
        ]
        self._asked = [(name, index, at) for name, index, view in pieces for at in range(0, len(view), BLOCK)]
        self.found, self._looked = "hash", []
        if not self._known:
            return [_COPIED] * len(self._asked)
        self._untouched.begin([view for _, index, view in pieces if index], final=final)
        while (found := self._compared(pieces)) is None:
            pass  # from now on by hashes alone
        return found

    def _compared(self, pieces: Sequence[tuple[str, int, memoryview]]) -> list[bytes] | None:
        """The marks of what is as it was; None if the kernel was just found not to tell of all that is written."""
        from xxhash import xxh3_128_digest

        self.found, self._looked = "hash", []
        found: list[bytes] = []
        for _, index, view in pieces:
            begun, blocks = len(found), -(-len(view) // BLOCK)
            places = self._asked[begun : begun + blocks]
            area = self._untouched.look(view, BLOCK, partial(self._is_quiet, places)) if index else None
            if area is None:
                marks: list[bytes | None] = [None] * blocks
            else:
                self._looked.append((area, begun, begun + blocks))
                marks = area.stands(view, blocks)
            if area is not None and not self._untouched.needs_check(area):
                self.found = "pages" if any(marks) else self.found
                asked = [number for number, mark in enumerate(marks) if mark is None]
            else:
                asked = [*range(blocks)]
            for number in asked:
                place, stands = places[number], marks[number]
                if stands is None and (place in self._restless or (area is not None and number in area.written)):
                    continue
                block: Buffer = view[place[2] : place[2] + BLOCK]
                is_edge = area is not None and bool(area.marks) and (stands is None or number in area.edges)
                if is_edge:
                    block = bytes(block)  # what is known of its edge is to be of the very bytes that the mark is for
                marks[number] = mark = xxh3_128_digest(block, self.seed)
                if area is not None and is_edge:
                    area.hold(number, mark, block)
                if area is None or stands in (None, mark):
                    continue
                if not self._untouched.question(area, block, number):
                    return None
            found += [mark if mark is not None and mark in self._known else _COPIED for mark in marks]
            if area is not None:
                self._untouched.judge(area, found[begun:].count(_COPIED), blocks)
        return found

    def _is_quiet(self, places: Sequence[Place]) -> bool:
        """Whether few of some blocks have changed last time, or are new."""
        quiet = sum(place in self._seen and place not in self._restless for place in places)
        return len(places) - quiet <= MUCH * len(places)

    def learn(self, raw: bytes) -> None:
        """Take note of the marks of all blocks of a snapshot that is durable, in the order of `marks`."""
        found = [raw[at : at + _MARK] for at in range(0, len(raw), _MARK)]
        changed = (place for place, mark in zip(self.asked, found, strict=True) if mark not in self._known)
        self._restless = frozenset(place for place in changed if place in self._seen)
        self._seen, self._known = frozenset(self._asked), frozenset(found)
        for area, first, last in self._looked:
            area.learn(found[first:last])

    def alone(self) -> None:
        """Be a forked copy's: there no memory is watched, and what was known of it is known by hashes alone."""
        self._untouched.ignore()

    @property
    def asked(self) -> list[Place]:
        """Where there were blocks when `marks` was called last."""
        return self._asked

    def follow(self, asked: list[Place]) -> None:
        """Go on from what a forked copy of this one was `asked`, which has looked at no page."""
        self._asked, self._looked, self.found = asked, [], "hash"

    def close(self) -> None:
        """Leave the memory that was compared as it would be without us."""
        self._untouched.close()

    def forget(self) -> None:
        """Have everything copied next time."""
        self._known = frozenset()


class Outgoing:
    """What is to be copied for a snapshot to be saved: a head, the marks, and whatever they do not stand for."""

    def __init__(
        self, description: dict[str, Any], parts: Sequence[PartData], marks: Sequence[bytes], *, final: bool
    ) -> None:
        listed = [
            {"name": part.name, "info": part.info, "sizes": [len(part.stream), *map(len, part.buffers)]}
            for part in parts
        ]
        head = json.dumps({"description": description, "parts": listed, "final": final}).encode("ascii")
        self.marks = b"".join(marks)
        self._sizes = {"head": len(head), "marks": len(self.marks)}
        self._items: list[Buffer] = [head, self.marks]
        left = iter(marks)
        for piece in (piece for part in parts for piece in (part.stream, *part.buffers)):
            if len(piece) < BLOCK:
                self._items.append(piece)
                continue
            view = flat(piece)
            self._items += [view[at : at + BLOCK] for at in range(0, len(view), BLOCK) if next(left) == _COPIED]

    @property
    def size(self) -> int:
        """Bytes to copy."""
        return sum(map(len, self._items))

    def batches(self, limit: int) -> Iterator[tuple[list[Buffer], dict[str, Any]]]:
        """Yield what to copy at once, about `limit` bytes at most, and what to say of it."""
        begun, size = 0, 0
        for number, item in enumerate(self._items):
            if number > max(begun, 1) and size + len(item) > limit:
                yield self._items[begun:number], {**self._sizes, "items": number - begun, "more": True}
                begun, size = number, 0
            size += len(item)
        yield self._items[begun:], {**self._sizes, "items": len(self._items) - begun, "more": False}


# ---------------------------------------------------------------------------------------------------------
# the writer's end


class Piece:
    """A stream or buffer that was handed over, or is being."""

    def __init__(self, size: int, marks: list[bytes], first: int, incoming: Incoming) -> None:
        self._size, self._marks, self._first, self._incoming = size, marks, first, incoming
        self._found = list(marks)
        self.stored: list[tuple[Chunk, ...]] = []
        """The chunks that have the bytes of each block, once they are stored."""

    def __len__(self) -> int:
        return self._size

    @property
    def stays(self) -> bool:
        """Whether what `blocks` yields now is there until all of the snapshot is durable: nothing follows it."""
        return self._incoming.is_last

    def blocks(self) -> Blocks:
        """Yield its blocks, in order.

        Raises `BlocksGoneError` or `BatchGoneError` where one is not to be had (any more), `StoreError` if the kernel
        ends before it has handed over all.
        """
        incoming, number = self._incoming, self._first
        if not self._marks:
            yield incoming.item(number)
        for at, mark in enumerate(self._marks):
            if mark == _COPIED:
                view = incoming.item(number)
                number += 1
                self._found[at] = incoming.mark(view)
                yield view
            elif mark in incoming.known:
                yield incoming.known[mark]
            else:
                raise BlocksGoneError("A block of the snapshot before is not known.")

    def known(self) -> Iterator[tuple[bytes, tuple[Chunk, ...]]]:
        """Yield the mark of each block, with the chunks that have it."""
        return zip(self._found, self.stored, strict=False)


@dataclass(frozen=True, slots=True)
class HandedPart:
    """A part whose bytes are handed over: like `PartData`."""

    name: str
    stream: Piece
    buffers: list[Piece]
    info: dict[str, Any]


Batch = tuple[memoryview, dict[str, Any]]
"""Memory that was filled, and what was said of it."""


class Incoming:
    """A snapshot that is handed over. `more` waits for its next batch; `known` are blocks of the newest snapshot."""

    def __init__(
        self, batch: Batch, more: Callable[[], Batch], known: dict[bytes, tuple[Chunk, ...]], seed: int
    ) -> None:
        from xxhash import xxh3_128_digest

        self.known, self._more = known, more
        self.mark: Callable[[Buffer], bytes] = lambda block: xxh3_128_digest(block, seed)
        view, said = batch
        head, marks = [view[place] for place in places((said["head"], said["marks"]))]
        record = json.loads(bytes(head))
        self.description, self.final = record["description"], record["final"]
        self._rows = bytes(marks)
        self._sizes = [said["head"], said["marks"]]
        left = iter([self._rows[at : at + _MARK] for at in range(0, len(self._rows), _MARK)])
        self.parts = [self._part(row, left) for row in record["parts"]]
        self._begun, self._places = 0, list[slice]()
        self._take(batch)

    def _part(self, row: dict[str, Any], left: Iterator[bytes]) -> HandedPart:
        stream, *buffers = [self._piece(size, left) for size in row["sizes"]]
        return HandedPart(row["name"], stream, buffers, row["info"])

    def _piece(self, size: int, left: Iterator[bytes]) -> Piece:
        first = len(self._sizes)
        if size < BLOCK:
            self._sizes.append(size)
            return Piece(size, [], first, self)
        starts = range(0, size, BLOCK)
        marks = [next(left) for _ in starts]
        self._sizes += [min(BLOCK, size - at) for at, mark in zip(starts, marks, strict=True) if mark == _COPIED]
        return Piece(size, marks, first, self)

    def item(self, number: int) -> memoryview:
        """The bytes of one of the items that are handed over."""
        while number >= self._begun + len(self._places):
            self._begun += len(self._places)
            self._take(self._more())
        if number < self._begun:
            msg = "It is larger than what may wait in memory (NBCKPT_STAGING), and so cannot be written a second time."
            raise BatchGoneError(msg)
        return self._view[self._places[number - self._begun]]

    def _take(self, batch: Batch) -> None:
        self._view, said = batch
        self.is_last = not said["more"]
        sizes = self._sizes[self._begun : self._begun + said["items"]]
        self._places = list(places(sizes))

    def learned(self) -> tuple[dict[bytes, tuple[Chunk, ...]], bytes]:
        """The blocks of this snapshot, which is durable now, and their marks as `Comparison.learn` takes them."""
        pieces = [piece for part in self.parts for piece in (part.stream, *part.buffers)]
        blocks = [block for piece in pieces for block in piece.known()]
        return dict(blocks), b"".join(mark for mark, _ in blocks)
