"""Large arrays of which nothing was written are not looked at by a save, and nothing that was written is missed."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest
import xxhash
from gates import Gate
from hypothesis import given, settings, strategies as st

from nbckpt.errors import OptionError
from nbckpt.storage import pages, process, untouched
from nbckpt.storage.copying import address
from nbckpt.storage.handover import Handover
from nbckpt.storage.pages import PAGE, Mappings, Pages
from nbckpt.storage.repository import Repository
from nbckpt.storage.snapshot import PartData
from nbckpt.storage.writer import Committed
from watching import are_told

MIB = 1024 * 1024
HUGE = 2 * MIB
"""Bytes of a large page."""
State = dict[str, Any]
"""Arrays, or other buffers, by name."""


pytestmark = pytest.mark.skipif(not are_told(), reason="the kernel of this machine does not tell what was written")


class Saving:
    """The saves of a run whose state is some buffers."""

    def __init__(self, store: Path) -> None:
        self.repository = Repository.open(str(store))
        self.told: list[str] = []
        self.hand = Handover(
            self.repository, "train", keep=1, writer_info={"run": "r"}, based_on=None, tell=self.told.append
        )

    def hand_over(self, state: State, *, final: bool = False) -> dict[str, bytes]:
        """Hand a state over, and return what it was."""
        was = {name: bytes(memoryview(one).cast("B")) for name, one in state.items()}
        parts = [PartData(name, b"stream", [memoryview(one)], {}) for name, one in state.items()]
        self.hand.hand_over({}, parts, final=final)
        return was

    def check(self, was: dict[str, bytes]) -> None:
        """Wait for the snapshot, and compare it with what was handed over."""
        outcome = self.hand.outcome(None)
        assert isinstance(outcome, Committed), outcome
        loaded = self.repository.load("train")
        assert loaded is not None
        assert list(loaded.parts) == list(was)
        differing = [name for name, part in loaded.parts.items() if bytes(part.buffers[0]) != was[name]]
        assert not differing

    def save(self, state: State, *, final: bool = False) -> str:
        """Save and check a state; return how what had changed was found."""
        self.check(self.hand_over(state, final=final))
        return str(self.hand.capture["found"])


@pytest.fixture
def saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Saving]:
    monkeypatch.setenv("NBCKPT_WRITER", "process")
    monkeypatch.setattr(untouched, "LEAST", MIB)
    monkeypatch.setattr(untouched, "CHECKS", 1 << 30)  # so that it is the pages that decide
    gc.collect()
    new = Saving(tmp_path / "store")
    yield new
    new.hand.close()
    assert new.told == [], "the pages were thought to lie"


def noise(size: int, seed: int = 0) -> np.ndarray:
    return np.frombuffer(bytearray(np.random.default_rng(seed).bytes(size)), np.uint8).copy()


def settle(saving: Saving, state: State) -> None:
    """Save until the pages are believed: nothing is known at first, then they are watched, then that is checked."""
    assert [saving.save(state) for _ in range(3)] == ["hash"] * 3
    assert saving.save(state) == "pages"


def protected(array: Any) -> int:
    """How many pages of an array are protected, as the kernel says it of each page."""
    start, size = address(memoryview(array).cast("B")), memoryview(array).nbytes
    first, last = -(-start // PAGE), (start + size) // PAGE
    with Path("/proc/self/pagemap").open("rb") as file:
        file.seek(8 * first)
        return sum(entry >> 57 & 1 for (entry,) in struct.iter_unpack("Q", file.read(8 * (last - first))))


# ---------------------------------------------------------------------------------------------------------
# what was written is saved


def test_what_was_not_written_is_not_looked_at(saving: Saving) -> None:
    """And of what was, only the blocks are copied in which that was."""
    state = {"kept": noise(20 * MIB, 1), "touched": noise(20 * MIB, 2)}
    settle(saving, state)
    state["touched"][5 * MIB + 7] ^= 1
    assert saving.save(state) == "pages"
    assert MIB <= saving.hand.capture["copied"] < 2.2 * MIB
    assert saving.hand.capture["of"] == 40 * MIB + 12
    assert saving.save(state) == "pages"
    assert saving.hand.capture["copied"] < MIB / 10


@pytest.mark.parametrize("size", [3 * MIB + 100, MIB, MIB + 8192, 2 * MIB + 5])
@pytest.mark.parametrize("offset", [0, 1, 5000])
def test_the_edges_are_compared(size: int, offset: int, saving: Saving) -> None:
    """The bytes of an array that share a page with something else; what is beside them is nobody's business."""
    whole = noise(offset + size + 5000)
    state = {"a": whole[offset : offset + size]}
    settle(saving, state)
    for at in (0, 1, PAGE - 1, -1, -PAGE, 0, MIB - 1, -MIB):
        state["a"][at] ^= 1
        saving.save(state)
        whole[offset + size] ^= 1
        whole[offset - 1] ^= 1  # for the first one the last
        assert [saving.save(state) for _ in range(3)][-1] == "pages"


