"""Snapshots come back as they were saved, newest first, and nothing that fails is taken for nothing."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from states import check, state

from nbckpt.errors import (
    CheckpointConflict,
    DamagedSnapshot,
    OptionError,
    StoreError,
    UnknownCheckpoint,
    UnsupportedFormat,
    UntrustedSnapshot,
)
from nbckpt.storage import log, signing, upload
from nbckpt.storage.records import seal
from nbckpt.storage.repository import Repository
from nbckpt.storage.snapshot import FORMAT, PartData
from nbckpt.testing.faults import Died, Faulty, MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> Repository:
    return Repository.open(store)


def keys(store: MemoryStore, kind: str, name: str = "train") -> list[str]:
    return [entry.key for entry in store.list(f"{name}/{kind}/")]


def save(repository: Repository, *numbers: int, name: str = "train", **options: Any) -> None:
    writer = repository.writer(name, **options)
    for number in numbers:
        writer.commit(*state(number))
    writer.close()


def test_no_store_is_empty(tmp_path: Path) -> None:
    """Looking into a store that does not exist finds nothing and creates nothing."""
    repository = Repository.open(str(tmp_path / "store"), create=False)
    assert repository.names() == []
    assert repository.history("train") == []
    assert repository.load("train") is None
    assert repository.peek("train") is None
    assert repository.status("train") is None
    assert not (tmp_path / "store").exists()


def test_layout(tmp_path: Path) -> None:
    """The keys of a store are those that the design names, and nothing else lies around."""
    repository = Repository.open(str(tmp_path / "store"))
    save(repository, 1)
    repository.write_status("train", {"iteration": 1})
    files = sorted(
        str(path.relative_to(tmp_path / "store")) for path in (tmp_path / "store").rglob("*") if path.is_file()
    )
    kinds = [file.rpartition("/")[0] or file for file in files]
    assert kinds == [".gitignore", "nbckpt.json", "train/log", "train/log", "train/manifests", "train/packs", "train"]
    assert files[2:4] == ["train/log/00000000.json", "train/log/00000001.json"]
    assert Path(tmp_path / "store" / files[3]).stat().st_size < 2048


def test_round_trip(repository: Repository) -> None:
    """What was saved comes back, with its description, in memory of its own that can be written to."""
    committed = repository.writer("train").commit(*state(7))
    loaded = repository.load("train")
    assert check(loaded) == 7
    assert loaded is not None
    assert (loaded.seq, loaded.damaged) == (committed.seq, []) == (1, [])
    assert loaded.manifest.total_bytes == committed.total_bytes > 400_000
    for buffer in loaded.parts["model"].buffers:
        assert not buffer.readonly
    assert repository.verify("train") == []


def test_large_state(tmp_path: Path) -> None:
    """Buffers whose chunk tables do not fit the manifest, over many packs, read by many threads."""
    repository = Repository.open(str(tmp_path / "store"))
    buffers = [memoryview(os.urandom(size)) for size in (40_000_001, 3_000_000, 1, 0)] + [memoryview(bytes(20_000_000))]
    writer = repository.writer("train")
    first = writer.commit({}, [PartData("p", b"s" * 5_000_000, buffers, {})])
    assert first.bytes_written < 43_300_000
    second = writer.commit({}, [PartData("p", b"s" * 5_000_000, buffers, {})])
    assert second.bytes_written < 10_000
    loaded = repository.load("train")
    assert loaded is not None
    assert [bytes(b) for b in loaded.parts["p"].buffers] == [bytes(b) for b in buffers]
    assert bytes(loaded.parts["p"].stream) == b"s" * 5_000_000
    assert len(loaded.manifest.packs) == 3
    resumed = repository.writer("train", based_on=loaded).commit({}, [PartData("p", b"new", buffers, {})])
    assert resumed.bytes_written < 10_000


def test_unusual_buffers(repository: Repository) -> None:
    """Buffers of any shape and element type are saved as the bytes they are; odd strings survive."""
    shaped = memoryview(b"".join(i.to_bytes(4, "little") for i in range(12))).cast("I", shape=[3, 4])
    description = {"source": "print('\ud800 ä')", "loss": float("inf"), "nested": {"b": 1, "a": [None, True]}}
    repository.writer("train").commit(description, [PartData("p", bytearray(b"s"), [shaped], {})])
    loaded = repository.load("train")
    assert loaded is not None
    assert loaded.description == description
    assert list(loaded.description["nested"]) == ["b", "a"]
    assert bytes(loaded.parts["p"].buffers[0]) == shaped.tobytes()


def test_names(repository: Repository) -> None:
    """Every checkpoint with a log is listed once."""
    for name in ("train", "a", "train-2", "Z", "0.1"):
        save(repository, 1, name=name)
    assert repository.names() == ["0.1", "Z", "a", "train", "train-2"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "x" * 129, "nbckpt.json", "NBCKPT.json", "a\n", "ä"])
def test_bad_names(repository: Repository, name: str) -> None:
    """A name that cannot be a folder's is refused, and the sentence says what can."""
    for use in (repository.writer, repository.load, repository.remove, repository.history, repository.status):
        with pytest.raises(OptionError, match="cannot name a checkpoint"):
            use(name)


