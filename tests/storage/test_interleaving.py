"""Several writers on one checkpoint, in every order that chance finds: stalls, deaths and lost responses included.

Each store operation is one step. Between two steps any other writer may run, for as long as it likes.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from states import check, state

from nbckpt.errors import CheckpointConflict, DamagedSnapshot, StoreError
from nbckpt.storage import log, prune, writer
from nbckpt.storage.log import Fence, LogEntry, decode_entry, read_head
from nbckpt.storage.records import digest, unseal
from nbckpt.storage.repository import Repository
from nbckpt.storage.signing import known_keys, signing_key
from nbckpt.storage.snapshot import decode_manifest
from nbckpt.storage.stores import Buffer, Entry, Store, open_store
from nbckpt.storage.writer import Writer
from nbckpt.testing.faults import Died, Gate, MemoryStore

if TYPE_CHECKING:
    import servers

T = TypeVar("T")
SIZE = 3000


class Actor(Gate):
    """A writer in a thread that waits before each store operation until it is its turn."""

    def __init__(self, store: MemoryStore, work: Callable[[Actor], None], rng: random.Random) -> None:
        super().__init__(store)
        self.rng, self.work = rng, work
        self.conflicts = 0
        self.doing = ""
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

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        self.doing = "put"
        super().put(key, bufs, if_absent=if_absent)
        self.doing = ""

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


class Real(MemoryStore):
    """A real store, looked at as if it were in memory."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.written, self.changes = [], 0

    @property
    def blobs(self) -> dict[str, bytes]:  # type: ignore[override]
        written = dict(self.written)
        return {entry.key: written[entry.key] for entry in self._inner.list("") if entry.key in written}

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        self._inner.put(key, bufs, if_absent=if_absent)
        self.written.append((key, b"".join(bufs)))
        self.changes += 1

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        return self._inner.get(key, start, end)

    def get_into(self, key: str, start: int, target: memoryview) -> int:
        return self._inner.get_into(key, start, target)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        return self._inner.list(prefix, start_after)

    def delete(self, keys: Iterable[str]) -> None:
        self._inner.delete(keys)
        self.changes += 1

    def now(self) -> float:
        return self._inner.now() + 2  # what was written just now is old enough


class World:
    """One schedule: a store, its writers, and what they were told had been saved."""

    def __init__(self, seed: int, store: MemoryStore | None = None) -> None:
        self.rng = random.Random(seed)
        self.store = store or MemoryStore()
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
                    writer.tidy()
            except CheckpointConflict:
                actor.conflicts += 1
            except StoreError:
                continue

    def prune(self, actor: Actor) -> None:
        """Sweep, again and again, with no grace at all."""
        for _ in range(4):
            with contextlib.suppress(StoreError, DamagedSnapshot):
                Repository.open(actor, create=False).prune("train", grace=0)

    def run(self, steps: int = 900) -> None:
        works = [self.work] * 3 + [self.prune] * self.rng.choice((0, 1, 2))
        actors = [Actor(self.store, work, random.Random(self.rng.random())) for work in works]
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
                    actors.append(Actor(self.store, actor.work, random.Random(self.rng.random())))
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
    monkeypatch.setattr(log, "KEEPS", 2)


@pytest.mark.parametrize("batch", range(10))
def test_no_schedule_loses_anything(batch: int) -> None:
    """At every step the newest snapshot is whole, and at the end no acknowledged commit is missing."""
    acknowledged = 0
    for seed in range(batch * 20, batch * 20 + 20):
        world = World(seed)
        world.run()
        acknowledged += len(world.acknowledged)
    assert acknowledged > 60


@pytest.mark.parametrize(
    ("kind", "schedules"), [("folder", 6), ("memory", 6), pytest.param("s3", 1, marks=pytest.mark.slow)]
)
def test_nor_does_one_in_a_real_store(
    kind: str,
    schedules: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    s3_server: Callable[[str], servers.Server],
) -> None:
    """The same with files and objects, their names and their times."""
    if kind != "folder":
        pytest.importorskip({"memory": "fsspec", "s3": "boto3"}[kind])
    monkeypatch.setattr(os, "fsync", lambda _: None)
    acknowledged = 0
    for seed in range(1000, 1000 + schedules):
        url = {"folder": str(tmp_path / str(seed)), "memory": f"memory://worlds/{seed}"}.get(kind)
        world = World(seed, Real(open_store(url or s3_server("moto").url(f"worlds/{seed}"))))
        world.run(200 if kind == "s3" else 900)
        acknowledged += len(world.acknowledged)
    assert acknowledged > 2 * schedules


def first_broken(seeds: range) -> int | None:
    for seed in seeds:
        try:
            World(seed).run()
        except AssertionError:
            return seed
    return None


# -- each rule, switched off -------------------------------------------------------------------------------------

Patch = pytest.MonkeyPatch


