"""A store that cannot create only what is absent is found out before anything is saved in it."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest
from states import check, state

from nbckpt.errors import AlreadyExists, CheckpointConflict, NotFound, StoreError
from nbckpt.storage.handover import Handover
from nbckpt.storage.repository import Repository
from nbckpt.storage.stores import Buffer, Store, open_store
from nbckpt.storage.writer import Committed
from nbckpt.testing.faults import MemoryStore

if TYPE_CHECKING:
    import servers

not_windows = pytest.mark.skipif(os.name == "nt", reason="there a thread writes")


class Replacing(MemoryStore):
    """Accepts "only if absent", and replaces all the same."""

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        super().put(key, bufs)


class LookingFirst(MemoryStore):
    """Looks whether a key is taken, and writes a moment later."""

    url = "memory://looking-first"

    def __init__(self) -> None:
        super().__init__()
        self.meet = threading.Barrier(6)

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        taken = key in self.blobs
        if if_absent and key.startswith("race-") and not taken:
            self.meet.wait()
        if if_absent and taken:
            raise AlreadyExists(key)
        super().put(key, bufs)


class Unable(MemoryStore):
    """Says honestly that it cannot."""

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        if if_absent:
            error = StoreError("it cannot")
            error.errno = errno.ENOTSUP
            raise error
        super().put(key, bufs)


@pytest.mark.parametrize("kind", [Replacing, LookingFirst, Unable])
def test_it_is_refused_and_nothing_is_left(kind: type[MemoryStore]) -> None:
    """The message says why and names the way on; the store is as empty as it was."""
    store = kind()
    with pytest.raises(StoreError, match=r"two kernels could lose .*single_writer=true.* Nothing was saved"):
        Repository.open(store)
    assert store.blobs == {}


@pytest.mark.parametrize("kind", [Replacing, Unable])
def test_somebody_may_vouch_for_it(kind: type[MemoryStore]) -> None:
    """That is recorded in the store, which then works, also for those who open it without vouching again."""
    store = kind()
    store.single_writer = True
    first = Repository.open(store)
    first.writer("train").commit(*state(1))
    config = json.loads(store.blobs["nbckpt.json"])
    assert config["single_writer"] is True
    assert config["can"] == ["list", "range"]
    store.single_writer = False
    second = Repository.open(store)
    assert second.store_id == first.store_id
    loaded = second.load("train")
    assert check(loaded) == 1
    second.writer("train", based_on=loaded).commit(*state(2))
    assert check(Repository.open(store, create=False).load("train")) == 2


def test_a_second_run_that_comes_later_is_noticed_all_the_same() -> None:
    """Only what happens at the very same moment is the person's own affair."""
    store = Replacing()
    store.single_writer = True
    repository = Repository.open(store)
    early, late = repository.writer("train"), repository.writer("train")
    early.commit(*state(1))
    with pytest.raises(CheckpointConflict):
        late.commit(*state(2))
    assert check(repository.load("train")) == 1


def test_a_store_that_can_records_it(tmp_path: object) -> None:
    """What was found is written down."""
    store = MemoryStore()
    Repository.open(store)
    config = json.loads(store.blobs["nbckpt.json"])
    assert config["can"] == ["if_absent", "list", "range"]
    assert "single_writer" not in config


def test_a_store_that_lost_the_ability_is_refused() -> None:
    """As when a bucket was moved to another server."""
    able = MemoryStore()
    Repository.open(able)
    store = Replacing()
    store.blobs = able.blobs
    with pytest.raises(StoreError, match="single_writer"):
        Repository.open(store)


def test_a_server_that_loses_what_it_is_given_is_refused() -> None:
    """Nor is one safe that gives back something else."""

    class Forgetful(MemoryStore):
        def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
            return super().get(key, 0, None if end is None else end - start)

    with pytest.raises(StoreError, match="does not give back what was just written"):
        Repository.open(Forgetful())


def test_a_real_server_that_ignores_the_condition(s3_server: Callable[[str], servers.Server]) -> None:
    """rclone's S3 server answers 200 to all who create one object."""
    pytest.importorskip("boto3")
    server = s3_server("rclone")
    with pytest.raises(StoreError, match="single_writer=true"):
        Repository.open(server.url("refused"))
    assert list(open_store(server.url("refused")).list("")) == []
    repository = Repository.open(server.url("vouched", single_writer="true"))
    repository.writer("train").commit(*state(1))
    assert check(Repository.open(server.url("vouched")).load("train")) == 1


@pytest.mark.parametrize("way", [pytest.param("process", marks=not_windows), "thread", "sync"])
def test_the_one_who_writes_looks_first(
    s3_server: Callable[[str], servers.Server], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes the snapshots of a run, nothing is replaced in a store that somebody vouched for."""
    pytest.importorskip("boto3")
    monkeypatch.setenv("NBCKPT_WRITER", way)
    server = s3_server("rclone")
    repository = Repository.open(server.url(f"two-runs-{way}", single_writer="true"))
    early, late = (
        Handover(repository, "train", keep=3, writer_info={"run": run}, based_on=None, tell=print) for run in "12"
    )
    early.hand_over(*state(1))
    outcome = early.outcome(None)
    assert isinstance(outcome, Committed), outcome
    entry = server.client().get_object(Bucket=server.bucket, Key=f"two-runs-{way}/train/log/00000001.json")
    late.hand_over(*state(2))
    outcome = late.outcome(None)
    assert isinstance(outcome, CheckpointConflict), outcome
    for hand in (early, late):
        hand.close()
    after = server.client().get_object(Bucket=server.bucket, Key=f"two-runs-{way}/train/log/00000001.json")
    assert after["Body"].read() == entry["Body"].read()
    assert check(Repository.open(server.url(f"two-runs-{way}")).load("train")) == 1


@pytest.mark.parametrize("name", ["moto", "seaweedfs"])
def test_snapshots_on_real_servers(s3_server: Callable[[str], servers.Server], name: str) -> None:
    """Saved by one, found, verified and loaded by another, gone when removed."""
    pytest.importorskip("boto3")
    url = s3_server(name).url(f"snapshots-{name}")
    with pytest.raises(NotFound):
        open_store(url).get("nbckpt.json")
    assert Repository.open(url, create=False).load("train") is None
    writer = Repository.open(url).writer("train", keep=2)
    size = 40_000_000 if name == "moto" else 3_000_000
    for number in (1, 2, 3):
        writer.commit(*state(number, size=size))
    other = Repository.open(url)
    assert other.names() == ["train"]
    assert [info.seq for info in other.history("train")] == [3, 2]
    assert other.verify("train") == []
    loaded = other.load("train")
    assert check(loaded, size=size) == 3
    other.writer("train", based_on=loaded).commit(*state(4, size=size))
    with pytest.raises(CheckpointConflict):
        writer.commit(*state(5, size=size))
    other.remove("train")
    store: Store = open_store(url)
    assert [entry.key for entry in store.list("")] == ["nbckpt.json"]
