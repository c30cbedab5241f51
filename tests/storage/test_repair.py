"""What is left of a damaged store is found, told, and made usable again."""

from __future__ import annotations

import pytest
from states import check, state

from nbckpt.errors import CheckpointConflict, DamagedSnapshot, UntrustedSnapshot
from nbckpt.storage.records import seal, unseal
from nbckpt.storage.repository import Repository
from nbckpt.storage.signing import Key, signed
from nbckpt.testing.faults import MemoryStore

SIZE = 70_000


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    writer = Repository.open(store).writer("train")
    for number in (1, 2, 3):
        writer.commit(*state(number, size=SIZE))
    return store


def manifest(store: MemoryStore, seq: int) -> str:
    (found,) = (i for i in Repository.open(store, create=False).history("train") if i.seq == seq)
    return f"train/manifests/{found.manifest_id}"


def test_nothing_to_repair(store: MemoryStore) -> None:
    """A whole checkpoint is left as it is."""
    before = dict(store.blobs)
    assert Repository.open(store, create=False).repair("train").dropped == {}
    assert store.blobs == before


@pytest.mark.parametrize(("seq", "newest"), [(3, 2), (2, 3), (1, 3)])
def test_a_damaged_snapshot_is_dropped(store: MemoryStore, seq: int, newest: int) -> None:
    """What cannot be restored goes, the rest is as it was, and the log says so to a run that is saving."""
    repository = Repository.open(store)
    live = repository.writer("train", based_on=repository.load("train"))
    store.blobs[manifest(store, seq)] = b"?"
    with pytest.raises(DamagedSnapshot, match="repair"):
        repository.prune("train", grace=0)
    done = repository.repair("train")
    assert done.stay == tuple(n for n in (3, 2, 1) if n != seq)
    assert list(done.dropped) == [seq]
    assert repository.verify("train") == []
    loaded = repository.load("train")
    assert check(loaded, size=SIZE) == newest
    assert loaded is not None
    assert loaded.damaged == []
    with pytest.raises(CheckpointConflict):
        live.commit(*state(4, size=SIZE))
    repository.prune("train", grace=0)
    repository.writer("train", based_on=loaded).commit(*state(5, size=SIZE))
    assert check(repository.load("train"), size=SIZE) == 5
    assert repository.verify("train") == []


def test_a_damaged_entry_is_dropped(store: MemoryStore) -> None:
    """Without the newest entry its snapshot does not exist; the ones before do, and the log goes on."""
    store.blobs["train/log/00000003.json"] = b""
    repository = Repository.open(store)
    assert repository.repair("train").stay == (2, 1)
    (problem,) = repository.verify("train")
    assert problem.startswith("train/log/00000003.json is damaged: it is empty, as after a kill")
    loaded = repository.load("train")
    assert loaded is not None
    assert loaded.damaged == []
    assert check(loaded, size=SIZE) == 2


def test_an_altered_entry_is_dropped(store: MemoryStore) -> None:
    """Who wrote to the store cannot make it useless: what is ours and was not touched can be gone on from."""
    repository = Repository.open(store)
    altered = unseal(store.blobs["train/log/00000003.json"])
    store.blobs["train/log/00000003.json"] = seal({**altered, "time": 0.0})
    with pytest.raises(UntrustedSnapshot, match=r"altered.*nbckpt repair.*--fresh under another name"):
        repository.load("train")
    assert repository.repair("train").dropped == {3: "it was altered after it was signed"}
    assert repository.verify("train") == ["train/log/00000003.json is damaged: it was altered after it was signed."]
    loaded = repository.load("train")
    assert check(loaded, size=SIZE) == 2
    repository.writer("train", based_on=loaded).commit(*state(4, size=SIZE))
    assert check(repository.load("train"), size=SIZE) == 4


def test_a_foreign_entry_is_not_dropped(store: MemoryStore) -> None:
    """It may be somebody's newest work: with their key it can be read."""
    repository = Repository.open(store)
    record = unseal(store.blobs["train/log/00000003.json"])
    claimed = {name: value for name, value in record.items() if name not in {"algorithm", "key", "signature"}}
    store.blobs["train/log/00000003.json"] = seal(signed(claimed, Key(b"k" * 32)))
    before = dict(store.blobs)
    with pytest.raises(UntrustedSnapshot, match="nbckpt key import"):
        repository.repair("train")
    assert store.blobs == before


def test_nothing_usable(store: MemoryStore) -> None:
    """Where nothing is whole, nothing is dropped: there may be a copy of what is missing."""
    for key in store.blobs:
        if "/packs/" in key:
            store.blobs[key] = b""
    before = dict(store.blobs)
    with pytest.raises(DamagedSnapshot, match="No snapshot of 'train' is whole"):
        Repository.open(store).repair("train")
    for key in before:
        if "/log/" in key:
            store.blobs[key] = b""
    with pytest.raises(DamagedSnapshot, match="train/log back from a copy"):
        Repository.open(store).repair("train")


@pytest.mark.parametrize("left", [None, b"", b"{}", b"another's"])
def test_the_identity_of_a_store(store: MemoryStore, left: bytes | None) -> None:
    """nbckpt.json is written anew from what we signed, also when somebody began a new store over it."""
    whole = dict(store.blobs)
    if left == b"another's":
        other = MemoryStore()
        Repository.open(other)
        store.blobs["nbckpt.json"] = other.blobs["nbckpt.json"]
    elif left is None:
        del store.blobs["nbckpt.json"]
    else:
        store.blobs["nbckpt.json"] = left
        with pytest.raises(DamagedSnapshot, match="nbckpt repair"):
            Repository.open(store)
    repository, anew = Repository.mend(store)
    assert anew
    assert store.blobs == whole
    assert check(repository.load("train"), size=SIZE) == 3
    assert not Repository.mend(store)[1]
    store.blobs = {key: blob for key, blob in whole.items() if "/log/" not in key and key != "nbckpt.json"}
    with pytest.raises(DamagedSnapshot, match="put that file back"):
        Repository.mend(store)


def test_a_log_that_is_gone(store: MemoryStore) -> None:
    """A checkpoint whose log was deleted is not an empty one: nothing begins anew over it unasked."""
    for key in [key for key in store.blobs if "/log/" in key]:
        del store.blobs[key]
    repository = Repository.open(store)
    assert repository.names() == ["train"]
    for use in (repository.load, repository.peek, repository.repair):
        with pytest.raises(DamagedSnapshot, match="The log of 'train' is gone"):
            use("train")
    (info,) = repository.history("train")
    assert "is gone" in info.damage
    assert repository.verify("train")
    assert repository.prune("train", grace=0).keys == ()
    repository.writer("train").commit(*state(4, size=SIZE))  # --fresh
    assert check(repository.load("train"), size=SIZE) == 4
    assert len(repository.prune("train", grace=0).keys) > 3
    assert repository.verify("train") == []


def test_every_byte_is_read(store: MemoryStore) -> None:
    """Damage that a restore does not meet is told too, and spoils nothing."""
    pack = next(key for key in store.blobs if "/packs/" in key)
    store.blobs[pack] = store.blobs[pack][:-1] + b"?"
    repository = Repository.open(store)
    (problem,) = repository.verify("train")
    assert pack.rpartition("/")[2] in problem
    assert check(repository.load("train"), size=SIZE) == 3
