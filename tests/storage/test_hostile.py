"""A store that somebody wrote to who means harm: no code runs, nothing escapes, and every error is one of ours."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from states import check, state

import nbckpt
from nbckpt.errors import DamagedSnapshot, NbckptError, OptionError, RestoreError
from nbckpt.storage import fetch
from nbckpt.storage.chunks import MAX_CHUNK, PackBuilder
from nbckpt.storage.log import Kept, LogEntry, decode_entry, encode_entry, log_seqs
from nbckpt.storage.records import digest, seal, unseal
from nbckpt.storage.repository import Repository
from nbckpt.storage.signing import Key, known_keys, signing_key
from nbckpt.storage.snapshot import PartData, encode_segment
from nbckpt.storage.stores.local import LocalStore
from nbckpt.testing.faults import MemoryStore

SIZE = 4000
fuzzed = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Trap:
    """An object whose unpickling leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    writer = Repository.open(store).writer("train")
    for number in (1, 2, 3):
        writer.commit(*state(number, size=SIZE))
    return store


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 MB, which refuses to hand out more at once."""
    memory = fetch._memory

    def bounded(size: int, *, large_pages: bool) -> memoryview:
        assert size <= 64_000_000, "more than the machine has"
        return memory(size, large_pages=large_pages)

    monkeypatch.setattr(fetch, "physical_memory", lambda: 64_000_000)
    monkeypatch.setattr(fetch, "_memory", bounded)


# -- changed by somebody who has no key -----------------------------------------------------------------------------

KINDS = ["flip", "cut", "insert", "repeat", "zero"]
mutations = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.floats(0, 1),
        st.floats(0, 1),
        st.binary(max_size=9),
    ),
    min_size=1,
    max_size=4,
)


def mutated(blob: bytes, changes: list[tuple[str, float, float, bytes]]) -> bytes:
    for kind, where, end, with_ in changes:
        start, stop = sorted((int(where * len(blob)), int(end * len(blob))))
        match kind:
            case "flip" if blob:
                start = min(start, len(blob) - 1)
                blob = blob[:start] + bytes([blob[start] ^ (1 + len(with_))]) + blob[start + 1 :]
            case "cut":
                blob = blob[:start] + blob[stop:]
            case "insert":
                blob = blob[:start] + with_ + blob[start:]
            case "repeat":
                blob = blob[:stop] + blob[start:]
            case "zero":
                blob = blob[:start] + bytes(stop - start) + blob[stop:]
    return blob


@fuzzed
@given(which=st.data(), changes=mutations)
def test_mutated_files(store: MemoryStore, room: None, which: st.DataObject, changes: Any) -> None:
    """Whatever is done to a file, what loads is a state that was saved, or the error is one of ours."""
    before = dict(store.blobs)
    try:
        key = which.draw(st.sampled_from(sorted(before)))
        store.blobs[key] = mutated(before[key], changes)
        for use in (Repository.load, Repository.peek, Repository.history, Repository.verify, Repository.repair):
            try:
                found: Any = use(Repository.open(store), "train")
            except NbckptError:
                continue
            if use is Repository.load and found is not None:
                assert check(found, size=SIZE) in {1, 2, 3}
    finally:
        store.blobs = before


@pytest.mark.parametrize("signature", ["foreign", "none", "another's entry", "claims to be ours"])
def test_no_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signature: str) -> None:
    """A snapshot that we did not sign is not unpickled, however well it is made, nor by any command."""
    trap = tmp_path / "sprung"
    place = str(tmp_path / "store")
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "attacker"))
    harmful = pickle.dumps(Trap(trap))
    parts = [PartData("state", harmful, [], {}), PartData("definitions", harmful, [], {})]
    repository = Repository.open(place)
    repository.writer("train").commit({"kind": "script", "metrics": {}, "modules": {}}, parts)
    attacker = signing_key()
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "ours"))
    ours = signing_key()
    path = tmp_path / "store" / "train" / "log" / "00000001.json"
    record = unseal(path.read_bytes())
    if signature == "none":
        record = {name: value for name, value in record.items() if name not in {"signature", "key", "algorithm"}}
    elif signature == "claims to be ours":
        record["key"] = ours.id
    elif signature == "another's entry":
        repository.writer("honest").commit(*state(1))
        honest = unseal((tmp_path / "store" / "honest" / "log" / "00000001.json").read_bytes())
        record = {**honest, "keep": record["keep"], "checkpoint": "train"}
    path.write_bytes(seal(record))
    for use in (
        lambda: nbckpt.load("train", store=place),
        lambda: repository.load("train"),
        lambda: repository.writer("train"),
        lambda: repository.prune("train", grace=0),
        lambda: repository.repair("train"),
    ):
        with pytest.raises(NbckptError):
            use()  # type: ignore[no-untyped-call]
    repository.history("train")
    repository.verify("train")
    assert not trap.exists()
    if signature == "foreign":  # the trap is one: with the key, it springs
        from nbckpt.storage.signing import import_key

        import_key((tmp_path / "attacker" / "keys" / f"{attacker.id}.key").read_text(), "file", sign=False)
        with pytest.raises(Exception):  # noqa: B017, PT011 - what comes out is no snapshot
            nbckpt.load("train", store=place)
        assert trap.exists()


@fuzzed
@given(secret=st.binary(min_size=32, max_size=32), data=st.data())
def test_entries_signed_by_a_stranger(store: MemoryStore, secret: bytes, data: st.DataObject) -> None:
    """An entry of a stranger, with whatever in it, changes nothing about what loads but that it says so."""
    before = dict(store.blobs)
    entry = decode_entry(before["train/log/00000003.json"], known_keys(), Repository.open(store).store_id, "train", 3)
    changed = replace(
        entry,
        seq=4,
        previous=data.draw(st.sampled_from([digest(before["train/log/00000003.json"]), "0" * 64, ""])),
        keep=tuple(data.draw(st.permutations(entry.keep))[: data.draw(st.integers(0, 3))]),
        writer=data.draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(), max_size=3)),
    )
    store.blobs["train/log/00000004.json"] = encode_entry(changed, Key(secret))
    try:
        with pytest.raises(NbckptError, match="does not have"):
            Repository.open(store).load("train")
    finally:
        store.blobs = before


# -- nonsense that has our own signature ------------------------------------------------------------------------------


def forged(store: MemoryStore, manifest: bytes, *, size: int | None = None) -> Repository:
    """Let snapshot 4 have this manifest."""
    repository = Repository.open(store, create=False)
    newest = log_seqs(store, "train")[-1]
    kept = Kept(newest + 1, digest(manifest), len(manifest) if size is None else size)
    previous = digest(store.blobs[f"train/log/{newest:08d}.json"])
    entry = LogEntry(repository.store_id, "train", newest + 1, previous, "w", {}, 0.0, (kept,))
    store.blobs[f"train/log/{newest + 1:08d}.json"] = encode_entry(entry, signing_key())
    store.blobs[f"train/manifests/{kept.manifest}"] = manifest
    return repository


def claim(store: MemoryStore, blob: dict[str, Any], packs: list[list[Any]]) -> bytes:
    """Return a manifest of one part with one stream."""
    part = {"name": "p", "info": {}, "stream": blob, "buffers": []}
    return json.dumps(
        {"format": 1, "write_id": "w", "time": 0.0, "writer": {}, "final": False, "description": {}, "parts": [part],
         "packs": packs}
    ).encode()  # fmt: skip


numbers = st.integers(-2, 70_000) | st.sampled_from([2**31, 2**32 - 1, 2**63, 2**70, MAX_CHUNK, MAX_CHUNK + 1])


@fuzzed
@given(
    rows=st.lists(st.tuples(numbers, numbers, numbers, numbers, st.integers(-1, 3), numbers), max_size=5),
    size=numbers,
    pack_size=numbers,
    table=st.booleans(),
)
@example(rows=[(0, 0, MAX_CHUNK, MAX_CHUNK, 0, 0)] * 5, size=5 * MAX_CHUNK, pack_size=2**70, table=False)
@example(rows=[(0, 10, 2**32 - 1, 2**32 - 1, 0, 0)], size=2**32 - 1, pack_size=2**70, table=False)
@example(rows=[(0, 10, 100, 100, 0, 0), (0, 50, 100, 100, 0, 0)], size=200, pack_size=4000, table=False)
def test_chunks_out_of_bounds(
    store: MemoryStore, room: None, rows: Any, size: int, pack_size: int, table: bool
) -> None:
    """Huge sizes, negative and overlapping places: an error of ours, and no more memory than there is."""
    before = dict(store.blobs)
    pack = next(key for key in sorted(before) if "/packs/" in key).rpartition("/")[2]
    listed = [["ab" * 32, *row] for row in rows]
    manifest = claim(store, {"size": size, "table" if table else "chunks": listed}, [[pack, pack_size]])
    try:
        repository = forged(store, manifest)
        try:
            loaded = repository.load("train")
        except (DamagedSnapshot, RestoreError):
            return
        assert loaded is not None
        assert len(loaded.parts["p"].stream) == size == 0
    finally:
        store.blobs = before


@pytest.mark.parametrize("tables", [0, 1, 300])
def test_few_bytes_that_claim_to_be_many(store: MemoryStore, room: None, tables: int) -> None:
    """One chunk of zeros a hundred thousand times, also through tables of tables of it, is refused unread."""
    builder = PackBuilder()
    zeros = builder.add(__import__("blake3").blake3(bytes(MAX_CHUNK)).digest(), bytes(MAX_CHUNK), compress=True)
    segment = encode_segment([zeros] * 1024)
    listed = builder.add(__import__("blake3").blake3(segment).digest(), segment, compress=True)
    store.blobs[f"train/packs/{builder.id}"] = b"".join(builder.finish())
    chunk, times = (listed, tables) if tables else (zeros, 100_000)
    rows = [[chunk.id.hex(), 0, *chunk[2:]]] * times
    blob = {"size": (tables * 1024 or times) * MAX_CHUNK, "table" if tables else "chunks": rows}
    repository = forged(store, claim(store, blob, [[builder.id, builder.size]]))
    with pytest.raises(RestoreError, match="unfolds to"):
        repository.load("train")
    if tables:  # the same, where it claims to be small
        blob["size"] = 1000
        repository = forged(store, claim(store, blob, [[builder.id, builder.size]]))
        with pytest.raises((DamagedSnapshot, RestoreError)):
            repository.load("train")


@pytest.mark.parametrize("first", [0, 1])
def test_two_lengths_of_one_chunk(store: MemoryStore, first: int) -> None:
    """A chunk that is listed again with another length is damage, wherever it is read."""
    builder = PackBuilder()
    good = builder.add(__import__("blake3").blake3(b"x" * 100).digest(), b"x" * 100, compress=False)
    store.blobs[f"train/packs/{builder.id}"] = b"".join(builder.finish())
    rows = [[good.id.hex(), 0, *good[2:]], [good.id.hex(), 0, 0, 99, 99, 0, 0]]
    blob = {"size": 199, "chunks": [rows[first], rows[1 - first]]}
    with pytest.raises(DamagedSnapshot):
        forged(store, claim(store, blob, [[builder.id, builder.size]])).load("train")


def test_only_what_was_read_is_used_again(store: MemoryStore) -> None:
    """Of two places that a manifest names for one chunk, that is built upon which was verified."""
    plain = b"x" * 100
    builders = [PackBuilder(), PackBuilder()]
    chunks = [one.add(__import__("blake3").blake3(plain).digest(), plain, compress=False) for one in builders]
    store.blobs[f"train/packs/{builders[0].id}"] = b"".join(builders[0].finish())
    builders[1].finish()  # and it is nowhere
    rows = [[chunk.id.hex(), number, *chunk[2:]] for number, chunk in enumerate(chunks)]
    packs = [[one.id, one.size] for one in builders]
    repository = forged(store, claim(store, {"size": 200, "chunks": rows}, packs))
    loaded = repository.load("train")
    assert loaded is not None
    assert loaded.chunks[chunks[0].id].pack == builders[0].id
    repository.writer("train", based_on=loaded).commit({}, [PartData("p", plain, [], {})])
    assert repository.verify("train") == []


@pytest.mark.parametrize("deep", [b"[" * 200_000, b'{"a":' * 200_000, b'{"format":1,"parts":' + b"[" * 100_000])
def test_deep_json(store: MemoryStore, deep: bytes) -> None:
    """Brackets without end are damage, not the end of the process."""
    with pytest.raises(DamagedSnapshot):
        forged(store, deep).load("train")
    store.blobs["train/status.json"] = deep
    assert Repository.open(store).status("train") is None


def test_sizes_of_manifests(store: MemoryStore) -> None:
    """An entry that claims another size for a manifest than it has makes nobody read or reserve that much."""
    with pytest.raises(DamagedSnapshot):
        forged(store, b"{}", size=2**62).load("train")


# -- names ----------------------------------------------------------------------------------------------------------

PIECES = ["..", ".", "/", "\\", "a", "~", "C:", "\0", "\n", "%2e", "\u2024", "\uff0e", "\u2215", "con", " "]
names = st.text(max_size=20) | st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


@fuzzed
@given(name=names)
@example(name="../x")
@example(name="/etc/passwd")
@example(name="a/../../b")
@example(name="a\u2215..")
def test_names_stay_in_the_store(tmp_path: Path, name: str) -> None:
    """A name or key is refused, or a place strictly inside the store."""
    root = tmp_path / "store"
    local = LocalStore(root)
    for use in (Repository(local, "").load, Repository(local, "").history, Repository(local, "").status):
        try:
            use(name)
        except OptionError:
            continue
        assert name.isascii()
        assert not {"/", "\\", "\0", "\n"} & set(name)
        assert name[0].isalnum()
    try:
        local.put(name, [b"x"])
    except (OptionError, OSError):
        return
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".gitignore"]
    assert all(root in path.parents for path in written)
    local.delete([name])
