"""Several writers on one checkpoint, in every order that chance finds: stalls, deaths and lost responses included.

Each store operation is one step. Between two steps any other writer may run, for as long as it likes.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pytest
from states import check, state

from nbckpt.errors import CheckpointConflict, StoreError
from nbckpt.storage import writer as writer_module
from nbckpt.storage.log import LogEntry, decode_entry, read_head
from nbckpt.storage.records import digest, unseal
from nbckpt.storage.repository import Repository
from nbckpt.storage.signing import known_keys, signing_key
from nbckpt.storage.snapshot import decode_manifest
from nbckpt.storage.writer import Writer
from nbckpt.testing.faults import Died, Gate, MemoryStore

T = TypeVar("T")
SIZE = 3000


class Actor(Gate):
    """A writer in a thread that waits before each store operation until it is its turn."""

    def __init__(self, store: MemoryStore, work: Callable[[Actor], None], rng: random.Random) -> None:
        super().__init__(store)
        self.rng = rng
        self.done = self.killed = False
        self.problem: BaseException | None = None
        self._turn, self._parked = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._live, args=(work,))
        self._thread.start()
        self._parked.acquire()

    def gate(self, operation: Callable[[], T]) -> T:
        self._wait()
        if self.killed:
            raise Died
        try:
            return operation()
        finally:
            if self.rng.random() < 0.05:
                raise StoreError("the response was lost")

    def step(self) -> None:
        self._turn.release()
        self._parked.acquire()
        if self.done:
            self._thread.join()

    def _wait(self) -> None:
        self._parked.release()
        self._turn.acquire()

    def _live(self, work: Callable[[Actor], None]) -> None:
        try:
            self._wait()
            work(self)
        except Died:
            pass
        except BaseException as problem:  # noqa: BLE001 - shown by the test, whatever it is
            self.problem = problem
        self.done = True
        self._parked.release()


class World:
    """One schedule: a store, its writers, and what they were told had been saved."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.store = MemoryStore()
        self.id = Repository.open(self.store).store_id
        self.keys = known_keys()
        self.acknowledged: list[tuple[int, str]] = []
        self.numbers = iter(range(1, 10**6))
        self._checked = -1

    def work(self, actor: Actor) -> None:
        """Resume, save a few times, begin again after a conflict or a failure."""
        for _ in range(3):
            try:
                repository = Repository.open(actor, create=False)
                loaded = repository.load("train")
                if loaded is not None:
                    check(loaded, size=SIZE)
                    assert loaded.damaged == [], loaded.damaged
                writer = repository.writer("train", keep=2, based_on=loaded)
                for _ in range(actor.rng.choice((1, 3, 6))):
                    final = actor.rng.random() < 0.1
                    committed = writer.commit(*state(next(self.numbers), size=SIZE), final=final)
                    self.acknowledged.append((committed.seq, committed.manifest_id))
            except (CheckpointConflict, StoreError):
                continue

    def run(self, steps: int = 900) -> None:
        actors = [Actor(self.store, self.work, random.Random(self.rng.random())) for _ in range(3)]
        asleep: set[Actor] = set()  # suspended laptops
        try:
            for _ in range(steps):
                awake = [actor for actor in actors if not actor.done and actor not in asleep]
                if not awake:
                    break
                actor = self.rng.choice(awake)
                chance = self.rng.random()
                if chance < 0.02:
                    asleep.add(actor)
                elif chance < 0.03:
                    actor.killed = True
                    actors.append(Actor(self.store, self.work, random.Random(self.rng.random())))
                if asleep and self.rng.random() < 0.03:
                    asleep.discard(self.rng.choice(sorted(asleep, key=actors.index)))
                for _ in range(self.rng.choice((1, 1, 1, 3, 10, 60))):
                    if actor.done:
                        break
                    actor.step()
                    self.check_newest()
        finally:
            for actor in actors:
                actor.killed = True
                while not actor.done:
                    actor.step()
        for actor in actors:
            if actor.problem is not None:
                raise actor.problem
        self.check_acknowledged()

    def check_newest(self) -> None:
        """The newest snapshot has its manifest and its packs, at every moment."""
        if self.store.changes == self._checked:
            return
        self._checked = self.store.changes
        head = read_head(self.store, self.id, "train", self.keys)
        if head is None:
            return
        assert head.entry is not None
        assert head.damage == {}
        for kept in head.entry.keep[:1]:
            raw = self.store.blobs.get(f"train/manifests/{kept.manifest}")
            assert raw is not None, "the newest snapshot has lost its manifest"
            for pack in decode_manifest(raw).packs:
                assert f"train/packs/{pack}" in self.store.blobs, "the newest snapshot has lost a pack"

    def check_acknowledged(self) -> None:
        """Every commit that a writer was told of is an ancestor of the newest snapshot: none was lost."""
        head = read_head(self.store, self.id, "train", self.keys)
        entries = {digest(raw): raw for key, raw in self.store.written if "/log/" in key}
        chain: set[tuple[int, str]] = set()
        at = head.digest if head else ""
        while at:
            record = decode_entry(entries[at], self.keys, self.id, "train", unseal(entries[at])["seq"])
            chain.update((record.seq, kept.manifest) for kept in record.keep if kept.seq == record.seq)
            at = record.previous
        assert len({seq for seq, _ in self.acknowledged}) == len(self.acknowledged), "two commits had one number"
        assert set(self.acknowledged) <= chain, "an acknowledged commit was lost"
        loaded = Repository.open(self.store).load("train")
        assert loaded is None or check(loaded, size=SIZE)


