"""Cutting, packing and describing bytes is undone exactly."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from nbckpt.errors import DamagedSnapshot, UnsupportedFormat
from nbckpt.storage import chunks as chunks_module
from nbckpt.storage.chunks import (
    RAW,
    SMALL_CHUNK,
    ZSTD,
    Chunk,
    PackBuilder,
    Probe,
    chunk_id,
    chunk_size,
    cut,
    decode,
    flat,
    read_index,
)
from nbckpt.storage.fetch import read_parts
from nbckpt.storage.snapshot import (
    FORMAT,
    Blob,
    Manifest,
    Part,
    PartData,
    decode_manifest,
    decode_segment,
    encode_manifest,
    encode_segment,
)
from nbckpt.storage.upload import Upload
from nbckpt.testing.faults import MemoryStore

# Recipes, not bytes: Hypothesis shows what it draws.
recipes = st.tuples(
    st.integers(0, 3),
    st.sampled_from([0, 1, 100, SMALL_CHUNK - 1, SMALL_CHUNK, SMALL_CHUNK + 1, 200_000]),
    st.sampled_from([0, 1, 70_000, 5_000_000]),
)


def cook(recipe: tuple[int, int, int]) -> bytes:
    """Return noise of a seed and a size, then zeros."""
    seed, size, zeros = recipe
    return random.Random(seed).randbytes(size) + bytes(zeros)


@given(recipes)
@settings(max_examples=40, deadline=None)
def test_cutting(recipe: tuple[int, int, int]) -> None:
    """The chunks of a buffer are the buffer, none empty, all but the last equally long."""
    data = cook(recipe)
    found = [chunk for chunk, _ in cut(flat(data), chunk_size(len(data)), Probe())]
    assert b"".join(found) == data
    assert all(len(chunk) == SMALL_CHUNK for chunk in found[:-1])
    assert all(found)


def test_large_buffers_have_large_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks grow with the buffer, and readers do not mind."""
    monkeypatch.setattr(chunks_module, "_LARGE_BUFFER", 1_000_000)
    found = [chunk for chunk, _ in cut(flat(bytes(1_000_001)), chunk_size(1_000_001), Probe())]
    assert [len(chunk) for chunk in found] == [262_144, 262_144, 262_144, 213_569]


def test_compression_where_it_pays() -> None:
    """Text is compressed, noise is stored as it is."""
    text, noise = b"the same line again\n" * 3000, random.Random(0).randbytes(60_000)
    assert [pays for _, pays in cut(flat(text), SMALL_CHUNK, Probe())] == [True]
    assert [pays for _, pays in cut(flat(noise), SMALL_CHUNK, Probe())] == [False]
    pack = PackBuilder()
    assert pack.add(chunk_id(text), text, compress=True).codec == ZSTD
    assert pack.add(chunk_id(noise), noise, compress=True).codec == RAW
    assert pack.size < 65_000


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=3000), st.booleans()), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_packs_explain_themselves(plain: list[tuple[bytes, bool]]) -> None:
    """From a pack alone one gets the index that was in memory when it was built, and every chunk."""
    pack = PackBuilder()
    built = [pack.add(chunk_id(data), data, compress=compress) for data, compress in plain]
    blob = b"".join(pack.finish())
    assert len(blob) == pack.size
    assert read_index(pack.id, blob) == built
    for chunk, (data, _) in zip(built, plain, strict=True):
        assert decode(chunk, blob[chunk.offset : chunk.offset + chunk.length]) == data


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_packs(data: st.DataObject) -> None:
    """A flipped bit or a missing end is found out by the index or by the chunk."""
    pack = PackBuilder()
    plain = [b"a" * 500, b"b" * 10, random.Random(0).randbytes(100)]
    for p in plain:
        pack.add(chunk_id(p), p, compress=True)
    blob = bytearray(b"".join(pack.finish()))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if data.draw(st.booleans()):
        del blob[data.draw(st.integers(0, len(blob) - 1)) :]
    with pytest.raises(DamagedSnapshot):
        [decode(c, blob[c.offset : c.offset + c.length]) for c in read_index(pack.id, bytes(blob))]


