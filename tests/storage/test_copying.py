"""Memory is copied to where it belongs, by however many threads, and nobody copies when the copy is over."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nbckpt.storage import copying
from nbckpt.storage.arena import places
from nbckpt.storage.copying import Copier


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes are much, so that small pieces are cut and shared."""
    monkeypatch.setattr(copying, "_LONG", 8)
    monkeypatch.setattr(copying, "_MUCH", 100)
    monkeypatch.setattr(copying, "_LEAST", 100)
    monkeypatch.setattr(copying, "_MOST", 200)
    monkeypatch.setattr(copying, "processors", lambda: 3)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 2000)), max_size=20), st.integers(0, 2**32 - 1))
def test_each_piece_is_where_it_belongs(pieces: list[tuple[int, int]], seed: int) -> None:
    memory = np.random.default_rng(seed).integers(0, 256, 2400, np.uint8)
    memory.flags.writeable = False
    views = [memoryview(memory)[at : at + size] for size, at in pieces]
    # one piece in two follows the one before it, as the blocks of an array do
    views += [memoryview(memory)[at : at + 64] for at in range(0, 1024, 64)]
    placed = list(zip(views, places(map(len, views)), strict=True))
    target = bytearray(placed[-1][1].stop)
    Copier().copy(placed, memoryview(target))
    for view, place in placed:
        assert target[place] == view
    target.clear()  # nobody looks at it any more


class Interrupted:
    """Stops this thread's copy at its first stretch, and lets another thread's begin and wait."""

    def __init__(self) -> None:
        self.begun, self.stopped, self.go_on = threading.Event(), threading.Event(), threading.Event()
        self.main = threading.current_thread()
        self.copied: list[tuple[int, int, int]] = []

    def __call__(self, target: int, source: int, length: int) -> None:
        if threading.current_thread() is self.main:
            assert self.begun.wait(60)
            self.stopped.set()
            raise KeyboardInterrupt
        self.begun.set()
        assert self.go_on.wait(60)
        self.copied.append((target, source, length))
        ctypes.memmove(target, source, length)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Interrupted]:
    found = Interrupted()
    with monkeypatch.context() as patch:
        patch.setattr(copying, "processors", lambda: 2)
        patch.setattr(copying, "ctypes", _With(copying.ctypes, memmove=found))
        yield found


class _With:
    """A module with some names replaced."""

    def __init__(self, module: Any, **names: Any) -> None:
        self._module = module
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def test_an_interrupt_waits_for_the_other_threads(interrupted: Interrupted) -> None:
    source, target = bytes(1000), bytearray(b"-" * 1000)

    def let_go() -> None:
        assert interrupted.stopped.wait(60)
        interrupted.go_on.set()

    threading.Thread(target=let_go).start()
    with pytest.raises(KeyboardInterrupt):
        Copier().copy([(source, slice(0, 1000))], memoryview(target))
    assert target.count(0) == sum(length for _, _, length in interrupted.copied)
    target.clear()


def test_a_second_interrupt_leaves_the_threads_their_memory(
    interrupted: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    copier, source, target = Copier(), bytes(1000), bytearray(b"-" * 1000)

    def again() -> None:
        if copier._at_work:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(copier, "wait", again)
        with pytest.raises(KeyboardInterrupt):
            copier.copy([(source, slice(0, 1000))], memoryview(target))
    with pytest.raises(BufferError):
        target.clear()  # the other thread is about to write to it
    interrupted.go_on.set()
    copier.wait()
    target += b"-"  # and now it may
    assert target.count(0) == sum(length for _, _, length in interrupted.copied) > 0


def test_where_no_thread_can_be_started_this_one_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    monkeypatch.setattr(threading.Thread, "start", refused)
    source, target = np.random.default_rng(1).bytes(1000), bytearray(1000)
    Copier().copy([(source, slice(0, 1000))], memoryview(target))
    assert target == source


def test_a_piece_that_cannot_be_copied_leaves_nothing_held() -> None:
    """Arrays can be resized after a copy that has failed."""
    copier, first, target = Copier(), bytearray(1000), bytearray(2000)
    scattered = memoryview(bytes(2000))[::2]
    with pytest.raises(BufferError):
        copier.copy([(first, slice(0, 1000)), (scattered, slice(1000, 2000))], memoryview(target))
    first.clear()
    target.clear()


def test_an_interrupt_while_it_is_asked_where_a_piece_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target, copier = bytearray(1000), bytearray(1000), Copier()
    get = copying._get

    def interrupted(*arguments: Any) -> None:
        get(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(copying, "_get", interrupted)
        with pytest.raises(KeyboardInterrupt):
            copier.copy([(source, slice(0, 1000))], memoryview(target))
    copier.wait()
    source.clear()
    target.clear()


def test_a_thread_that_comes_after_two_interrupts_copies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    copier, source, target = Copier(), bytes(1000), bytearray(b"-" * 1000)
    late: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        late.append(thread)
        raise KeyboardInterrupt

    def again() -> None:
        if copier._at_work:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        patch.setattr(copier, "wait", again)
        with pytest.raises(KeyboardInterrupt):
            copier.copy([(source, slice(0, 1000))], memoryview(target))
    assert late
    copier.wait()
    for thread in late:
        thread.start()
        thread.join()
    assert target == b"-" * 1000
    target.clear()