@pytest.fixture(autouse=True)
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short log makes gaps, and so the races about them, frequent."""
    signing_key()
    monkeypatch.setattr(writer_module, "_LOG_KEEPS", 2)


@pytest.mark.parametrize("batch", range(10))
def test_no_schedule_loses_anything(batch: int) -> None:
    """At every step the newest snapshot is whole, and at the end no acknowledged commit is missing."""
    acknowledged = 0
    for seed in range(batch * 20, batch * 20 + 20):
        world = World(seed)
        world.run()
        acknowledged += len(world.acknowledged)
    assert acknowledged > 60


def first_broken(seeds: range) -> int | None:
    for seed in seeds:
        try:
            World(seed).run()
        except AssertionError:
            return seed
    return None


def test_it_would_notice_a_missing_check_of_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look at the log after a commit, a writer that slept believes what nobody will ever read."""
    monkeypatch.setattr(Writer, "_on_chain", lambda *_: True)
    assert first_broken(range(400)) is not None


def test_it_would_notice_early_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    """If what a commit drops were deleted before its entry exists, a death in between would be fatal."""
    append = Writer._append

    def delete_first(self: Writer, entry: LogEntry, raw: bytes) -> bool:
        kept = {kept.manifest for kept in entry.keep}
        self._store.delete([f"train/manifests/{k.manifest}" for k in self._base.kept[-1:] if k.manifest not in kept])
        return append(self, entry, raw)

    monkeypatch.setattr(Writer, "_append", delete_first)
    assert first_broken(range(200)) is not None


def test_it_would_notice_blind_reuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a refused writer saved on top of whatever is newest, packs it counts on would be gone."""
    refuse = Writer._refuse

    def go_on(self: Writer, seq: int, found: bytes) -> bool:
        if not found:
            refuse(self, seq, found)
        self._base = replace(self._base, seq=seq, digest=digest(found), kept=())
        raise StoreError("again")

    monkeypatch.setattr(Writer, "_refuse", go_on)
    monkeypatch.setattr(World, "work", _stubborn)
    assert first_broken(range(200)) is not None


def _stubborn(self: World, actor: Actor) -> None:
    repository = Repository.open(actor, create=False)
    writer = repository.writer("train", keep=1, based_on=repository.load("train"))
    for _ in range(12):
        try:
            committed = writer.commit(*state(next(self.numbers), size=SIZE))
        except (StoreError, CheckpointConflict):
            continue
        self.acknowledged.append((committed.seq, committed.manifest_id))
