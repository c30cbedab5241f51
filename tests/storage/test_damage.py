"""Whatever happens to the files: the damage is named and an intact snapshot is found, or the damage did no harm."""

from __future__ import annotations

import contextlib
import gc
import json
import random
import re
import weakref
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from states import check, state

from nbckpt.errors import DamagedSnapshot, UnsupportedFormat, UntrustedSnapshot
from nbckpt.storage import fetch
from nbckpt.storage.log import Kept, LogEntry, encode_entry
from nbckpt.storage.records import canonical, digest, seal
from nbckpt.storage.repository import Repository
from nbckpt.storage.signing import signing_key
from nbckpt.storage.snapshot import PartData
from nbckpt.testing.faults import MemoryStore

SIZE = 70_000


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    writer = Repository.open(store).writer("train")
    for number in (1, 2, 3):
        writer.commit(*state(number, size=SIZE))
    return store


def packs(store: MemoryStore) -> list[set[str]]:
    """Return the keys of the packs that each snapshot needs, newest first."""
    infos = Repository.open(store, create=False).history("train")
    manifests = [json.loads(store.blobs[f"train/manifests/{info.manifest_id}"]) for info in infos]
    return [{f"train/packs/{pack}" for pack, _ in manifest["packs"]} for manifest in manifests]


def survivors(store: MemoryStore, key: str) -> set[int | None]:
    """Return which states may load when the file `key` is damaged: none, only if all snapshots share its bytes."""
    if key == "nbckpt.json":
        return {None, 3}
    return {None, 2, 3} if all(key in needed for needed in packs(store)) else {2, 3}


def outcome(store: MemoryStore) -> int | None:
    """Return which state loads, None if there is a named error; anything else is a failure of the test."""
    try:
        repository = Repository.open(store, create=False)
        loaded = repository.load("train")
    except (DamagedSnapshot, UntrustedSnapshot, UnsupportedFormat):
        return None
    number = check(loaded, size=SIZE)
    assert loaded is not None
    if number < 3:
        assert loaded.damaged
        assert all("'train'" in sentence for sentence in loaded.damaged)
        assert any(info.damage for info in repository.history("train")) or repository.verify("train")
    # a run can go on from here
    writer = repository.writer("train", based_on=loaded)
    writer.commit(*state(4, size=SIZE))
    assert check(Repository.open(store).load("train"), size=SIZE) == 4
    return number


def test_every_file_one_flipped_bit(store: MemoryStore) -> None:
    """A flipped bit anywhere gives the newest or an older snapshot in full, or an error, never wrong bytes."""
    before = dict(store.blobs)
    allowed = {key: survivors(store, key) for key in before}
    rng = random.Random(1)
    older = 0
    for key, blob in before.items():
        for place in rng.sample(range(len(blob)), min(len(blob), 50 if "/log/" in key else 15)):
            store.blobs = dict(before)
            damaged = bytearray(blob)
            damaged[place] ^= 1 << rng.randrange(8)
            store.blobs[key] = bytes(damaged)
            number = outcome(store)
            assert number in allowed[key], f"byte {place} of {key}"
            older += number == 2
    assert older > 50


