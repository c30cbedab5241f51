"""Restored arrays have the very memory that their bytes were read to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nbckpt
from nbckpt.errors import UnknownCheckpoint
from nbckpt.state import memory, parts, pickling
from nbckpt.state.home import Home, Stored
from nbckpt.storage.repository import Repository
from nbckpt.storage.snapshot import PartData

np = pytest.importorskip("numpy")

LENGTH = 120_000


@pytest.fixture(autouse=True)
def nothing_is_shared_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process where no other test has shared memory between the two: that costs an array its `resize`."""
    if torch_arrays := sys.modules.get("nbckpt.state.adapters.torch_arrays"):
        monkeypatch.setattr(torch_arrays._owners, "are_sought", False)


def arrays() -> dict[str, Any]:
    records = np.dtype([("a", "i1"), ("b", "<f8")], align=True)
    numbers = np.arange(LENGTH, dtype=np.float32)
    frozen = numbers * 2
    frozen.flags.writeable = False
    return {
        "numbers": numbers,
        "rows": numbers.astype(">i8").reshape(100, 40, 30),
        "columns": np.asfortranarray(numbers.reshape(400, 300)),
        "turned": np.ascontiguousarray(numbers.reshape(40, 50, 60).transpose(1, 0, 2)).transpose(1, 0, 2),
        "days": numbers.astype("M8[D]"),
        "words": numbers.astype("U9"),
        "records": np.array([(1, 0.5)] * LENGTH, records),
        "flags": numbers > 3,
        "frozen": frozen,
        "masked": np.ma.masked_greater(numbers, 7),
        "small": np.arange(5),
    }


