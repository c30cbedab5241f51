"""NumPy's memory-mapped files come back by opening the file again.

A file that is only read must be what it was. One that is written to may have got ahead of the snapshot, so what was in
it is part of that, as far as it is mapped, and is written into the file when a run goes on.
"""

from __future__ import annotations

import functools
import mmap
import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import RestoreError
from . import do_on_arrival, say, say_unsettled
from .numpy_views import view

LARGEST = 1 << 30
"""Maps that are written to and have more bytes are not saved: they are made for what does not fit into memory."""


_written: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
"""Maps that are written to, by identity."""


def reduce(array: Any) -> Any:
    """Keep which part of which file is looked at and, where that is written to, what is in it."""
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    if not (isinstance(whole, np.memmap) and isinstance(whole.base, mmap.mmap)):
        return NotImplemented  # computed from one, with memory of its own
    if whole.mode == "c":
        return NotImplemented  # changes stay in this process's memory, so its contents are saved
    if whole.filename is None:
        raise pickle.PicklingError("a memory map of a file without a name belongs to this process")
    if array is not whole:
        offset = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
        return part, (whole, array.dtype, array.shape, array.strides, offset, array.flags.writeable)
    order = "C" if whole.flags.c_contiguous else "F"
    opened = (str(whole.filename), whole.dtype, whole.offset, whole.shape, order)
    if whole.mode == "r":
        written = any(str(other.filename) == opened[0] for other in list(_written.values()))
        contents = "" if written else _contents(opened[0])
        return opened_again, (*opened, contents)
    if whole.nbytes > LARGEST or whole.dtype.hasobject:
        raise pickle.PicklingError("a memory map of more than 1 GiB that is written to belongs to this process")
    if _written.get(id(whole)) is not whole:
        _written[id(whole)] = whole
        say_unsettled()  # others may only read the same file
    return written_again, (*opened, whole.mode, pickle.PickleBuffer(_bytes(whole)))


def opened_again(name: str, dtype: Any, offset: int, shape: Any, order: Any, contents: str) -> Any:
    """The file's map, if the file is as it was.

    Raises:
        RestoreError: it is not there or was changed, and nobody knows what was in it.
    """
    try:
        now = _contents(name) if contents else ""
    except OSError as error:
        raise _missing(name, error) from error
    if now != contents:
        raise RestoreError(
            f"the file {name!r}, which the snapshot maps into memory, was changed since. Nothing was touched: put it "
            "back as it was, or start over with --fresh"
        )
    return np.memmap(name, dtype, "r", offset, shape, order)


def written_again(name: str, dtype: Any, offset: int, shape: Any, order: Any, mode: str, raw: Any) -> Any:
    """The file's map, to be written to; what was in it is put back when a run goes on, not when somebody looks.

    Raises:
        RestoreError: it is not there.
    """
    try:
        made: Any = np.memmap(name, dtype, "r+", offset, shape, order)
    except (OSError, ValueError) as error:
        raise _missing(name, error) from error
    made.mode = mode
    saved = np.frombuffer(raw, np.uint8)

    def put_back() -> None:
        bytes_now = _bytes(made)
        if not np.array_equal(bytes_now, saved):
            bytes_now[:] = saved
            made.flush()
            say(f"the file {name!r} holds again what it did at the snapshot")

    do_on_arrival(put_back)
    return made


def _missing(name: str, error: Exception) -> RestoreError:
    reason = getattr(error, "strerror", None) or error
    return RestoreError(
        f"the snapshot needs the file {name!r}, which cannot be opened ({reason}). Nothing was touched: "
        "put it back and run the cell again"
    )


def _bytes(whole: Any) -> Any:
    return np.ndarray.view(whole, np.ndarray).reshape(-1, order="A").view(np.uint8)


def _contents(name: str) -> str:
    """A hash of a file, which is read anew only when it was written to."""
    stat = Path(name).stat()
    return _hash(str(Path(name).absolute()), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _hash(name: str, *_: int) -> str:
    import xxhash

    hasher = xxhash.xxh3_128()
    with Path(name).open("rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return str(hasher.hexdigest())


def part(whole: Any, dtype: Any, shape: Any, strides: Any, offset: int, writeable: bool) -> Any:  # noqa: FBT001
    """A part of a map."""
    return view(whole, dtype, shape, strides, offset, writeable=writeable).view(np.memmap)
