"""NumPy's memory-mapped files: those that are only read come back by opening the file again."""

from __future__ import annotations

import functools
import mmap
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import RestoreError
from .numpy_views import view


def reduce(array: Any) -> Any:
    """Keep which part of which file is looked at; what a file may be written through belongs to this process."""
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    if not (isinstance(whole, np.memmap) and isinstance(whole.base, mmap.mmap)):
        return NotImplemented  # computed from one, with memory of its own
    if whole.mode == "c":
        return NotImplemented  # changes stay in this process's memory, so its contents are saved
    if whole.mode != "r" or whole.filename is None:
        raise pickle.PicklingError("a memory map that is written to belongs to this process")
    order = "C" if whole.flags.c_contiguous else "F"
    opened = (str(whole.filename), whole.dtype, whole.offset, whole.shape, order, _contents(str(whole.filename)))
    if array is whole:
        return opened_again, opened
    offset = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return part, (whole, array.dtype, array.shape, array.strides, offset)


def opened_again(name: str, dtype: Any, offset: int, shape: Any, order: Any, contents: str) -> Any:
    """The file's map, if the file is as it was.

    Raises:
        RestoreError: it is not there or was changed, and nobody knows what was in it.
    """
    try:
        now = _contents(name)
    except OSError as error:
        raise RestoreError(
            f"the snapshot needs the file {name!r}, which cannot be opened ({error.strerror}). Nothing was touched: "
            "put it back and run the cell again"
        ) from error
    if now != contents:
        raise RestoreError(
            f"the file {name!r}, which the snapshot maps into memory, was changed since. Nothing was touched: put it "
            "back as it was, or start over with --fresh"
        )
    return np.memmap(name, dtype, "r", offset, shape, order)


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


def part(whole: Any, dtype: Any, shape: Any, strides: Any, offset: int) -> Any:
    """A part of a map."""
    return view(whole, dtype, shape, strides, offset, writeable=False).view(np.memmap)