def read_back(values: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """Values by way of bytes, as a store would bring them; and where it read the bytes of each to."""
    stored: dict[str, Stored] = {"definitions": PartData("definitions", b"\x80\x04}.", [], {})}
    places = []
    for part in parts.Sharing().dump({"variables": values}).parts:
        info = memory.owners(part.buffers)
        rooms = memory.allocate(info, [one.nbytes for one in part.buffers])
        for room, saved in zip(rooms, part.buffers, strict=True):
            assert room is not None or saved.nbytes < memory.LEAST
            if room is not None:
                room[:] = saved
                places.append(np.frombuffer(room, np.uint8).ctypes.data)
        buffers = [memoryview(bytes(b)) if room is None else room for room, b in zip(rooms, part.buffers, strict=True)]
        stored[part.name] = PartData(part.name, bytes(part.stream), buffers, info)
        del rooms, buffers
    return parts.build(stored, stored["definitions"], Home({}), {})["variables"], places


@pytest.mark.parametrize("name", arrays())
def test_arrays_take_over_the_memory_that_they_were_read_to(name: str) -> None:
    """Whatever is in them and however it lies, they are as before, own their memory and can be resized."""
    saved = arrays()[name]
    back, places = read_back({name: saved})
    found = back[name]
    assert (found.dtype, found.shape, found.strides) == (saved.dtype, saved.shape, saved.strides)
    assert found.tobytes() == saved.tobytes()
    assert pickling.digest(found) == pickling.digest(saved)
    assert found.flags.writeable == saved.flags.writeable
    assert found.flags.owndata == saved.flags.owndata
    if name in {"numbers", "rows", "days", "words", "records", "flags", "frozen"}:
        assert places == [found.ctypes.data]
    if found.flags.owndata and found.flags.writeable and name != "masked":
        del back
        found.resize(7)  # refuses where anybody else has the memory


def test_views_look_into_the_memory_that_was_read_to() -> None:
    """A view of a big array is one of what took the memory over, and both see what is written."""
    whole = np.arange(float(LENGTH))
    back, (place,) = read_back({"whole": whole, "view": whole[10:20]})
    assert back["view"].base is back["whole"]
    assert back["whole"].ctypes.data == place
    back["view"][:] = -1
    assert back["whole"][9:12].tolist() == [9, -1, -1]


def test_a_view_may_be_written_to_although_its_owner_was_locked_since() -> None:
    """What is made read-only does not make its views so, neither before nor after a resume."""
    whole = np.arange(float(LENGTH))
    view, locked = whole[10:20], whole[5:]
    locked.flags.writeable = whole.flags.writeable = False
    back, _ = read_back({"whole": whole, "view": view, "locked": locked})
    assert [back[name].flags.writeable for name in ("whole", "view", "locked")] == [False, True, False]
    back["view"][:] = -1
    assert back["whole"][9:12].tolist() == [9, -1, -1]
    assert back["locked"].base is back["view"].base is back["whole"]


def test_arrays_that_look_through_a_memoryview_share_memory_as_before() -> None:
    """What is written to one is seen in the other."""
    whole = np.arange(float(LENGTH))
    back, _ = read_back({"whole": whole, "seen": np.frombuffer(memoryview(whole)[100:])})
    back["whole"][100] = -1
    assert back["seen"][:2].tolist() == [-1, 101]


def test_nothing_is_copied_on_the_way_from_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `load` gives has the memory that was asked for before anything was read, and nobody else has it."""
    asked = []
    monkeypatch.setattr(memory, "allocate", lambda *told: asked.append(allocate(*told)) or asked[-1])
    with nbckpt.checkpointed("train", store=str(tmp_path), every="1it", quiet=True) as ckpt:
        ckpt.state.weights = np.arange(LENGTH).reshape(300, 400).copy()
        ckpt.state.note = "small"
        for _ in ckpt.loop(range(2)):
            ckpt.state.weights += 1
    found = nbckpt.load("train", store=str(tmp_path))
    rooms = [room for rooms in asked for room in rooms if room is not None]
    assert [room.obj is found["weights"] for room in rooms] == [True]
    assert found["weights"].tolist() == (np.arange(LENGTH).reshape(300, 400) + 2).tolist()
    asked.clear()
    rooms.clear()
    found["weights"].resize(7)  # refuses where anybody else has the memory


allocate = memory.allocate


def test_what_is_changed_on_the_way_back_is_read_again(tmp_path: Path) -> None:
    """Code before the loop that writes to a restored array writes to the memory that was read: it is put back."""
    seen = []

    def run(fails_at: int | None) -> None:
        with nbckpt.checkpointed("train", store=str(tmp_path), every="1it", quiet=True) as ckpt:
            if not ckpt.resumed:
                ckpt.state.weights = np.zeros(LENGTH)
            ckpt.state.weights[:3] = 100  # before the loop, so each run does it
            for step in ckpt.loop(range(4)):
                if step == fails_at:
                    raise ZeroDivisionError
                ckpt.state.weights += 1
                seen.append(int(ckpt.state.weights[0]))

    with pytest.raises(ZeroDivisionError):
        run(2)
    run(None)
    assert seen == [101, 102, 103, 104]


def test_what_is_to_be_read_again_and_is_gone(tmp_path: Path) -> None:
    """A checkpoint that is removed while a run goes on from it: the error says so."""

    def run() -> None:
        with nbckpt.checkpointed("train", store=str(tmp_path), every="1it", quiet=True) as ckpt:
            if ckpt.resumed:
                Repository.open(str(tmp_path)).remove("train")
            else:
                ckpt.state.weights = np.zeros(LENGTH)
            ckpt.state.weights[:3] = 100
            for step in ckpt.loop(range(4)):
                ckpt.state.weights += 1 / (1 - step)

    with pytest.raises(ZeroDivisionError):
        run()
    with pytest.raises(UnknownCheckpoint, match="was removed while"):
        run()


@pytest.mark.parametrize("error", [ImportError, MemoryError, OSError, RuntimeError])
def test_libraries_that_cannot_give_memory(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is missing, broken or refuses leaves it to the reader; what needs it says so later."""

    def refuse(size: int) -> memoryview:
        raise error(f"no {size}")

    monkeypatch.setattr("nbckpt.state.adapters.numpy_views.room", refuse)
    assert memory.allocate({"memory": "n"}, [70_000]) == [None]


_SMALL_MACHINE = """
import sys, resource, numpy, nbckpt
from pathlib import Path
from nbckpt.errors import RestoreError
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
nbckpt.load("small", store=sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000,) * 2)
try:
    nbckpt.load("large", store=sys.argv[1])
except RestoreError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the bound is one of Linux")
def test_there_is_no_memory_for_it(tmp_path: Path) -> None:
    """A snapshot that this process may not have the memory for is refused in a sentence."""
    for name, size in (("small", 10), ("large", 60_000_000)):
        with nbckpt.checkpointed(name, store=str(tmp_path), quiet=True) as ckpt:
            ckpt.state.weights = np.zeros(size)
    found = subprocess.run(
        [sys.executable, "-c", _SMALL_MACHINE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "There is no memory for 0.5 GB" in found.stdout, found.stderr


@pytest.mark.parametrize("told", ["", "n", "nnn", "??", 7, None, ["n", "n"]])
def test_what_is_said_of_memory_need_not_be_true(told: Any) -> None:
    """An older snapshot says nothing of it, and a wrong word costs a copy and no more."""
    found = memory.allocate({"memory": told} if told is not None else {}, [10, 70_000])
    assert found == [None, None]
