"""Stores keep their contract, and the local one is careful with people's disks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbckpt.errors import AlreadyExists, NotFound, OptionError, StoreError
from nbckpt.storage.stores import Store, local, open_store
from nbckpt.storage.stores.local import LocalStore
from nbckpt.storage.stores.retrying import Retrying
from nbckpt.testing.faults import Faulty, MemoryStore
from nbckpt.testing.stores import StoreTests


class TestMemory(StoreTests):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestLocal(StoreTests):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return LocalStore(tmp_path / "store")

    def address(self, store: Store) -> str:
        return store.url


class TestLocalWithoutLinks(StoreTests):
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        def link(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
        return LocalStore(tmp_path / "store")


class TestRetrying(StoreTests):
    @pytest.fixture
    def store(self) -> Store:
        return Retrying(MemoryStore())


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".tmp-*")]


def test_opening_creates_nothing(tmp_path: Path) -> None:
    """Looking at a store that does not exist leaves no trace."""
    store = open_store(str(tmp_path / "store"))
    assert list(store.list("")) == []
    assert not (tmp_path / "store").exists()


def test_ignores_itself_in_git(tmp_path: Path) -> None:
    """A folder that we create stays out of git; one that was there is not ours to hide."""
    open_store(str(tmp_path / "new")).put("a/b", [b""])
    assert (tmp_path / "new" / ".gitignore").read_text() == "*\n"
    (tmp_path / "old").mkdir()
    open_store(str(tmp_path / "old")).put("a/b", [b""])
    assert not (tmp_path / "old" / ".gitignore").exists()


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are taken as people write them, once and for all when the store is opened."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    relative = open_store("here")
    monkeypatch.chdir("/")
    assert relative.url == str(tmp_path / "here")
    assert open_store("~/there").url == str(tmp_path / "home" / "there")
    assert open_store(f"file://{tmp_path}/with%20blank").url == str(tmp_path / "with blank")
    for url in ("file://host/x", "", "a\0b", "s3://", "s3:///x", "s3://b/../x", "s3://b/x?colour=red", "file:/x"):
        with pytest.raises(OptionError):
            open_store(url)
    assert open_store("./s3:/b").url == "/s3:/b"


def test_another_machines_folder() -> None:
    """What is wrong with the URL of a folder is in the message, with what would be right."""
    with pytest.raises(OptionError, match=r"file://host/x.* file:///"):
        open_store("file://host/x")


def test_error_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up in the middle: one sentence, the old blob as it was, the half-written one gone."""
    store = LocalStore(tmp_path / "store")
    store.put("a/k", [b"old"])

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreError, match=r"disk is full.*untouched") as caught:
        store.put("a/k", [b"new"])
    assert caught.value.errno == errno.ENOSPC
    assert not isinstance(caught.value, NotFound)
    assert store.get("a/k") == b"old"
    assert leftovers(tmp_path) == []