def test_no_block_is_looked_at_for_the_edge_of_an_array(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the few bytes of it are, again and again; they are known to be another's as soon as the block is."""
    state = {"a": noise(3 * MIB + 100), "b": noise(5 * MIB)}
    settle(saving, state)
    looked: list[int] = []
    digest = xxhash.xxh3_128_digest

    def looking(block: Any, seed: int) -> bytes:
        looked.append(len(block))
        return digest(block, seed)

    monkeypatch.setattr(xxhash, "xxh3_128_digest", looking)
    saving.save(state)
    assert looked == []
    for at in (0, -1):
        state["a"][at] ^= 1
        saving.save(state)
        assert len(looked) == 1
        assert [saving.save(state) for _ in range(2)] == ["pages"] * 2
        looked.clear()
        saving.save(state)
        assert looked == []


def test_an_edge_that_changes_back_while_it_is_looked_at(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of an edge is of the same bytes as the mark of its block."""
    state = {"a": noise(3 * MIB + 100)}
    digest = xxhash.xxh3_128_digest

    def looking(block: Any, seed: int) -> bytes:
        state["a"][0] ^= 1  # as another thread may
        found = digest(block, seed)
        state["a"][0] ^= 1
        return found

    settle(saving, state)
    state["a"][0] ^= 1
    with monkeypatch.context() as patch:
        patch.setattr(xxhash, "xxh3_128_digest", looking)
        for _ in range(4):
            saving.save(state)
    for _ in range(3):
        state["a"][0] ^= 1
        saving.save(state)


def test_an_edge_that_changes_back_during_a_check(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """No page tells of it, and the kernel is believed nevertheless."""
    state = {"a": noise(3 * MIB + 100)}
    checks, question = untouched.Untouched.needs_check, untouched.Untouched.question
    at, asked = 0, list[int]()

    def checking(self: untouched.Untouched, area: untouched.Area) -> bool:
        state["a"][at] ^= 1  # as another thread may, after the look at the edges and before that at the bytes
        return checks(self, area)

    def questioning(self: untouched.Untouched, area: untouched.Area, block: Any, number: int) -> bool:
        state["a"][at] ^= 1
        asked.append(number)
        return question(self, area, block, number)

    settle(saving, state)
    for place, block in ((0, 0), (-1, 3)):
        at = place
        with monkeypatch.context() as patch:
            patch.setattr(untouched.Untouched, "needs_check", checking)
            patch.setattr(untouched.Untouched, "question", questioning)
            saving.save(state, final=True)
        assert asked.pop() == block
        assert not saving.told
        assert [saving.save(state) for _ in range(4)][-1] == "pages"


def by_thread(array: np.ndarray, at: int, data: bytes) -> None:
    thread = threading.Thread(target=by_slice, args=(array, at, data))
    thread.start()
    thread.join()


def by_slice(array: np.ndarray, at: int, data: bytes) -> None:
    array[at : at + len(data)] = np.frombuffer(data, np.uint8)


def by_reading(array: np.ndarray, at: int, data: bytes) -> None:
    reading, writing = os.pipe()
    os.write(writing, data)
    with os.fdopen(reading, "rb", buffering=0) as file, os.fdopen(writing, "wb"):
        assert file.readinto(memoryview(array)[at : at + len(data)]) == len(data)


def by_receiving(array: np.ndarray, at: int, data: bytes) -> None:
    import socket

    one, other = socket.socketpair()
    with one, other:
        one.sendall(data)
        assert other.recv_into(memoryview(array)[at : at + len(data)]) == len(data)


def by_a_file_of_memory(array: np.ndarray, at: int, data: bytes) -> None:
    with Path("/proc/self/mem").open("r+b", buffering=0) as file:
        file.seek(array.ctypes.data + at)
        file.write(data)


def from_another_process(array: np.ndarray, at: int, data: bytes) -> None:
    class Piece(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))

    held = ctypes.create_string_buffer(data)
    ours, theirs = Piece(ctypes.addressof(held), len(data)), Piece(array.ctypes.data + at, len(data))
    write = ctypes.CDLL(None, use_errno=True).process_vm_writev
    if write(os.getpid(), ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0) != len(data):
        pytest.skip("process_vm_writev is not allowed here")


WAYS: list[Callable[[np.ndarray, int, bytes], None]] = [
    by_slice,
    by_thread,
    by_reading,
    by_receiving,
    by_a_file_of_memory,
    from_another_process,
]


@pytest.mark.parametrize("write", WAYS, ids=lambda way: way.__name__)
def test_however_it_is_written(write: Callable[[np.ndarray, int, bytes], None], saving: Saving) -> None:
    """By the computation, by its threads, and by the kernel for it."""
    state = {"a": noise(30 * MIB)}
    settle(saving, state)
    for at in (3 * MIB, 7 * MIB + PAGE - 3):
        write(state["a"], at, os.urandom(10))
        assert saving.save(state) == "pages"


def test_memory_that_was_given_back(saving: Saving) -> None:
    """It is zeros again, whether it is touched after that or not."""
    block = mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block.madvise(mmap.MADV_HUGEPAGE)
    block[:] = os.urandom(64 * MIB)
    state = {"a": np.frombuffer(block, np.uint8)}
    huge = -address(memoryview(block)) % HUGE
    settle(saving, state)
    for at, size in ((huge + 4 * MIB, HUGE), (huge + 8 * MIB, PAGE), (huge + 16 * MIB, 2 * HUGE)):
        block.madvise(mmap.MADV_DONTNEED, at, size)
        assert saving.save(state) == "pages"
        assert saving.save(state) == "pages"
    block.madvise(mmap.MADV_DONTNEED, huge + 24 * MIB, HUGE)
    assert block[huge + 25 * MIB] == 0
    assert saving.save(state) == "pages"


@pytest.mark.parametrize("size", [3 * MIB, 40 * MIB], ids=["heap", "mapping"])
def test_arrays_that_are_made_anew(size: int, saving: Saving) -> None:
    """An array that is freed and made again is another one, wherever it lies."""
    state = {"a": noise(size)}
    settle(saving, state)
    for seed in range(8):
        del state["a"]
        state["a"] = noise(size, seed)
        saving.save(state)


class Mapped:
    """Memory at an address that a test chooses, by the calls of the C library."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        for call in (self.libc.mmap, self.libc.mremap):
            call.restype = ctypes.c_void_p

    def make(self, size: int, at: int = 0) -> np.ndarray:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (0x10 if at else 0)  # MAP_FIXED
        number = mmap.PROT_READ | mmap.PROT_WRITE
        start = self.libc.mmap(ctypes.c_void_p(at), ctypes.c_size_t(size), number, flags, -1, ctypes.c_long(0))
        assert start % (1 << 64) != (1 << 64) - 1
        return np.frombuffer((ctypes.c_char * size).from_address(start), np.uint8)

    def reserve(self, array: np.ndarray) -> None:
        """Keep its addresses from others, until something is made there; it must not be touched after that."""
        assert self.libc.mprotect(ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(len(array)), 0) == 0

    def move(self, array: np.ndarray, onto: np.ndarray) -> None:
        """Put its pages in the place of others; it must not be touched after that."""
        start, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(len(array))
        assert self.libc.mremap(start, size, size, 3, ctypes.c_void_p(onto.ctypes.data)) == onto.ctypes.data


@pytest.mark.parametrize("neighbour", [False, True], ids=["alone", "beside another"])
def test_other_memory_at_the_same_address(saving: Saving, *, neighbour: bool) -> None:
    """What is mapped there anew is not what was watched there; nor is it if what is beside it begins to be watched."""
    memory, size = Mapped(), 20 * MIB
    around = memory.make(2 * size)
    memory.reserve(around)  # or somebody else's would be there by the time that it is mapped
    state = {"a": memory.make(size, around.ctypes.data), "b": noise(size, 1)}
    state["a"][:] = noise(size, 2)
    settle(saving, state)
    for seed in range(4):
        whole = memory.make(2 * size if neighbour else size, around.ctypes.data)
        assert whole.ctypes.data == around.ctypes.data
        state["a"] = whole[:size]
        state["a"][:] = noise(size, seed)
        if neighbour:
            state["b"] = whole[size:]
            state["b"][:] = noise(size, seed)
        for _ in range(4):
            saving.save(state)


def test_memory_that_is_moved_onto_other(saving: Saving) -> None:
    """The pages come with the protection that they had elsewhere, which says nothing of what was here before."""
    memory, size = Mapped(), 20 * MIB
    state = {"a": memory.make(size), "b": memory.make(size)}
    for number in range(4):
        state["a"][:], state["b"][:] = noise(size, number), noise(size, number + 100)
        for _ in range(20):  # the more often it is written as a whole, the longer it has to be quiet
            saving.save(state)
            if all(map(protected, state.values())):
                break
        assert all(map(protected, state.values()))
        memory.move(state["b"], onto=state["a"])
        saving.save({"a": state["a"]})
        state["a"][7 * MIB] ^= 1
        state["b"] = memory.make(size)
        saving.save(state)


def test_memory_that_is_moved(saving: Saving) -> None:
    """By a `realloc`, which moves the pages and what is known of them elsewhere."""
    state: State = {"a": bytearray(os.urandom(40 * MIB)), "b": noise(40 * MIB)}
    settle(saving, state)
    for size in (70, 40, 40, 90, 33, 40):
        array = state["a"]
        del state["a"]
        array += bytes(max(0, size * MIB - len(array)))
        del array[size * MIB :]
        array[5 * MIB] ^= 1
        state = {"a": array, "b": state["b"]}
        saving.save(state)
        array[6 * MIB] ^= 1
        saving.save(state)


def test_other_names_and_views(saving: Saving) -> None:
    """What is known is known of memory, whoever has it."""
    a, b = noise(12 * MIB, 1), noise(12 * MIB, 2)
    settle(saving, {"a": a, "b": b})
    assert saving.save({"a": b, "b": a}) == "pages"
    b[5 * MIB] ^= 1
    saving.save({"a": b, "c": a})
    for state in ({"a": a[100:], "b": a}, {"a": a, "b": a[: 6 * MIB]}, {"b": a[3 * MIB :]}, {"a": a}):
        for _ in range(6):
            a[5 * MIB] ^= 1
            saving.save(state)


def test_memory_that_others_write_to(saving: Saving, tmp_path: Path) -> None:
    """Files and shared memory are not watched: another process writes them unseen."""
    shared = mmap.mmap(-1, 12 * MIB)
    file = tmp_path / "array"
    file.write_bytes(os.urandom(12 * MIB))
    state = {
        "shared": np.frombuffer(shared, np.uint8),
        "file": np.memmap(file, np.uint8, "r+"),
        "private": np.memmap(file, np.uint8, "c"),
    }
    for round_ in range(6):
        child = os.fork()
        if not child:
            shared[3 * MIB] = round_ + 1
            os._exit(0)
        os.waitpid(child, 0)
        with file.open("r+b") as other:
            other.seek(5 * MIB)
            other.write(b"%d" % round_)
        assert saving.save(state) == "hash"
    assert not any(map(protected, state.values()))


def test_a_thread_that_never_pauses(saving: Saving) -> None:
    """What it writes while a snapshot is taken is in that or in the next one."""
    array, stop = noise(40 * MIB), threading.Event()

    def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            array[20 * MIB + number % 64 * PAGE] ^= 1

    settle(saving, {"a": array})
    for _ in range(3):
        stop.clear()
        thread = threading.Thread(target=work)
        thread.start()
        for _ in range(10):
            saving.hand_over({"a": array})
            assert isinstance(saving.hand.outcome(None), Committed)
        stop.set()
        thread.join()
        assert saving.save({"a": array}) == "pages"


def test_everything_changes_right_after_the_boundary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saving: Saving
) -> None:
    """In place, resized, deleted, collected: a snapshot on its way does not change, and the next one has it all."""
    saving.hand.close()
    gate = Gate(tmp_path / "gate")
    monkeypatch.setenv("PYTHONPATH", gate.python_path)
    saving = Saving(tmp_path / "another")
    state: State = {"a": noise(20 * MIB, 1), "b": bytearray(os.urandom(20 * MIB)), "c": noise(9 * MIB, 2)}

    def save() -> None:
        was = saving.hand_over(state)
        gate.let_through()
        saving.check(was)

    try:
        for _ in range(4):
            save()
        assert saving.hand.capture["found"] == "pages"
        state["a"][3 * MIB] ^= 1
        was = saving.hand_over(state)
        assert saving.hand.capture["found"] == "pages"
        with gate.held():
            state["a"][:] = 7
            state["b"] += os.urandom(20 * MIB)
            del state["c"]
            gc.collect()
            state["d"] = noise(9 * MIB, 3)
        saving.check(was)
        for _ in range(3):
            save()
    finally:
        saving.hand.close()


def test_a_save_that_fails(saving: Saving) -> None:
    """What was written before it is saved by the next one, although the kernel tells of it only once."""
    state = {"a": noise(20 * MIB)}
    settle(saving, state)
    state["a"][3 * MIB] ^= 1
    folder = Path(saving.repository.url) / "train"
    assert folder.is_dir()
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.write_bytes(b"")  # nothing can be written into it
    saving.hand_over(state)
    assert isinstance(saving.hand.outcome(None), Exception)
    folder.unlink()
    aside.rename(folder)
    assert saving.save(state) == "pages"


edits = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(WAYS[:5]), st.integers(0, 1 << 30), st.binary(min_size=1, max_size=99)),
    st.tuples(st.just("stretch"), st.integers(0, 1 << 30), st.integers(1, 2 * MIB), st.integers(0, 255)),
    st.tuples(st.just("free"), st.integers(0, 99)),
    st.tuples(st.just("resize"), st.integers(1, 5 * MIB)),
    st.tuples(st.just("view"), st.integers(0, MIB)),
    st.tuples(st.just("swap"), st.integers(0, 9)),
    st.tuples(st.just("give back"), st.integers(0, 1 << 30)),
)