def test_retention(store: MemoryStore, repository: Repository) -> None:
    """The newest three stay, with what they need; what only the others needed is gone, and the log stays short."""
    save(repository, *range(30))
    assert [info.seq for info in repository.history("train")] == [30, 29, 28]
    assert len(keys(store, "manifests")) == 3
    assert len(keys(store, "packs")) == 4
    assert len(keys(store, "log")) == 16
    assert check(repository.load("train", seq=28)) == 27
    with pytest.raises(UnknownCheckpoint, match="30, 29, 28"):
        repository.load("train", seq=27)


def test_final(store: MemoryStore, repository: Repository) -> None:
    """After the final snapshot only it is left."""
    writer = repository.writer("train")
    for number in range(4):
        writer.commit(*state(number))
    writer.commit(*state(4), final=True)
    (info,) = repository.history("train")
    assert info.final
    assert (info.seq, info.description, info.damage) == (5, {"number": 4}, "")
    assert check(repository.load("train")) == 4
    assert len(keys(store, "manifests")) == 1


def test_retention_spans_runs(store: MemoryStore, repository: Repository) -> None:
    """A run that resumed goes on with the history, and drops what runs before it saved."""
    save(repository, 0, 1, 2)
    save(repository, 3, 4, based_on=repository.load("train"))
    assert [info.description["number"] for info in repository.history("train")] == [4, 3, 2]
    save(repository, 5, 6, 7)  # a fresh run, based on nothing
    assert [info.description["number"] for info in repository.history("train")] == [7, 6, 5]
    assert len(keys(store, "manifests")) == 3
    assert len(keys(store, "packs")) == 3


def test_only_verified_chunks_are_used_again(store: MemoryStore, repository: Repository) -> None:
    """A run that was not based on a verified snapshot writes all its bytes; one that was writes what is new."""
    save(repository, 1)
    fresh = repository.writer("train").commit(*state(2)).bytes_written
    resumed = repository.writer("train", based_on=repository.load("train")).commit(*state(3)).bytes_written
    assert fresh > 400_000
    assert resumed < 150_000


def test_packs_that_are_mostly_dead_are_left_behind(store: MemoryStore, repository: Repository) -> None:
    """However long a run saves scattered changes, the store stays within a small multiple of the state."""
    data = bytearray(os.urandom(64 * 65536))
    writer = repository.writer("train", keep=1)
    for step in range(200):
        data[(step * 37 % 64) * 65536] ^= 1
        writer.commit({}, [PartData("p", b"", [memoryview(data)], {})])
    assert sum(map(len, store.blobs.values())) < 2.5 * len(data)
    assert len(keys(store, "packs")) < 80


