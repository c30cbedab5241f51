"""Reading snapshots: many chunks at once, in long runs, straight to where they belong, each verified."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from nbckpt.errors import DamagedSnapshot, NotFound, RestoreError
from nbckpt.storage.chunks import RAW, Chunk, damaged, decode
from nbckpt.storage.copying import address
from nbckpt.storage.machine import physical_memory, processors
from nbckpt.storage.records import digest
from nbckpt.storage.snapshot import Blob, Manifest, PartData, decode_manifest, decode_segment
from nbckpt.storage.stores import is_far

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nbckpt.storage.log import Kept
    from nbckpt.storage.stores import Store

_RUN = 4 * 1024 * 1024  # bytes read at once: long enough for a disk, short enough to share among threads
_LONG_RUN = 16 * 1024 * 1024  # where each request costs, and there are enough of these: whole packs
_MAPPED = 1024 * 1024  # bytes from which a buffer is mapped
_MOST_READERS = 8
_BATCH = 64  # chunks copied at once


_T = TypeVar("_T")
_R = TypeVar("_R")

Allocate = Callable[["Mapping[str, Any]", Sequence[int]], "Sequence[memoryview | None]"]
"""Gives, for a part's info and the sizes of its buffers, the memory to read each to; None where any will do."""


class Stretch(NamedTuple):
    """Chunks, and the memory that their plain bytes fill one after another."""

    chunks: Sequence[Chunk]
    target: memoryview


def read_manifest(store: Store, name: str, kept: Kept) -> Manifest:
    """Return the manifest of a snapshot; raises `DamagedSnapshot` if it is gone or not what was saved."""
    try:
        raw = store.get(f"{name}/manifests/{kept.manifest}", 0, kept.manifest_bytes + 1)
    except NotFound as error:
        msg = "its manifest is missing"
        raise DamagedSnapshot(msg) from error
    if digest(raw) != kept.manifest:
        msg = "its manifest is not what was saved"
        raise DamagedSnapshot(msg)
    return decode_manifest(raw)


def read_parts(
    store: Store, folder: str, manifest: Manifest, allocate: Allocate | None = None
) -> tuple[dict[str, PartData], dict[bytes, Chunk]]:
    """Return the parts of a snapshot and all its chunks by id, every one of them verified.

    `folder` is the checkpoint's. Buffers are writable, each in memory of its own: what `allocate` has for it.
    Raises `DamagedSnapshot`, `RestoreError` if there is no memory for them.
    """
    _check_room(manifest)
    tables = [blob for part in manifest.parts for blob in part.blobs if blob.table]
    listed = dict(zip(map(id, tables), _read_tables(store, folder, tables, manifest.packs), strict=True))
    stretches: list[Stretch] = []
    far = is_far(store.url)

    def place(blob: Blob, target: memoryview | None = None) -> memoryview:
        target = _memory(blob.size, large_pages=not far) if target is None else target
        stretches.append(Stretch(listed[id(blob)] if blob.table else blob.chunks, target))
        return target

    parts = {}
    for part in manifest.parts:
        sizes = [blob.size for blob in part.buffers]
        targets = [None] * len(sizes) if allocate is None else allocate(part.info, sizes)
        parts[part.name] = PartData(part.name, place(part.stream), [*map(place, part.buffers, targets)], part.info)
    fetch(store, folder, stretches)
    lists = [*(blob.chunks for blob in tables), *(stretch.chunks for stretch in stretches)]
    # backwards: of several places of one chunk, that of the first is the one that was read
    return parts, {chunk.id: chunk for chunks in reversed(lists) for chunk in reversed(chunks)}


def each(store: Store, read: Callable[[_T], _R], things: Sequence[_T]) -> list[_R]:
    """Apply `read`, which waits for the store, to many things: to several at once where the store is far away."""
    if not is_far(store.url) or len(things) <= 1:
        return [read(thing) for thing in things]
    with ThreadPoolExecutor(min(_MOST_READERS, len(things))) as pool:
        tasks = [pool.submit(read, thing) for thing in things]
        return _all(tasks, pool)


def _check_room(manifest: Manifest) -> None:
    """Raise `RestoreError` before a snapshot that cannot fit into this machine is unfolded.

    One chunk may stand for any number of equal ones, so few bytes can claim to be very many. The tables of chunks
    are always smaller than what they list.
    """
    claimed = manifest.total_bytes
    claimed += sum(chunk.plain for p in manifest.parts for blob in p.blobs if blob.table for chunk in blob.chunks)
    if claimed < _MAPPED:  # asking the system takes a tenth of such a restore
        return
    room = physical_memory()
    if room and claimed > room:
        msg = (
            f"The snapshot unfolds to {claimed / 1e9:.1f} GB and this machine has {room / 1e9:.1f} GB of memory. "
            "Nothing was loaded or changed: restore it on a larger one."
        )
        raise RestoreError(msg)


def _memory(size: int, *, large_pages: bool) -> memoryview:
    """Return writable zeros; raises `RestoreError` where the system does not give so many.

    Much of it comes straight from the system and untouched, so that the threads that read share the work of its
    first use: for `bytearray` alone that takes longer than to read and verify. Large pages are there sooner, but not
    all at the same pace: what waits for a network gains nothing by them, and loses by the slowest.
    """
    try:
        if size < _MAPPED or not hasattr(mmap, "MAP_PRIVATE"):
            return memoryview(bytearray(size))
        mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (MemoryError, OSError) as error:
        msg = (
            f"There is no memory for {size / 1e9:.1f} GB of the snapshot. Nothing was loaded or changed: make room for "
            "it, or restore it on a larger machine."
        )
        raise RestoreError(msg) from error
    if large_pages and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            mapped.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(mapped)