def edit(state: State, number: int, what: str, *arguments: Any) -> None:
    name = [*state][number % len(state)]
    array = state[name]
    if what == "write":
        write, at, data = arguments
        at %= len(array)
        write(array, at, data[: len(array) - at])
    elif what == "stretch":
        at, size, value = arguments
        array[at % len(array) :][:size] = value
    elif what == "free":
        size = len(array)
        del array, state[name]
        state[name] = noise(size, *arguments)
    elif what == "resize":
        own = array if array.base is None else array.copy()
        del array, state[name]
        own.resize(*arguments, refcheck=False) if not any(one.base is own for one in state.values()) else None
        state[name] = own
    elif what == "view":
        state[f"{name}'"] = array[arguments[0] % len(array) :]
        if len(state) > 5:
            del state[next(iter(state))]
    elif what == "swap":
        other = [*state][arguments[0] % len(state)]
        state[name], state[other] = state[other], state[name]
    else:
        first, last = -(-array.ctypes.data // PAGE), (array.ctypes.data + len(array)) // PAGE
        at = first + arguments[0] % max(1, last - first)
        if at < last and ctypes.CDLL(None).madvise(ctypes.c_void_p(at * PAGE), ctypes.c_size_t(PAGE), 4):
            pytest.fail("madvise fails")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.tuples(st.integers(0, 9), edits), max_size=3), min_size=4, max_size=8))
