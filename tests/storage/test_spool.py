"""Snapshots that wait on this machine's disk while a remote store is away."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest
from gates import ROOT
from states import check, state

import nbckpt
from nbckpt.errors import CheckpointConflict, OptionError, StoreError
from nbckpt.storage import spool
from nbckpt.storage.handover import Handover
from nbckpt.storage.lease import wait_for_writer
from nbckpt.storage.parcel import BlocksGoneError
from nbckpt.storage.repository import Repository
from nbckpt.storage.spool import KeptHereError, upload_waiting
from nbckpt.storage.stores.local import LocalStore
from nbckpt.storage.writer import Committed

_CUSTOMIZE = """
import sys
if "nbckpt.storage.detached" in " ".join(sys.orig_argv):
    from nbckpt.storage import detached, spool
    from nbckpt.storage.stores import retrying
    spool.is_far = lambda url: "/spool/" not in url
    detached.LOOK, spool.PAUSE = 0.05, 0.0
    retrying.PAUSES = (0,)
"""


class Remote:
    """A folder that passes for a store elsewhere, and can be away.

    A link leads to it or astray, and changes at once: a writer process that tries again meanwhile must not find nothing
    there, for it would make a new folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.way = folder, os.environ["NBCKPT_WRITER"]
        self.itself, self._nowhere = folder.with_name("itself"), folder.with_name("nowhere")
        self.itself.mkdir()
        self._nowhere.write_text("in the way")
        self.come_back()
        self.repository = Repository.open(str(folder))
        self.told: list[str] = []

    def leave(self) -> None:
        self._lead_to(self._nowhere)

    def come_back(self) -> None:
        self._lead_to(self.itself)

    def _lead_to(self, place: Path) -> None:
        link = self.folder.with_name("link")
        link.symlink_to(place)
        link.replace(self.folder)

    def handover(self, run: str = "mine") -> Handover:
        based_on = self.repository.load("train")
        return Handover(
            self.repository, "train", keep=3, writer_info={"run": run}, based_on=based_on, tell=self.told.append
        )

    def upload(self) -> None:
        upload_waiting(self.repository, "train", keep=3, tell=self.told.append)

    @property
    def newest(self) -> int:
        return check(self.repository.load("train"))

    @property
    def waiting(self) -> list[Path]:
        return [*spool.data_folder().glob("spool/*/*/log/*")]


