"""On its way to its writer a snapshot does not change, whatever of it is not copied, and in however many batches."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from nbckpt.errors import StoreError
from nbckpt.storage import parcel, untouched
from nbckpt.storage.arena import Arena
from nbckpt.storage.parcel import BatchGoneError, BlocksGoneError, Comparison, Incoming, Outgoing
from nbckpt.storage.repository import Repository
from nbckpt.storage.snapshot import PartData
from nbckpt.testing.faults import MemoryStore

CHUNK = 64 * 1024


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two chunks, so that small states have many, and none so small that its pages are not watched."""
    monkeypatch.setattr(parcel, "BLOCK", 2 * CHUNK)
    monkeypatch.setattr(untouched, "LEAST", 2 * CHUNK)


class Line:
    """A kernel and its writer, in one process: what one fills, the other sees."""

    def __init__(self, store: MemoryStore, limit: int = 1 << 40) -> None:
        self.store, self.limit = store, limit
        self.repository = Repository.open(store)
        self.writer = self.repository.writer("train", keep=2)
        self.told: list[str] = []
        self.comparison = Comparison(self.told.append)
        weakref.finalize(self, self.comparison.close)
        self.ours = Arena()
        self.theirs = Arena(os.dup(self.ours.fd))
        weakref.finalize(self, _close, self.ours, self.theirs)
        self.known: dict[bytes, Any] = {}
        self.copied = 0
        """Bytes of the newest snapshot that had to be copied."""

    def save(self, parts: list[PartData], *, final: bool = False) -> None:
        outgoing = Outgoing({"a": [1]}, parts, self.comparison.marks(parts), final=final)
        batches = self.batches(outgoing)
        self.copied = 0
        given = Incoming(next(batches), lambda: next(batches), self.known, self.comparison.seed)
        assert (given.description, given.final) == ({"a": [1]}, final)
        assert [(p.name, len(p.stream), [*map(len, p.buffers)], p.info) for p in given.parts] == [
            (p.name, len(p.stream), [*map(len, p.buffers)], p.info) for p in parts
        ]
        self.writer.commit(given.description, given.parts, final=given.final)
        self.known, marks = given.learned()
        self.theirs.write(marks)
        assert next(batches, None) is None
        self.comparison.learn(self.ours.read(len(outgoing.marks)))

    def batches(self, outgoing: Outgoing) -> Iterator[tuple[memoryview, dict[str, Any]]]:
        for batch, said in outgoing.batches(self.limit):
            self.copied += sum(map(len, batch))
            self.ours.fill(batch)
            yield self.theirs.view(self.ours.size), said

    def check(self, parts: list[PartData]) -> None:
        loaded = self.repository.load("train")
        assert loaded is not None
        assert [(p.name, bytes(p.stream), [bytes(b) for b in p.buffers], p.info) for p in loaded.parts.values()] == [
            (p.name, bytes(p.stream), [bytes(b) for b in p.buffers], p.info) for p in parts
        ]


def _close(*arenas: Arena) -> None:
    for arena in arenas:
        arena.close()


def part(*pieces: bytes | bytearray, name: str = "p", n: int = 0) -> PartData:
    return PartData(name, bytes(pieces[0]), [memoryview(piece) for piece in pieces[1:]], {"n": n})


def test_only_what_changed_is_copied() -> None:
    """A block that changed last time is copied without a look, one that stopped changing no more."""
    line, array = Line(MemoryStore()), bytearray(os.urandom(20 * CHUNK))
    whole = len(array)
    copied = []
    for edit in (False, False, True, True, False, False):
        if edit:
            array[:100] = os.urandom(100)
        line.save([part(b"stream", array)])
        line.check([part(b"stream", array)])
        copied.append(line.copied)
    assert copied[0] > whole
    assert copied[1] < CHUNK
    assert 2 * CHUNK < copied[2] < 3 * CHUNK
    assert 2 * CHUNK < copied[3] < 3 * CHUNK
    assert 2 * CHUNK < copied[4] < 3 * CHUNK, "it changed last time"
    assert copied[5] < CHUNK