def test_every_byte_is_saved(rounds: list[list[tuple[int, tuple[Any, ...]]]]) -> None:
    """Whatever is written in whichever way, freed, resized, viewed or renamed between the saves of one long run."""
    state = {"a": noise(3 * MIB + 5, 1), "b": noise(2 * MIB, 2), "c": noise(MIB + 77, 3)}
    for _ in range(3):
        LONG[0].save(state)
    for round_ in rounds:
        for number, what in round_:
            edit(state, number, *what)
        if LONG[0].save(state) == "pages":
            LONG_FOUND.append(1)


LONG: list[Saving] = []
LONG_FOUND: list[int] = []


@pytest.fixture(autouse=True)
def long_run(request: pytest.FixtureRequest) -> Iterator[None]:
    """The run whose saves the test above makes: one for all its examples, as memory is freed and taken again."""
    if request.function.__name__ != "test_every_byte_is_saved":
        yield
        return
    LONG[:] = [request.getfixturevalue("saving")]
    LONG_FOUND.clear()
    yield
    assert LONG_FOUND, "no save made use of the pages"


# ---------------------------------------------------------------------------------------------------------
# when it is watched


def test_what_changes_much_is_not_watched(saving: Saving) -> None:
    """Writing it would take longer; and what did so while it was watched has to be quiet for a while."""
    state = {"still": noise(20 * MIB, 1), "busy": noise(20 * MIB, 2)}
    for _ in range(5):
        state["busy"] += 1
        saving.save(state)
        assert not protected(state["busy"])
    assert protected(state["still"]) == 20 * MIB // PAGE - 1
    state["still"] += 1
    saving.save(state)
    assert not protected(state["still"])
    watched = []
    for _ in range(6):
        saving.save(state)
        watched.append(bool(protected(state["still"])))
    assert watched == [False, False, True, True, True, True]