def test_conflict(repository: Repository) -> None:
    """Of two runs under one name the later to save is told who is there, each time; what is saved stays whole."""
    save(repository, 0)
    first = repository.writer("train", based_on=repository.load("train"))
    second = repository.writer("train", based_on=repository.load("train"), writer_info={"pid": 4711})
    second.commit(*state(1))
    for number in (2, 3):
        with pytest.raises(CheckpointConflict, match=r"pid 4711.*computation may go on"):
            first.commit(*state(number))
    first.close()
    assert check(repository.load("train")) == 1
    second.commit(*state(4))
    assert check(repository.load("train")) == 4


def test_conflict_leaves_nothing_behind(store: MemoryStore, repository: Repository) -> None:
    """What a refused save had written is removed: its place in the log is taken for good."""
    first, second = repository.writer("train"), repository.writer("train")
    second.commit(*state(1))
    before = sorted(store.blobs)
    with pytest.raises(CheckpointConflict):
        first.commit(*state(2))
    assert sorted(store.blobs) == before


def test_two_begin_at_once(store: MemoryStore) -> None:
    """Two runs that begin one checkpoint at the same time share its log; one of them saves."""
    writers = [Repository.open(store).writer("train") for _ in range(2)]
    writers[1].commit(*state(1))
    with pytest.raises(CheckpointConflict):
        writers[0].commit(*state(2))
    assert check(Repository.open(store).load("train")) == 1


def test_removed_under_a_run(store: MemoryStore, repository: Repository) -> None:
    """A run whose checkpoint was removed cannot bring back half of it, nor write into one begun anew."""
    stalled, also = repository.writer("train"), repository.writer("other")
    stalled.commit(*state(1))
    also.commit(*state(1))
    repository.remove("train")
    with pytest.raises(CheckpointConflict, match="removed"):
        stalled.commit(*state(2))
    assert keys(store, "log") == []
    repository.remove("other")
    save(repository, 5, name="other")
    with pytest.raises(CheckpointConflict, match="held by another kernel"):
        also.commit(*state(2))
    assert check(repository.load("other")) == 5
    assert repository.names() == ["other"]


def test_remove(store: MemoryStore, repository: Repository) -> None:
    """Removing takes everything of that name and nothing of another, and an unknown name is an error."""
    save(repository, 1, 2)
    save(repository, 1, name="train-2")
    repository.write_status("train", {})
    repository.remove("train")
    assert repository.names() == ["train-2"]
    assert not any(key.startswith("train/") for key in store.blobs)
    assert check(repository.load("train-2")) == 1
    with pytest.raises(UnknownCheckpoint, match="'train'"):
        repository.remove("train")
    store.put("half/packs/0", [b"left by a removal that was killed"])
    repository.remove("half")
    assert "half/packs/0" not in store.blobs


def test_status(repository: Repository, store: MemoryStore) -> None:
    """Progress is for people: the last report is what is read, and a broken one is none."""
    assert repository.status("train") is None
    repository.write_status("train", {"iteration": 1})
    repository.write_status("train", {"iteration": 2})
    assert repository.status("train") == {"iteration": 2}
    assert repository.names() == []
    store.put("train/status.json", [b"[not json"])
    assert repository.status("train") is None


@pytest.mark.parametrize("mode", ["fails", "loses"])
def test_brief_store_failures(mode: str) -> None:
    """Whatever single operation of opening, saving or loading fails or loses its response, nobody hears of it."""
    operations = 0
    for at in range(1, 1000):
        faulty = Faulty(MemoryStore(), at, mode)
        repository = Repository.open(faulty)
        writer = repository.writer("train", keep=1)
        for number in range(3):
            writer.commit(*state(number, size=1000))
        assert check(repository.load("train"), size=1000) == 2
        assert [info.seq for info in repository.history("train")] == [3]
        if faulty.count < at:
            operations = at
            break
    assert operations > 30