ids = st.sampled_from(["0" * 32, "f" * 32, "0123456789abcdef" * 2])
chunk = st.builds(
    lambda seed, pack, offset, length, codec: Chunk(chunk_id(b"%d" % seed), pack, offset, length, length, codec, seed),
    st.integers(0, 2**32 - 1),
    ids,
    st.integers(0, 1000),
    st.integers(1, 1000),
    st.sampled_from([RAW, ZSTD]),
)
blob = st.lists(chunk, max_size=6).map(lambda row: Blob(sum(c.plain for c in row), tuple(row)))
info = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)
part = st.builds(Part, st.text(max_size=5), info, blob, st.lists(blob, max_size=3).map(tuple))
manifest = st.builds(
    Manifest,
    st.text(max_size=5),
    st.floats(allow_nan=False),
    info,
    st.booleans(),
    info,
    st.lists(part, max_size=3).map(tuple),
    st.just(dict.fromkeys(["0" * 32, "f" * 32, "0123456789abcdef" * 2], 2000)),
)


@given(manifest)
@settings(max_examples=100, deadline=None)
def test_manifests(saved: Manifest) -> None:
    """A manifest read is the manifest written, and its bytes are always the same."""
    raw = encode_manifest(saved)
    assert decode_manifest(raw) == saved
    assert encode_manifest(decode_manifest(raw)) == raw


@given(st.lists(chunk, max_size=50))
@settings(max_examples=100, deadline=None)
def test_segments(row: list[Chunk]) -> None:
    """So for the pieces of long tables; a pack that the manifest does not list is refused."""
    packs = {c.pack: 2000 for c in row}
    assert decode_segment(encode_segment(row), packs) == row
    if row:
        for bad in ({}, dict.fromkeys(packs, 0)):
            with pytest.raises(DamagedSnapshot):
                decode_segment(encode_segment(row), bad)


@given(st.binary(max_size=300))
def test_nonsense_for_segments(raw: bytes) -> None:
    """Any bytes for a segment are damage, or nothing."""
    with contextlib.suppress(DamagedSnapshot):
        assert decode_segment(raw, {}) == []


def test_newer_manifest() -> None:
    """A newer manifest is not called damaged, whatever it looks like."""
    with pytest.raises(UnsupportedFormat, match=str(FORMAT + 1)):
        decode_manifest(b'{"format": %d}' % (FORMAT + 1))


@given(st.lists(recipes, max_size=4), st.lists(recipes, max_size=4))
@settings(max_examples=25, deadline=None)
def test_there_and_back(first: list[tuple[int, int, int]], second: list[tuple[int, int, int]]) -> None:
    """Any buffers come back from the packs, also when most chunks are those of the snapshot before."""
    store = MemoryStore()
    known: dict[bytes, Chunk] = {}
    sizes: dict[str, int] = {}
    for recipes_ in (first, second, second, second):
        buffers = [cook(recipe) for recipe in recipes_]
        upload = Upload(store, "train", known, sizes)
        saved = upload.part(PartData("p", b"stream", [memoryview(b) for b in buffers], {}))
        upload.flush()
        upload.finish()
        described = Manifest("w", 0.0, {}, False, {}, (saved,), upload.packs)
        parts, known = read_parts(store, "train", decode_manifest(encode_manifest(described)))
        assert [bytes(b) for b in parts["p"].buffers] == buffers
        assert bytes(parts["p"].stream) == b"stream"
        assert known == upload.chunks
        sizes = upload.packs
    assert upload.written == {}


def test_the_same_bytes_are_stored_once() -> None:
    """Equal chunks in one snapshot share their place, and each buffer still has memory of its own."""
    store = MemoryStore()
    upload = Upload(store, "train", {}, {})
    noise = random.Random(0).randbytes(SMALL_CHUNK)
    saved = upload.part(PartData("p", b"", [memoryview(noise * 50), memoryview(noise)], {}))
    upload.flush()
    upload.finish()
    assert sum(upload.written.values()) < 2 * SMALL_CHUNK
    described: Any = Manifest("w", 0.0, {}, False, {}, (saved,), upload.packs)
    parts, _ = read_parts(store, "train", described)
    parts["p"].buffers[1][:] = bytes(SMALL_CHUNK)
    assert parts["p"].buffers[0] == noise * 50