def test_file_size_limit(tmp_path: Path) -> None:
    """The same with a real limit of the operating system."""
    script = (
        "import resource, signal, sys; from pathlib import Path; from nbckpt.errors import StoreError\n"
        "from nbckpt.storage.stores.local import LocalStore\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "store = LocalStore(Path(sys.argv[1]))\n"
        "store.put('small', [b'x' * 1000])\n"
        "try: store.put('large', [b'x' * 65536] * 4)\n"
        "except StoreError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script, tmp_path / "store"], capture_output=True, text=True, check=True)
    assert "large" in run.stdout
    assert leftovers(tmp_path) == []
    assert [entry.key for entry in LocalStore(tmp_path / "store").list("")] == ["small"]


def test_many_pieces_written_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system writes only in part is written to its end, however many pieces there are."""
    written = os.writev
    asked: list[int] = []

    def writev(fd: int, pieces: list[memoryview]) -> int:
        asked.append(len(pieces))
        some = b"".join(pieces)
        return written(fd, [some[: max(1, len(some) // 3)]])

    monkeypatch.setattr(os, "writev", writev)
    store = LocalStore(tmp_path / "store")
    pieces = [bytes([k % 256]) * (k % 7) for k in range(3000)]
    store.put("k", pieces)
    assert store.get("k") == b"".join(pieces)
    assert 1 < max(asked) <= 1024


def test_folder_that_becomes_a_file_while_it_is_listed(tmp_path: Path) -> None:
    """It is an error of the store, as any other."""
    store = LocalStore(tmp_path / "store")
    for key in ("a/1", "a/2"):
        store.put(key, [b""])
    listing = store.list("")
    assert next(listing).key == "a/1"
    (tmp_path / "store" / "a").rename(tmp_path / "away")
    (tmp_path / "store" / "a").write_text("in the way")
    with pytest.raises(StoreError, match="choose another folder"):
        next(listing)


def test_path_is_a_file(tmp_path: Path) -> None:
    """A file where a folder should be is an error, never an empty store."""
    (tmp_path / "store").write_text("mine")
    store = LocalStore(tmp_path / "store")
    with pytest.raises(StoreError, match="not a folder"):
        store.put("a/b", [b""])
    with pytest.raises(StoreError, match="not a folder"):
        list(store.list(""))
    with pytest.raises(StoreError) as caught:
        store.get("a/b")
    assert not isinstance(caught.value, NotFound)
    assert (tmp_path / "store").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path: Path) -> None:
    """A folder one may not write to is named, with what to do."""
    (tmp_path / "store").mkdir(mode=0o500)
    with pytest.raises(StoreError, match="permission was denied"):
        LocalStore(tmp_path / "store").put("a/b", [b""])


@pytest.mark.parametrize(
    ("number", "says"), [(errno.EROFS, "read-only"), (errno.EACCES, "permission"), (errno.EIO, "Input/output")]
)
def test_every_refusal_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str) -> None:
    """What the operating system says becomes one sentence that names the file."""
    store = LocalStore(tmp_path / "store")
    store.put("a/k", [b"old"])

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(local, "FileIO", refuse)
    for use in (lambda: store.put("a/k", [b""]), lambda: store.get("a/k")):
        with pytest.raises(StoreError, match=says) as caught:
            use()
        assert str(tmp_path / "store" / "a" / "k") in str(caught.value)
        assert not isinstance(caught.value, (NotFound, AlreadyExists))


def test_killed_writers_are_cleaned_up_after(tmp_path: Path) -> None:
    """Temporary files are never listed; those older than a day go when a writer comes, younger ones may be in use."""
    store = LocalStore(tmp_path / "store")
    store.put("a/k", [b""])
    for name, age in ((".tmp-old", 25 * 3600), (".tmp-new", 3600)):
        path = tmp_path / "store" / "a" / name
        path.write_text("half")
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert [entry.key for entry in store.list("")] == ["a/k"]
    LocalStore(tmp_path / "store").put("a/other", [b""])
    assert leftovers(tmp_path) == [".tmp-new"]


def test_kill_between_claim_and_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hard links, an error while naming gives the name free again."""
    store = LocalStore(tmp_path / "store")
    store.put("other", [b""])

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(os, "link", refuse)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(StoreError):
            store.put("k", [b"x"], if_absent=True)
    store.put("k", [b"x"], if_absent=True)
    assert store.get("k") == b"x"


@pytest.mark.parametrize("times", [1, 3])
def test_short_failures_are_waited_out(times: int) -> None:
    """Up to three failures in a row nobody hears of, listings included."""
    inner = MemoryStore()
    for key in ("a", "b", "c"):
        inner.put(key, [key.encode()])
    for use in (
        lambda store: store.get("a") == b"a",
        lambda store: store.put("a", [b"a"]) is None,
        lambda store: [entry.key for entry in store.list("")] == ["a", "b", "c"],
        lambda store: store.get_into("b", 0, memoryview(bytearray(1))) == 1,
    ):
        assert use(Retrying(Faulty(inner, 1, times=times)))


def test_long_failures_are_raised() -> None:
    """The fourth failure is the caller's."""
    with pytest.raises(StoreError, match="network"):
        Retrying(Faulty(MemoryStore(), 1, times=4)).get("a")


def test_hopeless_failures_are_raised_at_once() -> None:
    """A full disk does not empty itself within seconds."""
    faulty = Faulty(MemoryStore(), 1, errno=errno.ENOSPC)
    with pytest.raises(StoreError):
        Retrying(faulty).put("a", [b""])
    assert faulty.count == 1