def test_what_moves_is_not_copied() -> None:
    """Blocks are known by what they hold, wherever that is."""
    line, array, other = Line(MemoryStore()), os.urandom(20 * CHUNK), os.urandom(6 * CHUNK)
    line.save([part(b"stream", array)])
    line.save([part(b"stream", other, array, name="q")])
    line.check([part(b"stream", other, array, name="q")])
    assert line.copied < len(other) + CHUNK


sizes = st.integers(0, 5 * CHUNK) | st.sampled_from([2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 4 * CHUNK])
edits = st.one_of(
    st.tuples(st.just("new"), sizes),
    st.tuples(st.just("drop"), st.integers(0, 9)),
    st.tuples(st.just("write"), st.integers(0, 9), st.integers(0, 5 * CHUNK), st.binary(min_size=1, max_size=9)),
    st.tuples(st.just("resize"), st.integers(0, 9), sizes),
    st.tuples(st.just("swap"), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("fail")),
)


def edit(pieces: list[bytes], what: str, *arguments: Any) -> None:
    if what == "new":
        pieces.append(os.urandom(arguments[0]))
    elif pieces:
        at = arguments[0] % len(pieces)
        piece = pieces[at]
        if what == "drop" and len(pieces) > 1:
            del pieces[at]
        elif what == "write" and piece:
            start = arguments[1] % len(piece)
            pieces[at] = (piece[:start] + arguments[2] + piece[start + len(arguments[2]) :])[: len(piece)]
        elif what == "resize":
            pieces[at] = (piece + bytes(arguments[1]))[: arguments[1]]
        elif what == "swap":
            pieces[at] = pieces[arguments[1] % len(pieces)]


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(edits, max_size=4), min_size=1, max_size=7), st.sampled_from([1, 3 * CHUNK, 1 << 40]))
def test_every_byte_arrives(rounds: list[list[tuple[Any, ...]]], limit: int) -> None:
    """Whatever is written, resized, moved or dropped between saves, whichever fails, and however few bytes at once."""
    store = MemoryStore()
    line, pieces = Line(store, limit), [b"stream"]
    for number, round_ in enumerate(rounds):
        fails = False
        for what in round_:
            if what == ("fail",):
                fails = True
            else:
                edit(pieces, *what)
        data = [part(*pieces, n=number), part(b"another", name="q")]
        if fails:
            put, store.put = store.put, _broken  # type: ignore[method-assign]
            with pytest.raises(StoreError):
                line.save(data)
            store.put = put  # type: ignore[method-assign]
            continue
        line.save(data)
        line.check(data)


def _broken(*_: object, **__: object) -> None:
    raise StoreError("the disk is full")


def test_packs_that_are_mostly_dead_are_written_anew() -> None:
    """Also of what is not copied: it is read in the snapshot before."""
    store = MemoryStore()
    line, arrays = Line(store), [bytearray(os.urandom(12 * CHUNK)) for _ in range(4)]
    for number in range(30):
        for array in arrays[1:]:
            array[:] = os.urandom(len(array)) if number % 3 else array
        line.save([part(b"stream", *arrays)])
        line.check([part(b"stream", *arrays)])
    assert sum(entry.size for entry in store.list("")) < 12 * sum(map(len, arrays))


def test_a_block_that_is_gone_is_asked_for_again() -> None:
    """If the snapshot before lost it, everything is copied the next time."""
    store = MemoryStore()
    line, array = Line(store), bytearray(os.urandom(20 * CHUNK))
    line.save([part(b"stream", array)])
    line.known.clear()
    with pytest.raises(BlocksGoneError):
        line.save([part(b"stream", array)])
    line.comparison.forget()
    line.save([part(b"stream", array)])
    line.check([part(b"stream", array)])


def test_batches_that_are_gone_cannot_be_written_again() -> None:
    """They are not all in memory at once, and that is said."""
    line, array = Line(MemoryStore(), limit=2 * CHUNK), os.urandom(20 * CHUNK)
    outgoing = Outgoing({}, [part(b"stream", array)], line.comparison.marks([part(b"stream", array)]), final=False)
    batches = line.batches(outgoing)
    given_ = Incoming(next(batches), lambda: next(batches), {}, 0)
    (buffer,) = given_.parts[0].buffers
    assert b"".join(bytes(block) for block in buffer.blocks() if isinstance(block, memoryview)) == array
    with pytest.raises(BatchGoneError, match="NBCKPT_STAGING"):
        next(buffer.blocks())