def no_fence(patch: Patch) -> None:
    """A prune deletes what it marked, without telling anybody."""
    patch.setattr(prune, "_fence", lambda *_: frozenset())


def listing_after_the_fence(patch: Patch) -> None:
    """A prune deletes what is there and not needed when it sweeps, whether it was condemned or not."""

    def sweep(store: Any, _: Any, needed: frozenset[str]) -> list[Any]:
        swept = [entry for entry in store.list("train/packs/") if entry.key not in needed]
        store.delete([entry.key for entry in swept])
        return swept

    patch.setattr(prune, "_sweep", sweep)


def goes_on_without_a_manifest(patch: Patch) -> None:
    """A prune that finds a manifest gone takes it for one that needs nothing."""
    mark = prune.mark

    def lenient(store: Any, name: str, keep: Any) -> frozenset[str]:
        return frozenset().union(*(mark(store, name, [kept]) or () for kept in keep))

    patch.setattr(prune, "mark", lenient)


def no_second_mark(patch: Patch) -> None:
    """A prune deletes what it condemned, though it may have been committed before the fence."""
    fence = prune._fence
    patch.setattr(prune, "_fence", lambda *a: None if fence(*a) is None else frozenset())


def stale_prune(patch: Patch) -> None:
    """A prune does not look whether its fence is part of the log."""
    patch.setattr(prune, "is_on_chain", lambda *_: True)


def stale_writer(patch: Patch) -> None:
    """A writer that slept believes in what nobody will ever read."""
    patch.setattr(writer, "is_on_chain", lambda *_: True)


def numbers_for_digests(patch: Patch) -> None:
    """An entry names the one before by its number: any that has the number will do."""

    def is_on_chain(store: Any, entry: LogEntry, raw: bytes, _: Any) -> bool:
        seqs = log.log_seqs(store, "train")
        return entry.seq in (seqs[-1:] if len(seqs) < 2 else seqs) and {entry.seq - 1, entry.seq + 1} & {*seqs} != set()

    def fence(self: Writer, seq: int, raw: bytes) -> Any:
        return decode_entry(raw, self._keys, self._store_id, "train", seq).fence

    patch.setattr(writer, "is_on_chain", is_on_chain)
    patch.setattr(prune, "is_on_chain", is_on_chain)
    patch.setattr(log, "check_succession", lambda *_: None)
    patch.setattr(Writer, "_fence", fence)


def condemned_packs_are_kept(patch: Patch) -> None:
    """A writer that met a fence does not ask what was condemned."""
    patch.setattr(writer, "condemned_by", lambda *_: frozenset())


def commits_are_fences(patch: Patch) -> None:
    """A writer goes on from whatever it meets in its place."""

    def fence(self: Writer, seq: int, raw: bytes) -> Fence:
        return decode_entry(raw, self._keys, self._store_id, "train", seq).fence or Fence(1, "")

    patch.setattr(Writer, "_fence", fence)


def sweeping_writer(patch: Patch) -> None:
    """A writer deletes whatever its snapshots do not need, not only what it knows to be dead."""

    def tidy(self: Writer) -> None:
        needed = {f"train/packs/{pack}" for packs in self._base.packs.values() for pack in packs}
        listed = [entry.key for entry in self._store.list("train/packs/")]
        self._store.delete([key for key in listed if key not in needed])

    patch.setattr(Writer, "tidy", tidy)


def early_deletion(patch: Patch) -> None:
    """What a commit drops is deleted before its entry exists: a death in between is fatal."""
    append = Writer._append

    def delete_first(self: Writer, entry: LogEntry, raw: bytes) -> Any:
        kept = {kept.manifest for kept in entry.keep}
        self._store.delete([f"train/manifests/{k.manifest}" for k in self._base.kept[-1:] if k.manifest not in kept])
        return append(self, entry, raw)

    patch.setattr(Writer, "_append", delete_first)


def blind_reuse(patch: Patch) -> None:
    """A refused writer saves on top of whatever is newest: packs that it counts on are gone."""
    refuse = Writer._refuse

    def go_on(self: Writer, seq: int, found: bytes) -> bool:
        if not found:
            refuse(self, seq, found)
        self._base = replace(self._base, seq=seq, digest=digest(found), kept=())
        raise StoreError("again")

    patch.setattr(Writer, "_refuse", go_on)
    patch.setattr(World, "work", _stubborn)


def _stubborn(self: World, actor: Actor) -> None:
    repository = Repository.open(actor, create=False)
    writer = repository.writer("train", keep=1, based_on=repository.load("train"))
    for _ in range(12):
        try:
            committed = writer.commit(*state(next(self.numbers), size=SIZE))
        except (StoreError, CheckpointConflict):
            continue
        self.acknowledged.append((committed.seq, committed.manifest_id))


