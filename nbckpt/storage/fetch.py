"""Reading snapshots: many chunks at once, in long runs, straight to where they belong, each verified."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from nbckpt.errors import DamagedSnapshot, NotFound, RestoreError
from nbckpt.storage.chunks import RAW, Chunk, damaged, decode
from nbckpt.storage.records import digest
from nbckpt.storage.snapshot import Blob, Manifest, PartData, decode_manifest, decode_segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nbckpt.storage.log import Kept
    from nbckpt.storage.stores import Store

_RUN = 4 * 1024 * 1024  # bytes read at once: long enough for any store, short enough to share among threads
_MAPPED = 1024 * 1024  # bytes from which a buffer is mapped
_THREADS = min(8, 2 * (os.cpu_count() or 1))


class Piece(NamedTuple):
    """A chunk and where its plain bytes go."""

    chunk: Chunk
    target: memoryview
    at: int

    @property
    def place(self) -> memoryview:
        """The bytes of the target that this chunk fills."""
        return self.target[self.at : self.at + self.chunk.plain]


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


def read_parts(store: Store, folder: str, manifest: Manifest) -> tuple[dict[str, PartData], dict[bytes, Chunk]]:
    """Return the parts of a snapshot and all its chunks by id, every one of them verified.

    `folder` is the checkpoint's. Buffers are writable, each in memory of its own. Raises `DamagedSnapshot`.
    """
    _check_room(manifest)
    tables = [blob for part in manifest.parts for blob in part.blobs if blob.table]
    listed = dict(zip(map(id, tables), _read_tables(store, folder, tables, manifest.packs), strict=True))
    pieces: list[Piece] = []

    def place(blob: Blob) -> memoryview:
        target = _memory(blob.size)
        at = 0
        for chunk in listed[id(blob)] if blob.table else blob.chunks:
            pieces.append(Piece(chunk, target, at))
            at += chunk.plain
        return target

    parts = {p.name: PartData(p.name, place(p.stream), [place(b) for b in p.buffers], p.info) for p in manifest.parts}
    fetch(store, folder, pieces)
    chunks = {piece.chunk.id: piece.chunk for piece in pieces}
    chunks.update((chunk.id, chunk) for blob in tables for chunk in blob.chunks)
    return parts, chunks


def _check_room(manifest: Manifest) -> None:
    """Raise `RestoreError` before a snapshot that cannot fit into this machine is unfolded.

    One chunk may stand for any number of equal ones, so few bytes can claim to be very many. The tables of chunks
    are always smaller than what they list.
    """
    room = _physical_memory()
    claimed = manifest.total_bytes
    claimed += sum(chunk.plain for p in manifest.parts for blob in p.blobs if blob.table for chunk in blob.chunks)
    if room and claimed > room:
        msg = (
            f"The snapshot unfolds to {claimed / 1e9:.1f} GB and this machine has {room / 1e9:.1f} GB of memory. "
            "Nothing was loaded or changed: restore it on a larger one."
        )
        raise RestoreError(msg)


def _physical_memory() -> int:
    """Return the bytes of memory and swap, 0 where the system does not say."""
    try:
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - no file in the usual sense
            room += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("SwapTotal:"))
    except OSError:
        pass  # not Linux: swap is not counted
    return room


def _memory(size: int) -> memoryview:
    """Return writable zeros.

    Much of it comes straight from the system and untouched, so that the threads that read share the work of its
    first use, in pages as large as there are: for `bytearray` alone that takes longer than to read and verify.
    """
    if size < _MAPPED or not hasattr(mmap, "MAP_PRIVATE"):
        return memoryview(bytearray(size))
    mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            mapped.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(mapped)


def fetch(store: Store, folder: str, pieces: Iterable[Piece]) -> None:
    """Read and verify every piece; raises `DamagedSnapshot` if one is missing or not what was saved."""
    first: dict[Chunk, Piece] = {}
    copies = [piece for piece in pieces if first.setdefault(piece.chunk, piece) is not piece]
    runs = _runs(sorted(first.values(), key=lambda piece: (piece.chunk.pack, piece.chunk.offset)))
    if len(runs) == 1:
        _read_run(store, folder, runs[0])
    elif runs:
        with ThreadPoolExecutor(min(_THREADS, len(runs))) as pool:
            tasks = [pool.submit(_read_run, store, folder, run) for run in runs]
            try:
                for task in tasks:
                    task.result()
            finally:
                pool.shutdown(cancel_futures=True)
    for copy in copies:
        copy.place[:] = first[copy.chunk].place


def _read_tables(store: Store, folder: str, tables: Sequence[Blob], packs: dict[str, int]) -> list[list[Chunk]]:
    targets = [[memoryview(bytearray(chunk.plain)) for chunk in blob.chunks] for blob in tables]
    fetch(
        store,
        folder,
        [
            Piece(c, t, 0)
            for blob, row in zip(tables, targets, strict=True)
            for c, t in zip(blob.chunks, row, strict=True)
        ],
    )
    lists = [[chunk for target in row for chunk in decode_segment(target, packs)] for row in targets]
    for blob, chunks in zip(tables, lists, strict=True):
        if sum(chunk.plain for chunk in chunks) != blob.size:
            msg = "the chunks of a blob are not as long as the blob"
            raise DamagedSnapshot(msg)
    return lists


def _runs(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Group sorted pieces that follow each other in a pack."""
    runs: list[list[Piece]] = []
    end, length = ("", 0), 0
    for piece in pieces:
        chunk = piece.chunk
        if (chunk.pack, chunk.offset) != end or length + chunk.length > _RUN:
            runs.append([])
            length = 0
        runs[-1].append(piece)
        end, length = (chunk.pack, chunk.offset + chunk.length), length + chunk.length
    return runs


def _read_run(store: Store, folder: str, run: Sequence[Piece]) -> None:
    start = run[0].chunk.offset
    length = run[-1].chunk.offset + run[-1].chunk.length - start
    # Plain chunks that lie in memory as they lie in the pack are read to where they belong and verified there.
    direct = all(piece.chunk.codec == RAW for piece in run) and all(
        a.target is b.target and a.at + a.chunk.plain == b.at for a, b in itertools.pairwise(run)
    )
    stored = run[0].target[run[0].at : run[0].at + length] if direct else memoryview(bytearray(length))
    pack = run[0].chunk.pack
    try:
        count = store.get_into(f"{folder}/packs/{pack}", start, stored)
    except NotFound as error:
        msg = f"pack {pack} is missing"
        raise DamagedSnapshot(msg) from error
    for piece in run:
        at = piece.chunk.offset - start
        if at + piece.chunk.length > count:
            raise damaged(piece.chunk)
        plain = decode(piece.chunk, stored[at : at + piece.chunk.length])
        if not direct:
            piece.place[:] = plain
