"""Stores on filesystems of fsspec: what they can do they do, what they cannot they say."""

from __future__ import annotations

import errno
import io
import itertools
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from states import check, state

from nbckpt.errors import AlreadyExists, CheckpointConflict, NotFound, OptionError, StoreError
from nbckpt.storage.repository import Repository
from nbckpt.storage.signing import signing_key
from nbckpt.storage.stores import Store, open_store
from nbckpt.storage.writer import Writer
from nbckpt.testing.stores import StoreTests

fsspec = pytest.importorskip("fsspec")
memory = pytest.importorskip("fsspec.implementations.memory")

_places = itertools.count()


class TestMemory(StoreTests):
    @pytest.fixture
    def store(self) -> Store:
        return open_store(f"memory://tests/{next(_places)}")


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("paramiko")
    with servers.sftp(tmp_path_factory.mktemp("sftp")) as (url, _):
        yield url


class TestSFTP(StoreTests):
    big = 3 * 1024 * 1024

    @pytest.fixture
    def store(self, sftp: str) -> Store:
        return open_store(sftp.replace("PATH", f"tests/{next(_places)}"))

    def address(self, store: Store) -> str:
        return store.url


class Plain(memory.MemoryFileSystem):  # type: ignore[name-defined,misc]
    """A filesystem of which nothing is known, and that moves no file onto another."""

    protocol = "plain"

    def mv(self, path1: str, path2: str, **_: object) -> None:
        if self.exists(path2):
            raise FileExistsError(path2)
        super().mv(path1, path2)


@pytest.fixture
def plain() -> str:
    fsspec.register_implementation("plain", Plain, clobber=True)
    return f"plain://tests/{next(_places)}"


def test_a_filesystem_of_which_nothing_is_known(plain: str) -> None:
    """It says that it cannot create once; somebody has to vouch, and then it keeps snapshots."""
    with pytest.raises(StoreError) as caught:
        open_store(plain).put("k", [b"1"], if_absent=True)
    assert caught.value.errno == errno.ENOTSUP
    with pytest.raises(StoreError, match="single_writer=true"):
        Repository.open(plain)
    assert list(open_store(plain).list("")) == []
    repository = Repository.open(f"{plain}?single_writer=true")
    writer = repository.writer("train")
    for number in (1, 2):
        writer.commit(*state(number))
        repository.write_status("train", {"at": number})
    assert check(Repository.open(plain).load("train")) == 2
    assert repository.status("train") == {"at": 2}


def test_a_writer_that_goes_on_elsewhere_looks_first_too(plain: str) -> None:
    """What another process takes over of a writer says that the store cannot create once."""
    writer = Repository.open(f"{plain}?single_writer=true").writer("train")
    record, chunks = writer.dismantled()
    again = Writer.assembled(json.loads(json.dumps(record)), chunks, open_store(plain), signing_key())
    again.commit(*state(1))
    assert check(Repository.open(plain).load("train")) == 1
    with pytest.raises(CheckpointConflict):
        writer.commit(*state(2))


class Sloppy(Plain):
    """One that tells of failures as FTP does: late, by the wrong kind of error, and in words of its own."""

    protocol = "sloppy"
    broken = False

    def open(self, path: str, mode: str = "rb", **options: object) -> Any:
        path = self._strip_protocol(path)
        if mode == "wb" and not self.isdir(path.rpartition("/")[0]):
            return Unwritable()
        return super().open(path, mode, **options)

    def rm_file(self, path: str) -> None:
        if self.broken or not self.exists(path):
            msg = "550 File delete failed."
            raise RuntimeError(msg)
        super().rm_file(path)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: object) -> Any:
        if self.broken:
            raise FileNotFoundError(path)
        return super().cat_file(path, start, end, **options)


class Unwritable(io.BytesIO):
    """A file whose folder is missing, which shows when it is closed."""

    def close(self) -> None:
        if not self.closed:
            super().close()
            msg = "450 error during transfer: file does not exist"
            raise RuntimeError(msg)


