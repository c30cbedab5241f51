"""What every store must do: inherit `StoreContract` and provide the fixture `store`, empty."""

from __future__ import annotations

import threading

import pytest

from nbckpt.errors import AlreadyExists, NotFound, OptionError
from nbckpt.storage.stores import Store


class StoreContract:
    def test_keeps_what_was_put(self, store: Store) -> None:
        """All pieces come back as one blob, whatever their type."""
        store.put("a/b", [b"one", bytearray(b"two"), memoryview(b"three")])
        assert store.get("a/b") == b"onetwothree"

    def test_empty_blob(self, store: Store) -> None:
        """Nothing is something: an empty blob exists."""
        store.put("empty", [])
        assert store.get("empty") == b""
        assert [entry.size for entry in store.list("")] == [0]

    def test_put_replaces(self, store: Store) -> None:
        """A plain put has the last word."""
        store.put("k", [b"old, and longer"])
        store.put("k", [b"new"])
        assert store.get("k") == b"new"

    def test_put_if_absent_refuses(self, store: Store) -> None:
        """A key that is taken stays as it is."""
        store.put("k", [b"first"], if_absent=True)
        with pytest.raises(AlreadyExists):
            store.put("k", [b"second"], if_absent=True)
        assert store.get("k") == b"first"

    def test_put_if_absent_after_delete(self, store: Store) -> None:
        """A key that was deleted is absent."""
        store.put("k", [b"first"], if_absent=True)
        store.delete(["k"])
        store.put("k", [b"second"], if_absent=True)
        assert store.get("k") == b"second"

    def test_one_racer_wins(self, store: Store) -> None:
        """Of many that create one key at the same time exactly one does, and its bytes are the blob."""
        for round_ in range(20):
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

            threads = [threading.Thread(target=race, args=(me,)) for me in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(won) == 1
            assert store.get(f"race/{round_}") == b"%d" % won[0]

    def test_ranges(self, store: Store) -> None:
        """A range gives the bytes there are in it, fewer at the end of the blob."""
        store.put("k", [bytes(range(100))])
        assert store.get("k", 10, 20) == bytes(range(10, 20))
        assert store.get("k", 90, 200) == bytes(range(90, 100))
        assert store.get("k", 90) == bytes(range(90, 100))
        assert store.get("k", 100, 200) == b""
        target = bytearray(20)
        assert store.get_into("k", 30, memoryview(target)) == 20
        assert target == bytes(range(30, 50))
        assert store.get_into("k", 95, memoryview(target)) == 5
        assert target[:5] == bytes(range(95, 100))

    def test_absence(self, store: Store) -> None:
        """What is not there is `NotFound`, in a folder that exists and in one that does not."""
        store.put("a/b", [b""])
        for key in ("a/c", "x/y/z", "a"):
            with pytest.raises((NotFound, OSError)):
                store.get(key)
        with pytest.raises(NotFound):
            store.get("a/c")
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

    def test_delete(self, store: Store) -> None:
        """Deleting forgets what is there, and what is not there is no error."""
        store.put("a/b", [b"1"])
        store.put("a/c", [b"2"])
        store.delete(["a/b", "a/b", "not/there"])
        assert [entry.key for entry in store.list("")] == ["a/c"]
        store.delete(["a/c"])
        assert list(store.list("")) == []
        store.put("a/b", [b"again"])
        assert store.get("a/b") == b"again"

    def test_its_own_clock(self, store: Store) -> None:
        """Times in a listing and the store's clock can be compared."""
        store.put("k", [b""])
        (entry,) = store.list("")
        assert abs(store.now() - entry.mtime) < 3600

    @pytest.mark.parametrize("key", ["../x", "a/../b", "/etc/passwd", "a//b", ".hidden", "", "a/", "a\0b", "a\\b", "ä"])
    def test_no_way_out(self, store: Store, key: str) -> None:
        """No key leads out of the store."""
        for use in (lambda: store.put(key, [b""]), lambda: store.get(key), lambda: store.delete([key])):
            with pytest.raises(OptionError):
                use()