@pytest.mark.parametrize("mode", ["fails", "loses"])
def test_long_store_failures(mode: str) -> None:
    """A commit that the store fails for good raises; the one before it stands; the next one works, by the same run.

    Also where the failed commit had come through after all.
    """
    for at in range(1, 1000):
        store = MemoryStore()
        save(Repository.open(store), 0)
        faulty = Faulty(store)
        repository = Repository.open(faulty)
        writer = repository.writer("train", based_on=repository.load("train"))
        faulty._at, faulty._mode, faulty._times = faulty.count + at, mode, 4
        failed = False
        try:
            writer.commit(*state(1))
        except StoreError:
            failed = True
        reached, faulty._at = faulty.count >= faulty._at, 0
        assert check(Repository.open(store).load("train")) in ({0, 1} if failed else {1})
        writer.commit(*state(2))
        writer.commit(*state(3))
        assert check(Repository.open(store).load("train")) == 3
        assert Repository.open(store).verify("train") == []
        if not reached:
            break
    assert at >= 6


def test_back_to_an_earlier_state(store: MemoryStore) -> None:
    """A commit whose response is lost drops what the next one uses again: it is not deleted all the same."""
    faulty = Faulty(store)
    writer = Repository.open(faulty).writer("train", keep=1)
    one, other = ([PartData("p", bytes([number]) * 5000, [], {})] for number in (1, 2))
    writer.commit({}, one)
    lost = faulty.count + 3
    faulty._at, faulty._mode, faulty._times = lost, "loses", 100  # the entry, and every question after it
    with pytest.raises(StoreError):
        writer.commit({}, other)
    faulty._at = 0
    writer.commit({}, one)
    loaded = Repository.open(store).load("train")
    assert loaded is not None
    assert bytes(loaded.parts["p"].stream) == one[0].stream


def test_a_late_writer_leaves_a_log_that_was_begun_anew(store: MemoryStore) -> None:
    """What is still to be deleted when a checkpoint is removed takes nothing from the run that begins it anew."""
    faulty = Faulty(store)
    late = Repository.open(faulty).writer("train", keep=2)
    for number in range(40):
        late.commit(*state(number))
    faulty._at, faulty._times = faulty.count + 2, 100  # the log was listed, and nothing can be deleted
    late.tidy()
    faulty._at = 0
    repository = Repository.open(store)
    repository.remove("train")
    save(repository, *range(100, 130))
    for act in (late.close, lambda: late.commit(*state(40))):
        with contextlib.suppress(CheckpointConflict):
            act()
        assert check(repository.load("train")) == 129
        assert len(keys(store, "log")) >= log.KEEPS
    late.close()
    assert check(repository.load("train")) == 129


@pytest.mark.parametrize("mode", ["dies", "dies after"])
@pytest.mark.parametrize("final", [False, True])
def test_death_at_every_operation(mode: str, final: bool) -> None:
    """Killed at any operation, a commit leaves the snapshot before or the new one whole, and the next run works."""
    for at in range(1, 1000):
        store = MemoryStore()
        save(Repository.open(store), 0, 1, 2, 3)
        faulty = Faulty(store)
        repository = Repository.open(faulty)
        writer = repository.writer("train", based_on=repository.load("train"))
        faulty._at, faulty._mode = faulty.count + at, mode
        done = True
        try:
            writer.commit(*state(4), final=final)
            writer.tidy()
        except Died:
            done = False
        after = Repository.open(store)
        loaded = after.load("train")
        assert check(loaded) in ({4} if done else {3, 4})
        assert loaded is not None
        assert loaded.damaged == []
        assert after.verify("train") == []
        save(after, 5, 6, based_on=loaded)
        assert check(after.load("train")) == 6
        assert after.verify("train") == []
        if done:
            break
    assert at >= 8