def test_failures_that_are_told_badly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are made before files; only what is not there is absent, and forgetting that is no error."""
    fsspec.register_implementation("sloppy", Sloppy, clobber=True)
    store = open_store(f"sloppy://tests/{next(_places)}")
    store.put("a/b/c", [b"123"])
    store.delete(["a/b/d", "x/y"])
    with pytest.raises(NotFound):
        store.get("a/b/d")
    monkeypatch.setattr(Sloppy, "broken", True)
    with pytest.raises(StoreError) as caught:
        store.get("a/b/c")
    assert not isinstance(caught.value, NotFound)
    with pytest.raises(StoreError, match="550"):
        store.delete(["a/b/c"])
    monkeypatch.undo()
    assert store.get("a/b/c") == b"123"


@pytest.mark.parametrize("kind", ["memory", "sftp"])
def test_snapshots(kind: str, sftp: str) -> None:
    """Saved, found again, verified and removed."""
    url = f"memory://snapshots/{next(_places)}" if kind == "memory" else sftp.replace("PATH", "snapshots/here")
    writer = Repository.open(url).writer("train", keep=2)
    for number in (1, 2, 3):
        writer.commit(*state(number))
    other = Repository.open(url)
    assert check(other.load("train")) == 3
    assert other.verify("train") == []
    assert other.names() == ["train"]
    other.remove("train")
    assert [entry.key for entry in open_store(url).list("")] == ["nbckpt.json"]


def test_a_server_that_went_away_is_not_empty(tmp_path: Path) -> None:
    """Each use is an error: where a connection has fallen silent, and where none can be made."""
    pytest.importorskip("paramiko")
    with servers.sftp(tmp_path / "a") as (url, process):
        store = open_store(url.replace("PATH", "x") + "&timeout=0.5")
        store.put("k", [b"1"])
        process.send_signal(signal.SIGSTOP)
        assert_unusable(store)
        process.send_signal(signal.SIGCONT)
        assert store.get("k") == b"1"
    assert_unusable(store)


def assert_unusable(store: Store) -> None:
    uses: list[Callable[[], object]] = [
        lambda: store.get("k"),
        lambda: store.get("other"),
        lambda: list(store.list("")),
        lambda: store.put("k", [b"2"]),
        lambda: store.put("new", [b"2"], if_absent=True),
        lambda: store.delete(["k"]),
        store.now,
    ]
    for use in uses:
        with pytest.raises(StoreError, match="untouched") as caught:
            use()
        assert not isinstance(caught.value, (NotFound, AlreadyExists))
        assert caught.value.errno is None, "it may be back soon"


def test_a_write_that_fails_leaves_nothing(sftp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a half-written blob under its key nor a temporary file."""
    import paramiko

    store = open_store(sftp.replace("PATH", "halves"))
    store.put("k", [b"old"])

    def refuse(*_: object) -> None:
        raise OSError("the connection is gone")

    with monkeypatch.context() as patch:
        patch.setattr(paramiko.SFTPClient, "posix_rename", refuse)
        patch.setattr(paramiko.SFTPClient, "rename", refuse)
        for if_absent, key in ((False, "new"), (True, "newer")):
            with pytest.raises(StoreError):
                store.put(key, [b"x"], if_absent=if_absent)
    assert [entry.key for entry in store.list("")] == ["k"]
    assert store.get("k") == b"old"
    filesystem = store._idle[-1]
    assert [info["name"] for info in filesystem.ls("/halves", detail=True)] == ["/halves/k"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sftp://me:secret@host/x", "password in the URL .* FSSPEC_SFTP_PASSWORD"),
        ("nonsense://x", "nonsense"),
        ("gs://bucket/x", "gcsfs"),
        ("memory://x?single_writer=perhaps", "neither true nor false"),
    ],
)
def test_wrong_urls(url: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is said in one sentence, and a password is not repeated."""
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as where it is not installed
    with pytest.raises(OptionError, match=says) as caught:
        open_store(url).get("k")
    assert "secret" not in str(caught.value)


def test_wrong_host_and_wrong_key(sftp: str, tmp_path: Path) -> None:
    """Nobody listens there, or does not let us in."""
    with pytest.raises(StoreError, match="untouched"):
        open_store("sftp://127.0.0.1:9/x").get("k")
    asyncssh = pytest.importorskip("asyncssh")
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(tmp_path / "id"))
    address = sftp.partition("?")[0].replace("PATH", "x")
    with pytest.raises(StoreError, match=r"[Aa]uthentication"):
        open_store(f"{address}?key_filename={tmp_path / 'id'}&allow_agent=false&look_for_keys=false").get("k")


def test_a_key_file_that_is_gone_does_not_make_the_store_empty(sftp: str, tmp_path: Path) -> None:
    """What is missing is on this side: nothing is known of what the store has."""
    url = sftp.replace("PATH", f"tests/{next(_places)}").partition("?")[0]
    store = open_store(f"{url}?key_filename={tmp_path / 'gone'}&look_for_keys=false&allow_agent=false")
    for ask in (lambda: store.get("a"), lambda: list(store.list("")), lambda: store.delete(["a"])):
        with pytest.raises(StoreError) as caught:
            ask()
        assert not isinstance(caught.value, NotFound)
        assert "gone" in str(caught.value)
