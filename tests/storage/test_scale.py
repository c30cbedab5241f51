"""What a save, a restore and a beginning ask of a store does not grow with all that was ever saved there."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from nbckpt.storage.log import Kept, LogEntry, encode_entry, log_key, read_head
from nbckpt.storage.repository import Repository
from nbckpt.storage.retention import Mark, Retention
from nbckpt.storage.signing import known_keys, signing_key
from nbckpt.storage.snapshot import PartData
from nbckpt.storage.stores import Buffer, Entry, Store
from nbckpt.testing.faults import MemoryStore

MANY = 200


class Counting:
    """A store that counts what it is asked for."""

    single_writer = False

    def __init__(self, store: Store) -> None:
        self.store = store
        self.asked: Counter[str] = Counter()
        self.written = self.read = 0

    @property
    def url(self) -> str:
        return self.store.url

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        self.asked["put"] += 1
        self.written += sum(map(len, bufs))
        self.store.put(key, bufs, if_absent=if_absent)

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        self.asked["get"] += 1
        return self.store.get(key, start, end)

    def get_into(self, key: str, start: int, target: memoryview) -> int:
        self.asked["get_into"] += 1
        self.read += len(target)
        return self.store.get_into(key, start, target)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        self.asked["list"] += 1
        for entry in self.store.list(prefix, start_after):
            self.asked["listed"] += 1
            yield entry

    def delete(self, keys: Iterable[str]) -> None:
        gone = list(keys)
        self.asked["deleted"] += len(gone)
        self.store.delete(gone)

    def now(self) -> float:
        return self.store.now()

    def during(self, work: Callable[[], object]) -> Counter[str]:
        self.asked.clear()
        self.written = self.read = 0
        work()
        return +self.asked


@pytest.fixture
def store() -> Counting:
    return Counting(MemoryStore())


def test_what_is_gone_costs_nothing(store: Counting) -> None:
    """With three that stay, the three hundredth save, a restore and a beginning are as the thirtieth ones."""
    repository = Repository.open(store)
    writer = repository.writer("train", keep=3)
    seen: list[list[Counter[str]]] = []
    for number in range(1, 301):
        save = store.during(lambda n=number: writer.commit({}, [PartData("p", b"%d" % n, [], {})]))  # type: ignore[misc]
        if number in (30, 300):
            load = store.during(lambda: repository.load("train"))
            begin = store.during(lambda: repository.writer("train", keep=3))
            seen.append([save, load, begin])
    assert seen[0] == seen[1]
    assert len([*store.list("")]) < 40


def test_what_stays_costs_a_line_each(store: Counting) -> None:
    """With all that stay, a save and a restore ask as often as with few; the entry grows by a line for each."""
    repository = Repository.open(store)
    seen: dict[int, tuple[Counter[str], int, Counter[str]]] = {}
    writer = repository.writer("train", keep=10**6)
    for number in range(1, MANY + 1):
        save = store.during(lambda n=number: writer.commit({}, [PartData("p", b"%d" % n, [], {})]))  # type: ignore[misc]
        seen[number] = save, store.written, store.during(lambda: repository.load("train", seq=number))  # noqa: B023
    few, many = seen[20], seen[MANY]
    assert (few[0], few[2]) == (many[0], many[2])
    assert many[1] - few[1] < 90 * (MANY - 20)
    began = store.during(lambda: repository.writer("train", keep=10**6))
    assert began["get"] < MANY + 10


def test_many_may_stay(store: Counting) -> None:
    """An entry that lists very many snapshots is read like any other: nobody is told to keep fewer."""
    key, keep = signing_key(), tuple(Kept(seq, f"{seq:064x}", 900) for seq in range(50_000, 0, -1))
    entry = LogEntry("store", "train", 50_000, "", "w", {}, 0.0, keep)
    store.put(log_key("train", 50_000), [encode_entry(entry, key)])
    head = read_head(store, "store", "train", {**known_keys(""), key.id: key})
    assert head is not None
    assert head.damage == {}
    assert head.entry is not None
    assert head.entry.keep == keep
    marks = [(kept, Mark({}, "", 0, 0.0)) for kept in keep]
    assert len(Retention(40_000).kept(marks, final=False)) == 40_000


def test_chunks_are_not_asked_for_one_by_one(store: Counting) -> None:
    """Twenty thousand of them are a few packs, and are read in long runs; one that changes is one that is written."""
    repository = Repository.open(store)
    noise = random.Random(1)
    buffers = [bytearray(noise.randbytes(2000)) for _ in range(20_000)]

    def parts() -> list[PartData]:
        return [PartData("p", b"stream", [memoryview(one) for one in buffers], {})]

    writer = repository.writer("train")
    first = store.during(lambda: writer.commit({}, parts()))
    assert first["put"] <= 40_000_000 // 16_000_000 + 4
    buffers[777][:4] = b"new!"
    second = store.during(lambda: writer.commit({}, parts()))
    assert second["put"] == 3  # a pack, the manifest, the entry
    load = store.during(lambda: repository.load("train"))
    assert load["get_into"] <= 40_000_000 // 4_000_000 + 8
    assert store.read < 1.01 * 40_000_000