@pytest.mark.parametrize("mode", ["fails", "loses", "dies", "dies after"])
def test_many_packs_at_once(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where packs are written by several threads."""
    monkeypatch.setattr(upload, "PACK_SIZE", 100_000)
    monkeypatch.setattr(upload, "_LITTLE", 0)
    for at in range(1, 30):
        store = MemoryStore()
        save(Repository.open(store), 0)
        before = sorted(store.blobs)
        faulty = Faulty(store)
        repository = Repository.open(faulty)
        writer = repository.writer("train")
        faulty._at, faulty._mode, faulty._times = faulty.count + at, mode, 100
        done = False
        with contextlib.suppress(StoreError, Died):
            writer.commit(*state(1, size=1_000_000))
            done = True
        loaded = Repository.open(store).load("train")
        assert loaded is not None
        assert loaded.damaged == []
        assert loaded.description["number"] == 1 if done else loaded.description["number"] in {0, 1}
        if mode in {"fails", "loses"} and not done:
            assert set(before) <= set(store.blobs)
            faulty._at = 0
            writer.commit(*state(2, size=1_000_000))
            assert check(Repository.open(store).load("train"), size=1_000_000) == 2


@pytest.mark.parametrize("mode", ["dies", "dies after"])
def test_death_at_the_beginning(mode: str) -> None:
    """Killed while a store and a checkpoint are being begun, nothing stands in the way of the next run."""
    for at in range(1, 1000):
        store = MemoryStore()
        faulty = Faulty(store, at, mode)
        try:
            save(Repository.open(faulty), 1)
        except Died:
            loaded = Repository.open(store, create=False).load("train")
            assert loaded is None or check(loaded) == 1
        save(Repository.open(store), 2)
        assert check(Repository.open(store).load("train")) == 2
        if faulty.count < at:
            break
    assert at > 15


def test_store_failure_is_not_absence(store: MemoryStore) -> None:
    """Where the store fails, nothing is ever reported as not there."""
    save(Repository.open(store), 1)
    for use in (Repository.load, Repository.peek, Repository.history):
        for at in range(1, 100):
            faulty = Faulty(store)
            repository = Repository.open(faulty, create=False)
            faulty._at, faulty._times = faulty.count + at, 4
            try:
                assert use(repository, "train")
                break
            except StoreError:
                continue
        assert at > 2


def test_store_that_went_away(tmp_path: Path) -> None:
    """An unmounted disk is not an empty store."""
    repository = Repository.open(str(tmp_path / "store"))
    save(repository, 1)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="mounted"):
        repository.load("train")


def test_newer_format(store: MemoryStore, repository: Repository) -> None:
    """A newer nbckpt's store, entry or manifest is named with both versions, and nothing is changed."""
    save(repository, 1)
    before = dict(store.blobs)
    both = rf"format {FORMAT + 1}.*up to {FORMAT}.*nothing was touched"
    store.blobs["nbckpt.json"] = seal({"format": FORMAT + 1})
    with pytest.raises(UnsupportedFormat, match=both):
        Repository.open(store)
    store.blobs.update(before)
    store.blobs["train/log/00000002.json"] = seal({"format": FORMAT + 1})
    with pytest.raises(UnsupportedFormat, match=both):
        Repository.open(store).load("train")


def test_unsigned(store: MemoryStore, repository: Repository) -> None:
    """An entry that nobody signed is not skipped for an older one, and nothing it points to is read."""
    save(repository, 1, 2)
    record = json.loads(store.blobs["train/log/00000002.json"])
    for missing in ("signature", "key", "algorithm"):
        unsigned = {name: value for name, value in record.items() if name not in {missing, "check"}}
        store.blobs["train/log/00000002.json"] = seal(unsigned)
        for use in (repository.load, repository.peek, repository.writer):
            with pytest.raises(UntrustedSnapshot, match="not signed"):
                use("train")
        (info,) = repository.history("train")
        assert "not signed" in info.damage
        assert info.seq == 2


def test_foreign_key(
    store: MemoryStore, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot from another machine names that machine and its key; with the key it loads."""
    save(repository, 1, writer_info={"host": "elsewhere", "pid": 99})
    key = signing.signing_key()
    ours = os.environ["NBCKPT_DATA_DIR"]
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "other"))
    save(repository, 1, name="mine")
    with pytest.raises(UntrustedSnapshot, match=rf"elsewhere.*99.*{key.id}.*nothing was changed.*NBCKPT_KEY"):
        repository.load("train")
    (Path(ours) / "keys" / f"{key.id}.key").rename(tmp_path / "other" / "keys" / f"{key.id}.key")
    assert check(repository.load("train")) == 1
    assert signing.signing_key() != key


@pytest.mark.parametrize("field", ["keep", "time", "writer", "seq", "previous", "write_id", "checkpoint", "store"])
def test_altered(store: MemoryStore, repository: Repository, field: str) -> None:
    """Every field is signed: whoever changes one without the key is found out."""
    save(repository, 1)
    record = json.loads(store.blobs["train/log/00000001.json"])
    record[field] = {"keep": [], "time": 0.0, "writer": {"host": "x"}, "seq": 2}.get(field, "f" * 32)
    record.pop("check")
    store.blobs["train/log/00000001.json"] = seal(record)
    with pytest.raises(UntrustedSnapshot, match="altered"):
        repository.load("train")


def test_moved(store: MemoryStore, repository: Repository) -> None:
    """A signed entry counts only where it was signed for: not under another name, number or store."""
    save(repository, 1, 2)
    for key, blob in list(store.blobs.items()):
        if key.startswith("train/"):
            store.blobs["copy" + key[5:]] = blob
    with pytest.raises(UntrustedSnapshot, match="'train'"):
        repository.load("copy")
    store.blobs["train/log/00000003.json"] = store.blobs["train/log/00000001.json"]
    with pytest.raises(UntrustedSnapshot, match="signed as snapshot 1"):
        repository.load("train")
    elsewhere = Repository.open(MemoryStore())
    for key, blob in store.blobs.items():
        if key.startswith("train/"):
            elsewhere._store.put(key, [blob])
    elsewhere._store.delete(["train/log/00000003.json"])
    with pytest.raises(UntrustedSnapshot, match="copy the whole store"):
        elsewhere.load("train")


def test_lost_identity(store: MemoryStore, repository: Repository) -> None:
    """Without its own file a store is not begun anew over the snapshots that are there."""
    save(repository, 1)
    del store.blobs["nbckpt.json"]
    for create in (False, True):
        lost = Repository.open(store, create=create)
        for use in (lost.load, lost.writer):
            with pytest.raises(UntrustedSnapshot, match=r"with its nbckpt\.json"):
                use("train")
    store.blobs["nbckpt.json"] = b"{}"
    with pytest.raises(DamagedSnapshot, match="is damaged"):
        Repository.open(store)


def test_what_json_cannot_hold(store: MemoryStore, repository: Repository) -> None:
    """A description that cannot be written leaves nothing behind and the run may save again."""
    writer = repository.writer("train")
    before = sorted(store.blobs)
    with pytest.raises(TypeError):
        writer.commit({"x": object()}, state(1)[1])
    assert sorted(store.blobs) == before
    writer.commit(*state(1))


def test_full_disk(store: MemoryStore) -> None:
    """A save that does not fit removes what it had written; the one before stands, and the next works."""
    save(Repository.open(store), 1)
    faulty = Faulty(store)
    repository = Repository.open(faulty)
    writer = repository.writer("train")
    before = sorted(store.blobs)
    faulty._at, faulty._errno = faulty.count + 2, 28
    with pytest.raises(StoreError):
        writer.commit(*state(2))
    assert sorted(store.blobs) == before
    writer.commit(*state(3))
    assert check(repository.load("train")) == 3


def test_a_reader_beside_a_busy_writer(store: MemoryStore) -> None:
    """A snapshot that is dropped while it is being read leads to the newer one, not to a complaint."""
    save(Repository.open(store), 0)
    writer = Repository.open(store).writer("train", keep=1)
    saves: list[int] = []

    class Slow(Faulty):
        def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
            if "/manifests/" in key and saves:
                writer.commit(*state(saves.pop()))
            return super().get(key, start, end)

        def get_into(self, key: str, start: int, target: memoryview) -> int:
            if saves:
                writer.commit(*state(saves.pop()))
            return super().get_into(key, start, target)

    repository = Repository.open(Slow(store))
    saves += [4, 3, 2, 1]
    loaded = repository.load("train")
    assert check(loaded) == 4
    assert loaded is not None
    assert loaded.damaged == []