def test_nothing_is_left_of_it(saving: Saving) -> None:
    """When a run ends, memory is as if it had not been."""
    state = {"a": noise(20 * MIB)}
    settle(saving, state)
    assert protected(state["a"])
    assert descriptors_for_it()
    assert b" uw" in Path("/proc/self/smaps").read_bytes()
    saving.hand.close()
    assert not protected(state["a"])
    assert b" uw" not in Path("/proc/self/smaps").read_bytes()
    assert not descriptors_for_it()


def descriptors_for_it() -> list[str]:
    return [str(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink() and "userfault" in str(fd.readlink())]


def test_arrays_that_are_gone_are_released(saving: Saving) -> None:
    """What is not saved any more costs nothing any more."""
    gone, state = noise(20 * MIB, 1), {"b": noise(20 * MIB, 2)}
    settle(saving, {"a": gone, **state})
    assert protected(gone)
    saving.save(state)
    assert not protected(gone)


def test_a_forked_child(saving: Saving) -> None:
    """What it does, and its end, leaves the parent's arrays watched; it has nothing of it itself."""
    state = {"a": noise(20 * MIB)}
    settle(saving, state)
    child = os.fork()
    if not child:
        code = 1
        try:
            state["a"][7 * MIB] ^= 1
            left = descriptors_for_it()
            saving.hand.close()
            del saving.hand
            gc.collect()
            code = 42 if not left else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert protected(state["a"])
    assert saving.save(state) == "pages"
    state["a"][7 * MIB] ^= 1
    assert saving.save(state) == "pages"


def test_two_runs_at_once(saving: Saving, tmp_path: Path) -> None:
    """A look by one would hide from the other what was written: the one that began to watch last is the only one."""
    state = {"a": noise(20 * MIB)}
    settle(saving, state)
    other = Saving(tmp_path / "other")
    try:
        settle(other, state)
        for _ in range(4):
            state["a"][3 * MIB] ^= 1
            assert saving.save(state) == "hash"
            state["a"][7 * MIB] ^= 1
            assert other.save(state) == "pages"
    finally:
        other.hand.close()
    assert [saving.save(state) for _ in range(4)][-1] == "pages"


def test_a_run_that_nobody_ended(saving: Saving, tmp_path: Path) -> None:
    """As one in a `with` block that is never left: it keeps no other from watching, and leaves it alone."""
    state = {"a": noise(20 * MIB)}
    forgotten = Saving(tmp_path / "forgotten")
    try:
        settle(forgotten, state)
        settle(saving, state)
    finally:
        forgotten.hand.close()
    state["a"][3 * MIB] ^= 1
    assert saving.save(state) == "pages"


def test_memory_that_another_looks_at(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look in the midst of which another began to watch tells nothing."""
    state = {"a": noise(20 * MIB)}
    settle(saving, state)
    others: list[Pages] = []
    ask = pages.fcntl.ioctl

    with monkeypatch.context() as patch:

        def asked(*arguments: Any) -> Any:
            if arguments[1] == pages._PAGEMAP_SCAN:
                patch.undo()
                others.append(Pages())
            return ask(*arguments)

        patch.setattr(pages.fcntl, "ioctl", asked)
        state["a"][3 * MIB] ^= 1
        assert saving.save(state) == "hash"
    others[0].close()


ENDING = """
import mmap
from nbckpt.storage.copying import address
from nbckpt.storage.pages import PAGE, Mappings, Pages
block = mmap.mmap(-1, 8 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
start = address(memoryview(block))
kept = Pages()
kept.watch(start, start + len(block), Mappings())
kept.itself = kept
"""


def test_an_interpreter_that_ends(tmp_path: Path) -> None:
    """It says nothing of what is watched still."""
    script = tmp_path / "script.py"
    script.write_text(ENDING)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def assert_nothing_is_watched(saving: Saving, state: State) -> None:
    assert not Mappings().are_ours_alone
    assert saving.save(state) == "hash"
    assert not protected(state["a"])


def test_where_a_file_is_read_past_the_cache(saving: Saving, tmp_path: Path) -> None:
    """Its device may be writing into an array during a look, and go on with that after it: nothing is watched."""
    state = {"a": noise(20 * MIB)}
    settle(saving, state)
    file = tmp_path / "array"
    file.write_bytes(os.urandom(MIB))
    try:
        number = os.open(file, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        pytest.skip("files cannot be read past the cache here")
    try:
        assert_nothing_is_watched(saving, state)
    finally:
        os.close(number)
    saving.save(state)
    assert protected(state["a"])


def test_where_devices_write(saving: Saving) -> None:
    """Whoever has a ring of requests to the kernel may have it written into memory unseen: nothing is watched."""
    state = {"a": noise(20 * MIB)}
    settle(saving, state)
    libc = ctypes.CDLL(None, use_errno=True)
    given = ctypes.create_string_buffer(120)
    fd = libc.syscall(425, 1, given)  # io_uring_setup
    if fd < 0:
        pytest.skip("io_uring is not allowed here")
    try:
        with mmap.mmap(fd, PAGE, offset=0x10000000):
            assert_nothing_is_watched(saving, state)
    finally:
        os.close(fd)
    saving.save(state)
    assert protected(state["a"])


# ---------------------------------------------------------------------------------------------------------
# when it is not to be had, or not to be believed


def test_a_kernel_that_does_not_tell_the_truth(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are compared now and then, and in the end: what is wrong is said, and not relied on any more."""
    state = {"a": noise(20 * MIB, 1), "b": noise(20 * MIB, 2)}
    settle(saving, state)
    monkeypatch.setattr(Pages, "written", lambda *_, **__: iter(()))
    for array in state.values():
        array[5 * MIB] ^= 1
    assert saving.save(state, final=True) == "hash"
    (told,) = saving.told
    assert "may hold older bytes" in told
    state["a"][5 * MIB] ^= 1
    assert [saving.save(state) for _ in range(4)] == ["hash"] * 4
    assert not protected(state["a"])
    assert saving.told == [told]
    saving.told.clear()


def test_every_so_often_the_bytes_are_compared(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of saves, and by the time."""
    state = {"a": noise(20 * MIB)}
    settle(saving, state)
    monkeypatch.setattr(untouched, "CHECKS", 3)
    assert sorted(saving.save(state) for _ in range(3)) == ["hash", "pages", "pages"]
    monkeypatch.setattr(untouched, "CHECKS", 1 << 30)
    monkeypatch.setattr(untouched, "CHECK_SECONDS", 0.0)
    assert saving.save(state) == "hash"


def test_an_interrupt_between_the_look_and_the_note(saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells it only once: what an interrupt kept from being noted is compared."""
    state = {"a": noise(20 * MIB)}
    settle(saving, state)
    state["a"][5 * MIB] ^= 1

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for place, name in ((untouched.Area, "note"), (untouched, "_mappings")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                saving.hand_over(state)
        assert [saving.save(state) for _ in range(3)] == ["hash", "hash", "pages"]


def test_an_interrupt_at_any_moment(saving: Saving) -> None:
    """Whichever line of handing over it comes at, the next boundaries are saved, and as they are."""
    state = {"a": noise(3 * MIB, 1), "b": noise(11 * MIB, 2)}
    settle(saving, state)
    source = process.Process.hand_over.__code__
    lines = sorted({line for _, _, line in source.co_lines() if line} - {source.co_firstlineno})
    for line in lines:
        state["b"][line * 9973] ^= 1
        interrupt_at(source, line, lambda: saving.hand_over(state))
        if saving.hand.is_busy:
            assert saving.hand.outcome(60) is not None, f"nobody has heard of what was handed over by line {line}"
        state["a"][line * 997] ^= line % 2
        saving.save(state)


def interrupt_at(source: CodeType, line: int, work: Callable[[], object]) -> None:
    """Interrupt some work where it comes to a line, if it does."""

    def follow(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code is not source:
            return None if event == "call" else follow
        if event == "line" and frame.f_lineno == line:
            raise KeyboardInterrupt
        return follow

    tracing = sys.gettrace()
    sys.settrace(follow)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(tracing)


@pytest.mark.parametrize("call", ["_ask", "_try_out", "watch", "written"])
def test_calls_that_fail(call: str, saving: Saving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then bytes are compared, and nothing is said."""
    state = {"a": noise(20 * MIB)}

    def fails(*_: object, **__: object) -> Any:
        raise OSError(1, "not permitted")

    monkeypatch.setattr(Pages, call, fails)
    for _ in range(5):
        state["a"][5 * MIB] ^= 1
        assert saving.save(state) == "hash"
    assert not saving.told


def test_it_can_be_turned_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saving: Saving) -> None:
    """By the environment, where a word that is not known is refused before any compute."""
    saving.hand.close()
    monkeypatch.setenv("NBCKPT_PAGES", "off")
    other, state = Saving(tmp_path / "other"), {"a": noise(20 * MIB)}
    assert [other.save(state) for _ in range(5)] == ["hash"] * 5
    other.hand.close()
    monkeypatch.setenv("NBCKPT_PAGES", "maybe")
    with pytest.raises(OptionError, match="NBCKPT_PAGES=maybe is unknown"):
        Saving(tmp_path / "third")


@pytest.mark.parametrize(
    ("machine", "platform"), [("riscv64", "linux"), ("x86_64", "darwin")], ids=["processor", "system"]
)
def test_elsewhere(machine: str, platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said that it is not to be had."""
    monkeypatch.setattr(pages.platform, "machine", lambda: machine)
    monkeypatch.setattr(pages.sys, "platform", platform)
    with pytest.raises(OSError, match="on Linux only"):
        Pages()