@pytest.fixture(params=["sync", "thread", "process"])
def remote(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom" / "sitecustomize.py").write_text(_CUSTOMIZE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "custom"), str(ROOT)]))
    monkeypatch.setenv("NBCKPT_WRITER", request.param)
    monkeypatch.setattr(spool, "is_far", lambda url: "/spool/" not in url)
    return Remote(tmp_path / "store")


def save(hand: Handover, number: int, *, final: bool = False) -> object:
    hand.hand_over(*state(number), final=final)
    return hand.outcome(None)


def test_a_snapshot_waits_and_a_newer_one_takes_its_place(remote: Remote) -> None:
    """While the store is away the newest is kept here, once; when it is back nothing of that is left."""
    hand = remote.handover()
    save(hand, 1)
    remote.leave()
    for number in (2, 3):
        error = save(hand, number)
        assert isinstance(error, StoreError)
        assert "kept on this machine" in str(error)
    assert len(remote.waiting) > 0
    (place,) = (spool.data_folder() / "spool").iterdir()
    assert place.stat().st_mode & 0o777 == 0o700
    assert check(Repository.open(str(place)).load("train")) == 3
    remote.come_back()
    assert isinstance(save(hand, 4), Committed)
    assert remote.newest == 4
    assert not remote.waiting
    hand.close()


def test_the_next_run_uploads_what_waits(remote: Remote) -> None:
    """Before it decides what the newest snapshot is; a final one stays final."""
    hand = remote.handover()
    save(hand, 1)
    remote.leave()
    save(hand, 2, final=True)
    hand.close()
    assert wait_for_writer(remote.repository.store_id, "train", lambda _: None)  # it may be trying just now
    remote.come_back()
    remote.told.clear()
    remote.upload()
    assert remote.newest == 2
    assert ["was uploaded" in text for text in remote.told] == [True]
    (info,) = remote.repository.history("train")
    assert info.final
    assert "spooled" not in info.description
    assert info.writer["run"] == "mine"
    assert not remote.waiting
    remote.upload()
    assert remote.newest == 2


def test_what_somebody_has_saved_past_is_not_uploaded(remote: Remote) -> None:
    """A run elsewhere went on from what the store had: its progress stands, and the run that wakes up is fenced."""
    hand = remote.handover()
    save(hand, 1)
    remote.leave()
    save(hand, 2)
    Repository.open(str(remote.itself)).writer("train").commit(*state(7))  # before ours is uploaded by its writer
    remote.come_back()
    outcome = save(hand, 3)
    assert isinstance(outcome, CheckpointConflict)
    hand.close()
    remote.told.clear()
    remote.upload()
    assert remote.newest == 7
    assert ["has gone on elsewhere" in text for text in remote.told] in ([True], [])
    assert not remote.waiting


@pytest.mark.parametrize("remote", ["sync"], indirect=True)
def test_a_response_that_was_lost(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot that had got through without our hearing of it is not saved twice."""
    hand = remote.handover()
    save(hand, 1)
    put = LocalStore.put

    def losing(store: LocalStore, key: str, *args: object, **options: bool) -> None:
        put(store, key, *args, **options)  # type: ignore[arg-type]
        if "/log/" in key and Path(store.url) == remote.folder:
            remote.leave()
            raise StoreError("the network is gone")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "put", losing)
        assert isinstance(save(hand, 2), KeptHereError)
    hand.close()
    remote.come_back()
    remote.upload()
    assert not remote.waiting
    assert remote.newest == 2
    assert [info.seq for info in remote.repository.history("train")] == [2, 1]
    assert not remote.told


@pytest.mark.parametrize("remote", ["sync"], indirect=True)
def test_a_newer_one_than_that_whose_response_was_lost(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store has the one before without our hearing of it: what waits is newer, and is uploaded."""
    hand = remote.handover()
    save(hand, 1)
    put = LocalStore.put

    def losing(store: LocalStore, key: str, *args: object, **options: bool) -> None:
        put(store, key, *args, **options)  # type: ignore[arg-type]
        if "/log/" in key and Path(store.url) == remote.folder:
            remote.leave()
            raise StoreError("the network is gone")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "put", losing)
        assert isinstance(save(hand, 2), KeptHereError)
    assert isinstance(save(hand, 3), KeptHereError)
    hand.close()
    remote.come_back()
    remote.upload()
    assert remote.newest == 3
    assert ["was uploaded" in text for text in remote.told] == [True]
    assert not remote.waiting


def test_the_spool_is_bounded(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is not kept, and that is said."""
    monkeypatch.setenv("NBCKPT_SPOOL", "1000")
    hand = remote.handover()
    save(hand, 1)
    remote.leave()
    error = save(hand, 2)
    assert "could not be kept on this machine either" in str(error)
    assert "NBCKPT_SPOOL" in str(error)
    assert not remote.waiting
    remote.come_back()
    hand.close()


@pytest.mark.parametrize("nonsense", ["16 GiB", "-1", "²"])
def test_a_bound_that_is_none_is_said_at_once(nonsense: str, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when the store is away, hours later."""
    monkeypatch.setenv("NBCKPT_SPOOL", nonsense)
    with pytest.raises(OptionError, match="NBCKPT_SPOOL"):
        remote.handover()


@pytest.mark.parametrize("remote", ["process", "thread"], indirect=True)
def test_the_writer_uploads_when_the_store_is_back(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for the next snapshot, and the run hears of it."""
    monkeypatch.setattr(spool, "PAUSE", 0.0)
    hand = remote.handover()
    save(hand, 1)
    remote.leave()
    assert "kept on this machine" in str(save(hand, 2))
    remote.come_back()
    if remote.way == "process":
        assert select.select([hand._hand._channel.sock], [], [], 60)[0]  # type: ignore[union-attr]
    else:
        hand._hand._retry.join(60)  # type: ignore[union-attr]
    outcome = hand.outcome()
    assert isinstance(outcome, Committed)
    assert remote.newest == 2
    assert not remote.waiting
    save(hand, 3)
    assert remote.newest == 3
    hand.close()


@pytest.mark.parametrize("remote", ["sync"], indirect=True)
def test_a_run_says_once_that_the_store_is_away_and_once_that_it_is_back(
    remote: Remote, capsys: pytest.CaptureFixture[str]
) -> None:
    """And it computes on."""
    with nbckpt.checkpointed("count", store=str(remote.folder), every="1it") as ckpt:
        ckpt.state.total = 0
        for k in ckpt.loop(range(10)):
            ckpt.state.total += k
            if k == 3:
                remote.leave()
            if k == 6:
                remote.come_back()
    lines = capsys.readouterr().err.splitlines()
    assert sum("NOT PROTECTED" in line for line in lines) == 1
    assert sum("kept on this machine" in line for line in lines) == 1
    assert sum("saving works again" in line for line in lines) == 1
    assert nbckpt.load("count", store=str(remote.folder)) == {"total": 45}
    assert not remote.waiting


def test_what_only_the_store_has_is_copied_anew(remote: Remote) -> None:
    """Blocks that were not handed over, because the snapshot before has them, are handed over at the next boundary."""
    large = 3_000_000
    hand = remote.handover()
    hand.hand_over(*state(1, size=large))
    assert isinstance(hand.outcome(None), Committed)
    remote.leave()
    hand.hand_over(*state(2, size=large))
    first = hand.outcome(None)
    assert isinstance(first, BlocksGoneError) is (remote.way == "process")
    hand.hand_over(*state(3, size=large))
    assert "is kept on this machine" in str(hand.outcome(None))
    (place,) = (spool.data_folder() / "spool").iterdir()
    assert check(Repository.open(str(place)).load("train"), size=large) == 3
    remote.come_back()
    hand.hand_over(*state(4, size=large))
    assert isinstance(hand.outcome(None), Committed)
    hand.hand_over(*state(5, size=large))
    assert isinstance(hand.outcome(None), Committed)
    assert check(remote.repository.load("train"), size=large) == 5
    hand.close()
