"""Large files go to the disk around the page cache where they can, and are the same files in any case."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from nbckpt.errors import StoreError
from nbckpt.storage.stores import direct
from nbckpt.storage.stores.local import LocalStore

fcntl = pytest.importorskip("fcntl")
UNIT = direct._AT_ONCE
pytestmark = pytest.mark.skipif(not direct._DIRECT, reason="this system has no such writes")


def can(folder: Path) -> bool:
    """Whether the file system there takes writes that go around the cache."""
    with (folder / "probe").open("wb") as file:
        return direct.write(file.fileno(), [])


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int]]:
    """Of each write, whether it went around the cache, and how many bytes it took."""
    found: list[tuple[bool, int]] = []
    plain = os.write

    def write(fd: int, data: memoryview) -> int:
        count = plain(fd, data)
        found.append((bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT), count))
        return count

    monkeypatch.setattr(os, "write", write)
    return found


def test_much_goes_around_the_cache(tmp_path: Path, ways: list[tuple[bool, int]]) -> None:
    """But for what is less than a block at its end; little goes as it always did."""
    if not can(tmp_path):
        pytest.skip("this file system does not take such writes")
    store = LocalStore(tmp_path / "store")
    much = os.urandom(UNIT + 12_345)
    store.put("much", [much[:100], much[100:70_000], much[70_000:]])
    assert store.get("much") == much
    assert ways == [(True, UNIT), (True, 3 * 4096), (False, 12_345 - 3 * 4096)]
    store.put("little", [much[:1000]])
    assert len(ways) == 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 511, 4095, 4096, 65_536, direct.MUCH, UNIT - 1, UNIT, UNIT + 4097]), max_size=7))
def test_pieces_of_any_length(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    """They are there one behind the other."""
    store = LocalStore(tmp_path_factory.getbasetemp() / "direct")
    pieces = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    store.put("k", pieces)
    assert store.get("k") == b"".join(pieces)


@pytest.mark.parametrize("refused", [errno.EINVAL, errno.EOPNOTSUPP])
@pytest.mark.parametrize("when", ["begin", "first", "second"])
def test_a_disk_that_refuses_it_gets_it_as_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int, when: str
) -> None:
    """Whether it says so at once or in the middle."""
    plain, control, calls = os.write, fcntl.fcntl, 0

    def write(fd: int, data: memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls == {"begin": 0, "first": 1, "second": 2}[when]:
            raise OSError(refused, os.strerror(refused))
        return plain(fd, data)

    def turn(fd: int, command: int, flags: int = 0) -> int:
        if when == "begin" and command == fcntl.F_SETFL and flags & os.O_DIRECT:
            raise OSError(refused, os.strerror(refused))
        return control(fd, command, flags)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(fcntl, "fcntl", turn)
    store, much = LocalStore(tmp_path / "store"), os.urandom(2 * UNIT + 5)
    if when != "begin" and not can(tmp_path):
        pytest.skip("this file system does not take such writes")
    store.put("much", [much])
    assert store.get("much") == much
    assert (calls == 0) == (when == "begin")


def test_a_disk_that_takes_half_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest begins in the middle of one, where only the usual way is left."""
    if not can(tmp_path):
        pytest.skip("this file system does not take such writes")
    plain, calls = os.write, 0

    def write(fd: int, data: memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            return plain(fd, data)
        control = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, control & ~os.O_DIRECT)
        try:
            return plain(fd, data[:1000])
        finally:
            fcntl.fcntl(fd, fcntl.F_SETFL, control)

    monkeypatch.setattr(os, "write", write)
    store, much = LocalStore(tmp_path / "store"), os.urandom(2 * UNIT + 5)
    store.put("much", [much])
    assert store.get("much") == much


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, nothing is left behind, and the memory is used again."""

    def write(fd: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "no space")

    if not can(tmp_path):
        pytest.skip("this file system does not take such writes")
    store = LocalStore(tmp_path / "store")
    store.put("k", [b"old"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(StoreError, match="disk is full") as caught:
            store.put("k", [bytes(UNIT)])
    assert caught.value.errno == errno.ENOSPC
    assert store.get("k") == b"old"
    assert [path.name for path in (tmp_path / "store").iterdir() if path.name.startswith(".tmp")] == []
    spare = len(direct._spare)
    store.put("k", [bytes(UNIT)])
    assert len(direct._spare) == spare


def test_several_threads_at_once(tmp_path: Path) -> None:
    """Each has memory of its own."""
    store = LocalStore(tmp_path / "store")
    blobs = {f"k{number}": bytes([number]) * (UNIT + number) for number in range(6)}
    threads = [threading.Thread(target=store.put, args=(key, [blob])) for key, blob in blobs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key: store.get(key) for key in blobs} == blobs


def test_a_fork_writes_by_memory_of_its_own(tmp_path: Path) -> None:
    """Two processes that both go on saving, as the workers of a pool do, write nothing of each other's."""
    store = LocalStore(tmp_path / "store")
    store.put("before", [bytes(UNIT)])
    child = os.fork()
    own = b"p" if child else b"c"
    try:
        for number in range(8):
            store.put(f"{own.decode()}{number}", [own * 2 * UNIT])
    finally:
        if not child:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    for who in (b"p", b"c"):
        assert all(store.get(f"{who.decode()}{number}") == who * 2 * UNIT for number in range(8))


@pytest.mark.parametrize("lacking", ["memory", "way"])
def test_what_lacks_goes_as_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    """No memory to write by, or no such way on this system: neither is a reason to fail."""

    def refuse(*_: object) -> object:
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(direct, "_spare", type(direct._spare)())
    if lacking == "memory":
        monkeypatch.setattr(direct.mmap, "mmap", refuse)
    else:
        monkeypatch.setattr(direct, "_DIRECT", 0)
    store = LocalStore(tmp_path / "store")
    store.put("much", [b"x" * UNIT])
    assert store.get("much") == b"x" * UNIT


def test_a_disk_that_does_not_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses what is written so, and the usual way too: that is an error and no endless loop."""
    if not can(tmp_path):
        pytest.skip("this file system does not take such writes")
    control = fcntl.fcntl

    def turn(fd: int, command: int, flags: int = 0) -> int:
        if command == fcntl.F_SETFL and not flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no")
        return control(fd, command, flags)

    def write(fd: int, data: memoryview) -> int:
        raise OSError(errno.EINVAL, "no")

    store = LocalStore(tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "fcntl", turn)
        patch.setattr(os, "write", write)
        with pytest.raises(StoreError, match="no"):
            store.put("much", [bytes(UNIT)])