class AtOnce(Executor):
    """Runs what it is given in the thread that gives it."""

    def __init__(self, _: int) -> None:
        pass

    def submit(self, task: Any, /, *args: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(task(*args, **named))
        except DamagedSnapshot as error:
            future.set_exception(error)
        return future


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """A store so small that everything that can happen to one bit of it can be tried."""
    monkeypatch.setenv("NBCKPT_KEY", "A" * 43)  # no file to be read ten thousands of times, and no thread started
    monkeypatch.setattr(fetch, "ThreadPoolExecutor", AtOnce)
    store = MemoryStore()
    writer = Repository.open(store).writer("t", keep=2)
    for number in (1, 2):
        part = PartData("p", b"stays" * 10, [memoryview(b"%d" % number * 40)], {})
        writer.commit({"number": number}, [part])
    return store


def told(store: MemoryStore) -> int | None:
    """Return which state of the tiny store loads, with the newer one named; None for an error that names it."""
    try:
        loaded = Repository.open(store, create=False).load("t")
    except (DamagedSnapshot, UntrustedSnapshot, UnsupportedFormat) as error:
        named = re.search(r"'t'|nbckpt\.json|The store memory", str(error))
        return None if named else -1
    assert loaded is not None
    number: int = loaded.description["number"]
    assert bytes(loaded.parts["p"].buffers[0]) == b"%d" % number * 40
    assert bytes(loaded.parts["p"].stream) == b"stays" * 10
    assert number == 2 or "Snapshot 2 of 't' is damaged" in loaded.damaged[0]
    return number


def shared(store: MemoryStore) -> set[str]:
    """Return what both snapshots need: nobody can fall back from damage there."""
    infos = Repository.open(store, create=False).history("t")
    needed = [json.loads(store.blobs[f"t/manifests/{info.manifest_id}"])["packs"] for info in infos]
    return {"nbckpt.json"} | {f"t/packs/{pack}" for pack, _ in needed[0] if pack in dict(needed[1])}


def test_every_bit_of_every_file(tiny: MemoryStore) -> None:
    """Whichever single bit is flipped, an intact snapshot loads in full and the damaged one is named."""
    common = shared(tiny)
    fell_back = 0
    for key, blob in dict(tiny.blobs).items():
        for bit in range(8 * len(blob)):
            damaged = bytearray(blob)
            damaged[bit // 8] ^= 1 << bit % 8
            tiny.blobs[key] = bytes(damaged)
            number = told(tiny)
            assert number in {1, 2} or (number is None and key in common), f"bit {bit} of {key}"
            fell_back += number == 1
        tiny.blobs[key] = blob
    assert fell_back > 8 * 1000


def test_every_truncation_of_every_file(tiny: MemoryStore) -> None:
    """The same for a file that ends anywhere too soon."""
    common = shared(tiny)
    for key, blob in dict(tiny.blobs).items():
        for length in range(len(blob)):
            tiny.blobs[key] = blob[:length]
            assert told(tiny) is not None or key in common, f"{key} cut to {length}"
        tiny.blobs[key] = blob


def test_every_file_truncated_or_gone(store: MemoryStore) -> None:
    """The same for files that end too soon, are empty, or are missing."""
    before = dict(store.blobs)
    allowed = {key: survivors(store, key) for key in before}
    for key, blob in before.items():
        for length in (*range(0, len(blob), max(1, len(blob) // 20)), len(blob) - 1, None):
            store.blobs = dict(before)
            if length is None:
                if key == "train/log/00000003.json":  # then the commit before is the newest, and nothing can tell
                    continue
                del store.blobs[key]
            else:
                store.blobs[key] = blob[:length]
            assert outcome(store) in allowed[key], f"{key} cut to {length}"


def test_longer_files(store: MemoryStore) -> None:
    """Bytes that were appended to a file are noticed or do no harm."""
    before = dict(store.blobs)
    for key, blob in before.items():
        store.blobs = {**before, key: blob + b"\0" * 100}
        assert key == "nbckpt.json" or outcome(store) in {2, 3}


def test_files_that_changed_places(store: MemoryStore) -> None:
    """A file under another's name is noticed."""
    before = dict(store.blobs)
    keys = [key for key in before if key != "nbckpt.json"]
    for one in keys:
        for other in keys:
            if one != other:
                store.blobs = {**before, one: before[other]}
                assert outcome(store) in {2, 3, None}


def test_all_damaged(store: MemoryStore) -> None:
    """When nothing is intact the error names every snapshot; a fresh run still works."""
    for key in list(store.blobs):
        if "/packs/" in key:
            store.blobs[key] = b""
    repository = Repository.open(store)
    with pytest.raises(DamagedSnapshot, match=r"Snapshot 3 .*Snapshot 2 .*Snapshot 1 .*Nothing was changed"):
        repository.load("train")
    assert sum(problem.startswith("Snapshot") for problem in repository.verify("train")) == 3
    repository.writer("train").commit(*state(4, size=SIZE))
    assert check(repository.load("train"), size=SIZE) == 4
    for key in list(store.blobs):
        if "/log/" in key:
            store.blobs[key] = b"x"
    with pytest.raises(DamagedSnapshot, match=r"Snapshot 4 .*Snapshot 3"):
        repository.load("train")
    repository.writer("train").commit(*state(5, size=SIZE))
    assert check(repository.load("train"), size=SIZE) == 5


def test_damage_is_not_built_upon(store: MemoryStore) -> None:
    """A run that resumes from an older snapshot uses none of the damaged bytes, and its snapshots are whole."""
    repository = Repository.open(store)
    newest, before, _ = packs(store)
    for pack in newest - before:
        store.blobs[pack] = bytes(len(store.blobs[pack]))
    loaded = repository.load("train")
    assert check(loaded, size=SIZE) == 2
    assert loaded is not None
    assert len(loaded.damaged) == 1
    repository.writer("train", based_on=loaded).commit(*state(3, size=SIZE))
    assert check(repository.load("train"), size=SIZE) == 3
    assert [info.seq for info in repository.history("train")] == [4, 2, 1]
    assert repository.verify("train") == []


def test_what_was_read_of_a_damaged_snapshot_is_let_go(tmp_path: Path) -> None:
    """Before the one before it is read: there may be memory for one of them only. Nothing of it is seen there."""

    class Room(bytearray):
        pass

    rooms: list[weakref.ref[Room]] = []

    def allocate(_: Any, sizes: Sequence[int]) -> list[memoryview]:
        assert [room() for room in rooms] == [None] * len(rooms)
        made = [Room(size) for size in sizes]
        rooms.extend(map(weakref.ref, made))
        return [*map(memoryview, made)]

    repository = Repository.open(str(tmp_path))
    writer = repository.writer("train")
    for number in (1, 2):
        whole = random.Random(number).randbytes(9_000_000)
        writer.commit({}, [PartData("p", b"", [memoryview(whole)], {})])
        if number == 1:
            saved, first = whole, set(tmp_path.glob("train/packs/*"))
    (pack,) = set(tmp_path.glob("train/packs/*")) - first
    raw = bytearray(pack.read_bytes())
    raw[5_000_000] ^= 1
    pack.write_bytes(raw)
    gc.disable()  # it must not need the collector, which may not run for long
    try:
        loaded = repository.load("train", allocate=allocate)
    finally:
        gc.enable()
    assert loaded is not None
    assert len(rooms) == 2
    assert loaded.seq == 1
    assert loaded.parts["p"].buffers[0] == saved
    assert "chunk" in loaded.damaged[0]


def test_files_on_disk(tmp_path: Path) -> None:
    """The same with real files: a pack that is gone, a manifest that is a folder's name away."""
    repository = Repository.open(str(tmp_path / "store"))
    writer = repository.writer("train")
    for number in (1, 2):
        writer.commit(*state(number, size=SIZE))
    newest = repository.peek("train")
    assert newest is not None
    (tmp_path / "store/train/manifests" / newest.manifest_id).unlink()
    loaded = repository.load("train")
    assert check(loaded, size=SIZE) == 1
    assert loaded is not None
    assert loaded.damaged == ["Snapshot 2 of 'train' is damaged: its manifest is missing."]


def forge(store: MemoryStore, manifest: bytes, **changes: object) -> None:
    """Put an entry at 4 that is signed with our key and leads to `manifest`."""
    repository = Repository.open(store, create=False)
    kept = Kept(4, digest(manifest), len(manifest))
    previous = digest(store.blobs["train/log/00000003.json"])
    entry = LogEntry(repository.store_id, "train", 4, previous, "w", {}, 0.0, (kept,))
    store.blobs["train/log/00000004.json"] = encode_entry(entry, signing_key())
    store.blobs[f"train/manifests/{kept.manifest}"] = manifest


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("0" * 64) | st.just(2**70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nonsense_in_manifests(store: MemoryStore, data: st.DataObject) -> None:
    """A manifest with any value replaced by any other is damaged, not a crash and no gigabytes."""
    newest = Repository.open(store, create=False).history("train")[-1]
    manifest = json.loads(store.blobs[f"train/manifests/{newest.manifest_id}"])
    place = manifest
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if place[key] and isinstance(place[key], (dict, list)) and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(junk)
        break
    before = dict(store.blobs)
    forge(store, json.dumps(manifest).encode())
    with contextlib.suppress(DamagedSnapshot, UnsupportedFormat):
        Repository.open(store, create=False).load("train")
    store.blobs = before


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"\xff\xfe", b"null", b"[" * 100_000, b'{"format": 1}', b"1" * 10_000, b'{"format": NaN}']
)
def test_nonsense_for_files(store: MemoryStore, raw: bytes) -> None:
    """Files that are no JSON, or not the JSON that belongs there, are damaged wherever they stand."""
    before = dict(store.blobs)
    forge(store, raw)
    with pytest.raises(DamagedSnapshot):
        Repository.open(store).load("train")
    store.blobs = {**before, "train/log/00000004.json": raw}
    assert check(Repository.open(store).load("train"), size=SIZE) == 3
    store.blobs = {**before, "nbckpt.json": raw}
    with pytest.raises(DamagedSnapshot):
        Repository.open(store)


@given(record=st.dictionaries(st.text(max_size=10), junk, max_size=6))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nonsense_in_entries(store: MemoryStore, record: dict[str, object]) -> None:
    """An entry of a stranger, whatever it says, is not trusted or damaged."""
    before = dict(store.blobs)
    for claim in (
        {},
        {"format": 1},
        {"format": 1, "key": signing_key().id, "algorithm": "hmac-sha256", "signature": "é"},
    ):
        try:
            store.blobs["train/log/00000004.json"] = seal({**record, **claim})
        except ValueError:  # NaN
            return
        with contextlib.suppress(UntrustedSnapshot):
            loaded = Repository.open(store).load("train")
            assert check(loaded, size=SIZE) == 3
            assert loaded is not None
            assert loaded.damaged
        assert Repository.open(store).history("train")[0].damage
        store.blobs = dict(before)


def test_a_small_frame_that_unfolds(store: MemoryStore) -> None:
    """A compressed chunk that claims a moderate size and holds gigabytes is refused before it is unpacked."""
    import zlib

    import zstandard

    from nbckpt.storage.chunks import ZSTD, Chunk, decode

    bomb = zstandard.ZstdCompressor().compress(bytes(200_000_000))
    assert len(bomb) < 100_000
    with pytest.raises(DamagedSnapshot):
        decode(Chunk(b"\0" * 32, "p", 0, len(bomb), 1000, ZSTD, zlib.crc32(bomb)), bomb)
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(200_000_000))
    with pytest.raises(DamagedSnapshot):
        decode(Chunk(b"\0" * 32, "p", 0, len(unsized), 1000, ZSTD, zlib.crc32(unsized)), unsized)


def test_canonical_is_one_spelling() -> None:
    """Equal records are equal bytes, in whatever order they were made."""
    assert canonical({"b": 1, "a": "ä"}) == canonical({"a": "ä", "b": 1}) == b'{"a":"\\u00e4","b":1}'
