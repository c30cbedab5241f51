"""Twenty saves write what their edits change, rounded up to chunks, and hardly more.

The workloads are arrays of which some pages change, a stretch changes, or the end grows, a thirtieth of the size that
they were measured at. What fixed chunks of 64 KiB must write there is known by arithmetic; measured at 1.07 GB it was
160 MB, 10.8 MB and 10.8 MB a save.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from nbckpt.storage.chunks import SMALL_CHUNK
from nbckpt.storage.repository import Repository
from nbckpt.storage.snapshot import PartData
from nbckpt.testing.faults import MemoryStore

PAGE = 4096
ARRAYS, ARRAY = 4, 144 * SMALL_CHUNK  # 38 MB
TOTAL = ARRAYS * ARRAY
SAVES = 20

Arrays = list[bytearray]


def scattered(arrays: Arrays, rng: random.Random) -> float:
    """Change one page in a hundred: a chunk of 16 pages stays as it is with 0.99 ** 16."""
    pages = range(TOTAL // PAGE)
    for page in rng.sample(pages, len(pages) // 100):
        array, at = divmod(page * PAGE, ARRAY)
        arrays[array][at : at + PAGE] = rng.randbytes(PAGE)
    return (1 - 0.99 ** (SMALL_CHUNK // PAGE)) * TOTAL


def contiguous(arrays: Arrays, rng: random.Random) -> float:
    """Change one hundredth in one piece: what it covers, and on average one chunk more."""
    size = TOTAL // 100
    at = rng.randrange(ARRAY - size)
    rng.choice(arrays)[at : at + size] = rng.randbytes(size)
    return size + SMALL_CHUNK


def appended(arrays: Arrays, rng: random.Random) -> float:
    """Append one hundredth: that, and on average half of the chunk that was the last."""
    size = TOTAL // 100
    rng.choice(arrays).extend(rng.randbytes(size))
    return size + SMALL_CHUNK / 2


def nothing(_: Arrays, __: random.Random) -> float:
    """Change nothing."""
    return 0


@pytest.mark.parametrize("edit", [scattered, contiguous, appended, nothing], ids=lambda edit: edit.__name__)
def test_twenty_saves(edit: Callable[[Arrays, random.Random], float]) -> None:
    """All that reaches the store, tables, manifests and log included, is within a tenth of what chunks must write."""
    rng = random.Random(1)
    arrays = [bytearray(rng.randbytes(ARRAY)) for _ in range(ARRAYS)]
    store = MemoryStore()
    writer = Repository.open(store).writer("train", keep=1)

    def save() -> int:
        store.written.clear()
        buffers = [memoryview(bytes(array)) for array in arrays]
        told = writer.commit({}, [PartData("p", b"stream", buffers, {})]).bytes_written
        assert told == sum(len(blob) for _, blob in store.written)
        return told

    assert save() < 1.01 * TOTAL
    written = expected = 0.0
    for _ in range(SAVES):
        expected += edit(arrays, rng)
        written += save()
    assert written < 1.1 * expected + SAVES * 8192, written / max(1, expected)
    assert written > 0.9 * expected
