"""What every store must do: inherit `StoreTests` in a test module and provide the fixture `store`, empty.

class TestMine(StoreTests):
    @pytest.fixture
    def store(self, tmp_path):
        return MyStore(tmp_path)

    def address(self, store):
        return store.url  # another process reaches it by this; leave it out if none can
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

import nbckpt
from nbckpt.errors import AlreadyExists, NotFound, OptionError
from nbckpt.storage.stores import Store

_ANOTHER_PROCESS = """
import sys
from nbckpt.errors import AlreadyExists
from nbckpt.storage.stores import open_store

url, me = sys.argv[1:]
store = open_store(url)
list(store.list("none/"))  # whatever takes long the first time
print("ready", flush=True)
sys.stdin.readline()
for round_ in range(10):
    try:
        store.put(f"race/{round_}", [me.encode()], if_absent=True)
        print(round_, flush=True)
    except AlreadyExists:
        pass
"""


class StoreTests:
    """The contract of `nbckpt.storage.stores.Store`, as tests.

    `many` keys are what a listing has to page through; `big` bytes are one blob.
    """

    many = 60
    big = 20 * 1024 * 1024

    def address(self, store: Store) -> str | None:  # noqa: ARG002 - for those that have one
        """Return the URL by which another process opens this store, None if there is no such thing."""
        return None

    def test_keeps_what_was_put(self, store: Store) -> None:
        """All pieces come back as one blob, whatever their type."""
        store.put("a/b", [b"one", bytearray(b"two"), memoryview(b"three")])
        assert store.get("a/b") == b"onetwothree"

    def test_empty_blob(self, store: Store) -> None:
        """Nothing is something: an empty blob exists."""
        store.put("empty", [])
        store.put("as/empty", [b"", b""], if_absent=True)
        assert store.get("empty") == b""
        assert store.get("empty", 0, 10) == b""
        assert store.get_into("as/empty", 0, memoryview(bytearray(3))) == 0
        assert [entry.size for entry in store.list("")] == [0, 0]
        with pytest.raises(AlreadyExists):
            store.put("empty", [b"x"], if_absent=True)

    def test_big_blob(self, store: Store) -> None:
        """A blob of many pieces comes back whole, read at once, in ranges, and by several threads into one buffer."""
        content = random.Random(0).randbytes(self.big)
        cuts = [0, 1, self.big // 3, self.big // 3 + 70_000, self.big]
        store.put("big", [memoryview(content)[a:b] for a, b in pairwise(cuts)])
        assert store.get("big") == content
        assert next(store.list("big")).size == self.big
        target, step = memoryview(bytearray(self.big)), self.big // 7

        def read(start: int) -> int:
            return store.get_into("big", start, target[start : start + step])

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(read, range(0, self.big, step))) == self.big
        assert target == content

    def test_put_replaces(self, store: Store) -> None:
        """A plain put has the last word."""
        store.put("k", [b"old, and longer"])
        store.put("k", [b"new"])
        assert store.get("k") == b"new"
        assert [entry.size for entry in store.list("k")] == [3]

    def test_seen_whole_or_not_at_all(self, store: Store) -> None:
        """Who reads while it is replaced gets the old blob or the new one, never a mixture or a piece."""
        blobs = [bytes([k]) * 200_000 for k in range(2)]
        store.put("k", [blobs[0]])
        seen: list[bytes] = []
        over = threading.Event()

        def read() -> None:
            while not over.is_set():
                seen.append(store.get("k"))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for turn in range(10):
                store.put("k", [blobs[turn % 2][:70_000], blobs[turn % 2][70_000:]])
        finally:
            over.set()
            reader.join()
        assert all(blob in blobs for blob in seen)

    def test_put_if_absent_refuses(self, store: Store) -> None:
        """A key that is taken stays as it is."""
        store.put("k", [b"first"], if_absent=True)
        with pytest.raises(AlreadyExists):
            store.put("k", [b"second"], if_absent=True)
        store.put("plain", [b"first"])
        with pytest.raises(AlreadyExists):
            store.put("plain", [b""], if_absent=True)
        assert store.get("k") == store.get("plain") == b"first"

    def test_put_if_absent_after_delete(self, store: Store) -> None:
        """A key that was deleted is absent."""
        store.put("k", [b"first"], if_absent=True)
        store.delete(["k"])
        store.put("k", [b"second"], if_absent=True)
        assert store.get("k") == b"second"

    def test_one_racer_wins(self, store: Store) -> None:
        """Of many threads that create one key at the same time exactly one does, and its bytes are the blob."""
        for round_ in range(10):
            start = threading.Barrier(8)
            won: list[int] = []

            def race(
                me: int, key: str = f"race/{round_}", start: threading.Barrier = start, won: list[int] = won
            ) -> None:
                start.wait()
                try:
                    store.put(key, [b"%d" % me], if_absent=True)
                    won.append(me)
                except AlreadyExists:
                    pass

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(race, range(8)))
            assert len(won) == 1
            assert store.get(f"race/{round_}") == b"%d" % won[0]

    def test_one_racing_process_wins(self, store: Store) -> None:
        """The same with processes; what they created is seen here as soon as they say so."""
        address = self.address(store)
        if address is None:
            pytest.skip("no other process can reach this store")
        command = [sys.executable, "-c", _ANOTHER_PROCESS, address]
        above = str(Path(nbckpt.__file__).parent.parent)
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([above, os.environ.get("PYTHONPATH", "")])}
        racers = [
            subprocess.Popen([*command, str(me)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
            for me in range(3)
        ]
        try:
            for racer in racers:
                assert racer.stdout is not None
                assert racer.stdout.readline() == "ready\n"
            for racer in racers:
                assert racer.stdin is not None
                racer.stdin.write("go\n")
                racer.stdin.flush()
            won = {me: racer.communicate()[0].split() for me, racer in enumerate(racers)}
        finally:
            for racer in racers:
                racer.kill()
                racer.wait()
        assert sorted(key for keys in won.values() for key in keys) == sorted(map(str, range(10)))
        for me, keys in won.items():
            assert [store.get(f"race/{key}") for key in keys] == [b"%d" % me] * len(keys)

    def test_ranges(self, store: Store) -> None:
        """A range gives the bytes there are in it, fewer at the end of the blob."""
        store.put("k", [bytes(range(100))])
        assert store.get("k", 10, 20) == bytes(range(10, 20))
        assert store.get("k", 0, 1) == b"\0"
        assert store.get("k", 90, 200) == bytes(range(90, 100))
        assert store.get("k", 90) == bytes(range(90, 100))
        assert store.get("k", 100, 200) == store.get("k", 100) == store.get("k", 300, 400) == b""
        assert store.get("k", 5, 5) == b""
        target = bytearray(20)
        assert store.get_into("k", 30, memoryview(target)) == 20
        assert target == bytes(range(30, 50))
        assert store.get_into("k", 95, memoryview(target)) == 5
        assert target[:5] == bytes(range(95, 100))
        assert store.get_into("k", 100, memoryview(target)) == 0

    def test_absence(self, store: Store) -> None:
        """What is not there is `NotFound`, in a folder that exists and in one that does not."""
        store.put("a/b", [b""])
        for key in ("a/c", "x/y/z", "a"):
            with pytest.raises((NotFound, OSError)):
                store.get(key)
        with pytest.raises(NotFound):
            store.get("a/c")
        with pytest.raises(NotFound):
            store.get("a/c", 10, 20)
        with pytest.raises(NotFound):
            store.get("a/c", 5, 5)
        with pytest.raises(NotFound):
            store.get_into("x/y", 0, memoryview(bytearray(1)))

    def test_list(self, store: Store) -> None:
        """Listings are sorted by key, also where a folder's name is the beginning of another's."""
        keys = sorted(["a/1", "a/2", "a-b/1", "a.c", "ab/x/y", "b", "a/0/deep", "B/1"])
        for key in keys:
            store.put(key, [key.encode()])
        assert [entry.key for entry in store.list("")] == keys
        assert [entry.size for entry in store.list("")] == [len(key) for key in keys]
        assert [entry.key for entry in store.list("a/")] == ["a/0/deep", "a/1", "a/2"]
        assert [entry.key for entry in store.list("a")] == [key for key in keys if key.startswith("a")]
        assert [entry.key for entry in store.list("ab/x/")] == ["ab/x/y"]
        assert list(store.list("nothing/here")) == []
        for after in [*keys, "a/", "a/~", "a0", "zzz", "A"]:
            assert [entry.key for entry in store.list("", after)] == [key for key in keys if key > after]
        assert [entry.key for entry in store.list("a/", "a/1")] == ["a/2"]

    def test_list_of_many(self, store: Store) -> None:
        """A listing goes on where a page ends, and shows each change as soon as it was made."""
        keys = [f"log/{k:08d}.json" for k in range(self.many)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put(key, [b"x"]), keys))
        assert [entry.key for entry in store.list("log/")] == keys
        middle = self.many // 2
        assert [entry.key for entry in store.list("log/", keys[middle])] == keys[middle + 1 :]
        store.put("log/99999999.json", [b"x"], if_absent=True)
        assert [entry.key for entry in store.list("log/", keys[-2])] == [keys[-1], "log/99999999.json"]
        store.delete([*keys, "log/99999999.json"])
        assert list(store.list("log/")) == []

    @pytest.mark.parametrize("key", ["A.b-c_d/0.X", "x" * 128, "/".join("abcdefgh"), "0", "a..b/c--d", "CON.1"])
    def test_odd_keys(self, store: Store, key: str) -> None:
        """Whatever may be a key is one, and found again as it was written."""
        store.put(key, [b"1"], if_absent=True)
        assert store.get(key) == b"1"
        assert [entry.key for entry in store.list("")] == [key]
        store.delete([key])
        with pytest.raises(NotFound):
            store.get(key)

    def test_delete(self, store: Store) -> None:
        """Deleting forgets what is there, and what is not there is no error."""
        store.put("a/b", [b"1"])
        store.put("a/c", [b"2"])
        store.delete([])
        store.delete(["a/b", "a/b", "not/there"])
        assert [entry.key for entry in store.list("")] == ["a/c"]
        store.delete(iter(["a/c"]))
        assert list(store.list("")) == []
        store.put("a/b", [b"again"])
        assert store.get("a/b") == b"again"

    def test_its_own_clock(self, store: Store) -> None:
        """Times in a listing and the store's clock can be compared, and the clock leaves nothing behind."""
        store.put("k", [b""])
        now = store.now()
        (entry,) = store.list("")
        assert abs(now - entry.mtime) < 3600

    def test_many_threads(self, store: Store) -> None:
        """One store serves many threads at once, each with what it asked for."""

        def work(me: int) -> bool:
            content = bytes([me]) * (50_000 + me)
            store.put(f"t/{me}", [content])
            return store.get(f"t/{me}") == content and store.get(f"t/{me}", 100) == content[100:]

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(24)))
        assert [entry.size for entry in store.list("t/")] == sorted(
            (50_000 + me for me in range(24)), key=lambda size: str(size - 50_000)
        )

    @pytest.mark.parametrize("key", ["../x", "a/../b", "/etc/passwd", "a//b", ".hidden", "", "a/", "a\0b", "a\\b", "ä"])
    def test_no_way_out(self, store: Store, key: str) -> None:
        """No key leads out of the store."""
        uses: list[Callable[[], object]] = [
            lambda: store.put(key, [b""]),
            lambda: store.get(key),
            lambda: store.get_into(key, 0, memoryview(bytearray(1))),
            lambda: store.delete([key]),
        ]
        for use in uses:
            with pytest.raises(OptionError):
                use()