RULES = (
    no_fence,
    listing_after_the_fence,
    no_second_mark,
    stale_writer,
    numbers_for_digests,
    condemned_packs_are_kept,
    commits_are_fences,
    sweeping_writer,
    early_deletion,
    blind_reuse,
)


@pytest.mark.parametrize("switch_off", RULES, ids=lambda rule: rule.__name__)
def test_every_rule_is_needed(switch_off: Callable[[Patch], None], monkeypatch: Patch) -> None:
    """Without any one of the rules there is a schedule that loses something."""
    switch_off(monkeypatch)
    assert first_broken(range(400)) is not None


# -- schedules that chance hardly finds --------------------------------------------------------------------------


class Stage:
    """A store, and actors that are led by hand, from one operation on it to the next."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        Repository.open(self.store)
        self.actors: list[Actor] = []

    def enter(self, work: Callable[[Actor], None]) -> Actor:
        self.actors.append(Actor(self.store, work, Calm()))
        return self.actors[-1]

    def whole(self) -> bool:
        """Whether the newest snapshot can be loaded, once all have done what they came for."""
        for actor in self.actors:
            while not actor.done:
                actor.step()
            if actor.problem is not None:
                raise actor.problem
        loaded = Repository.open(self.store).load("train")
        return loaded is not None and not loaded.damaged and check(loaded, size=SIZE) > 0


class Calm(random.Random):
    """Chance that never strikes."""

    def random(self) -> float:
        return 1.0


def lead(actor: Actor, arrived: Callable[[], bool]) -> None:
    """Let an actor go on until something is so."""
    while not arrived():
        assert not actor.done, actor.problem
        actor.step()


def save(actor: Any, number: int, keep: int, *, final: bool = False) -> None:
    repository = Repository.open(actor, create=False)
    writer = repository.writer("train", keep=keep, based_on=repository.load("train"))
    writer.commit(*state(number, size=SIZE), final=final)
    writer.close()


def overtaken() -> bool:
    """A prune sleeps behind its fence; a new run goes on from there, and drops the snapshot that the prune marks."""
    stage = Stage()
    has = stage.store.blobs.__contains__
    save(stage.store, 1, keep=1)
    slow = stage.enter(lambda actor: save(actor, 2, keep=1))
    lead(slow, lambda: sum("/manifests/" in key for key in stage.store.blobs) == 2)
    sweeper = stage.enter(lambda actor: Repository.open(actor, create=False).prune("train", grace=0) and None)
    lead(sweeper, lambda: has("train/prune/00000001.json"))
    lead(slow, lambda: slow.done)
    lead(sweeper, lambda: has("train/log/00000003.json"))
    save(stage.store, 2, keep=1, final=True)  # of the same bytes
    return stage.whole()


def in_a_gap() -> bool:
    """A prune sleeps before its fence; when it wakes up, the log is long past its place, which is free once more."""
    stage = Stage()
    has = stage.store.blobs.__contains__
    save(stage.store, 1, keep=3)
    slow = stage.enter(lambda actor: save(actor, 2, keep=3))
    lead(slow, lambda: sum("/manifests/" in key for key in stage.store.blobs) == 2)
    sweeper = stage.enter(lambda actor: Repository.open(actor, create=False).prune("train", grace=0) and None)
    lead(sweeper, lambda: has("train/prune/00000001.json"))
    lead(sweeper, lambda: sweeper.doing == "put")
    lead(slow, lambda: slow.done)
    for number in (1, 2, 3):
        stage.store.put(f"train/packs/{number:032x}", [b"left by a run that was killed"])
        Repository.open(stage.store).prune("train", grace=0)
    assert not has("train/log/00000002.json")
    return stage.whole()


@pytest.mark.parametrize(("schedule", "switch_off"), [(overtaken, goes_on_without_a_manifest), (in_a_gap, stale_prune)])
def test_rare_schedules(schedule: Callable[[], bool], switch_off: Callable[[Patch], None], monkeypatch: Patch) -> None:
    """Nothing is lost; and something would be, without the one rule that is there for it."""
    assert schedule()
    switch_off(monkeypatch)
    with contextlib.suppress(DamagedSnapshot):
        assert not schedule()


def lonely(seed: int) -> int:
    """Let a lone writer save, where responses get lost; return how many commits it was told of."""
    world = World(seed)
    actor = Actor(world.store, world.work, random.Random(seed))
    while not actor.done:
        actor.step()
    assert actor.problem is None
    assert not actor.conflicts, "refused, and there is nobody else"
    return len(world.acknowledged)


def test_a_lone_writer_is_never_refused(monkeypatch: Patch) -> None:
    """An entry of one's own whose response was lost is known again, and taken for success."""
    assert sum(map(lonely, range(30))) > 100
    monkeypatch.setattr(writer, "read_entry", lambda *_: b"somebody else's")
    with pytest.raises(AssertionError):
        sum(map(lonely, range(100)))