def fetch(store: Store, folder: str, stretches: Iterable[Stretch]) -> None:
    """Read and verify every chunk, once each; raises `DamagedSnapshot` if one is missing or not what was saved."""
    first: dict[bytes, memoryview] = {}
    copies: list[tuple[memoryview, bytes]] = []
    found: list[_Found] = []
    for chunks, target in stretches:
        at = 0
        for chunk in chunks:
            end = at + chunk.plain
            if (known := first.get(chunk.id)) is None:
                first[chunk.id] = target[at:end]
                found.append((chunk.pack, chunk.offset, len(found), chunk, target, at))
            elif len(known) == chunk.plain:
                copies.append((target[at:end], chunk.id))
            else:
                raise damaged(chunk)
            at = end
    found.sort()
    runs = _runs(found, _longest(store, sum(chunk.length for _, _, _, chunk, _, _ in found)))
    batches = [copies[at : at + _BATCH] for at in range(0, len(copies), _BATCH)]
    readers = min(_readers(store, sum(run.end - run.start for run in runs)), max(len(runs), len(batches)))
    if readers <= 1:
        for run in runs:
            _read_run(store, folder, run)
        for batch in batches:
            _copy(batch, first)
        return
    with ThreadPoolExecutor(readers) as pool:
        _all([pool.submit(_read_run, store, folder, run) for run in runs], pool)
        _all([pool.submit(_copy, batch, first) for batch in batches], pool)


_Found = tuple[str, int, int, Chunk, memoryview, int]
"""A chunk by its place in its pack, and where its plain bytes go; the third is another number for each."""


def _all(tasks: Sequence[Future[_R]], pool: ThreadPoolExecutor) -> list[_R]:
    try:
        return [task.result() for task in tasks]
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise


def _readers(store: Store, size: int) -> int:
    """How many threads read so many bytes: as many as can work at once; where they wait for a network, more."""
    if is_far(store.url):
        return min(_MOST_READERS, 2 * processors())
    return 1 if size < _RUN else min(_MOST_READERS, processors())


def _longest(store: Store, size: int) -> int:
    """How many bytes one request is to read, of so many: all readers are to have work."""
    return max(_RUN, min(_LONG_RUN, size // _MOST_READERS)) if is_far(store.url) else _RUN


def _copy(copies: Sequence[tuple[memoryview, bytes]], first: dict[bytes, memoryview]) -> None:
    for place, id_ in copies:
        place[:] = first[id_]


def _read_tables(store: Store, folder: str, tables: Sequence[Blob], packs: dict[str, int]) -> list[list[Chunk]]:
    raws = [memoryview(bytearray(sum(chunk.plain for chunk in blob.chunks))) for blob in tables]
    fetch(store, folder, [Stretch(blob.chunks, raw) for blob, raw in zip(tables, raws, strict=True)])
    lists = []
    for blob, raw in zip(tables, raws, strict=True):
        chunks: list[Chunk] = []
        at = 0
        for segment in blob.chunks:
            chunks += decode_segment(raw[at : at + segment.plain], packs)
            at += segment.plain
        if sum(chunk.plain for chunk in chunks) != blob.size:
            msg = "the chunks of a blob are not as long as the blob"
            raise DamagedSnapshot(msg)
        lists.append(chunks)
    return lists


class _Run:
    """Chunks that follow each other in a pack, and where each goes.

    It is direct while all are stored as they are and lie in memory as they lie in the pack: then they are read to where
    they belong, and verified there.
    """

    def __init__(self, found: _Found) -> None:
        self.pack, self.start, _, chunk, self.target, self.at = found
        self.end = self.start + chunk.length
        self.places = [(chunk, self.target, self.at)]
        self.is_direct = chunk.codec == RAW

    def takes(self, found: _Found, longest: int) -> bool:
        """Append a chunk, if it is the next one and the run does not get too long."""
        pack, offset, _, chunk, target, at = found
        if offset != self.end or pack != self.pack or self.end + chunk.length - self.start > longest:
            return False
        if self.is_direct and (chunk.codec != RAW or target is not self.target or at - self.at != offset - self.start):
            self.is_direct = False
        self.places.append((chunk, target, at))
        self.end += chunk.length
        return True


def _runs(found: Iterable[_Found], longest: int) -> list[_Run]:
    runs: list[_Run] = []
    for one in found:
        if not runs or not runs[-1].takes(one, longest):
            runs.append(_Run(one))
    return runs


def _read_run(store: Store, folder: str, run: _Run) -> None:
    length = run.end - run.start
    stored = run.target[run.at : run.at + length] if run.is_direct else memoryview(bytearray(length))
    if is_far(store.url):
        # what comes in meanwhile waits while the system makes memory, so it is to have made it before
        ctypes.memset(address(stored), 0, len(stored))
    try:
        count = store.get_into(f"{folder}/packs/{run.pack}", run.start, stored)
    except NotFound as error:
        msg = f"pack {run.pack} is missing"
        raise DamagedSnapshot(msg) from error
    start = 0
    for chunk, target, at in run.places:
        end = start + chunk.length
        if end > count:
            raise damaged(chunk)
        plain = decode(chunk, stored[start:end])
        if not run.is_direct:
            target[at : at + chunk.plain] = plain
        start = end
