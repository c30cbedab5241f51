"""Chunks and packs: cutting bytes into hashed pieces, and keeping many pieces in one file.

A chunk is named by the BLAKE3-256 of its plain bytes, so the same bytes are stored once however often they are
saved. A pack is the stored chunks one after another, then an index of them, so that a pack explains itself:

    chunk … chunk | index: one record a chunk | length and CRC-32 of the index, magic
"""

from __future__ import annotations

import secrets
import struct
import threading
import zlib
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from nbckpt.errors import DamagedSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zstandard

    from nbckpt.storage.stores import Buffer

RAW, ZSTD = 0, 1  # codecs, as recorded
SMALL_CHUNK = 64 * 1024
LARGE_CHUNK = 256 * 1024
MAX_CHUNK = 1024 * 1024  # what a reader accepts, plain
PACK_SIZE = 16 * 1024 * 1024

_LARGE_BUFFER = 1024**3  # from here on the table of 64 KiB chunks itself would be a burden
_STRETCH = 4 * 1024 * 1024  # one probe decides for so many bytes
_SAMPLE = 8 * 1024
_PAYS = 1.5  # plain to packed: below it, a local disk is faster than the compressor

# id, codec, plain length, stored length, and where there is something to decompress the CRC-32 of what is stored: what
# is stored as it is has its id, and to compute both takes twice as long
_RECORD = struct.Struct("<32sBIII")
_TRAILER = struct.Struct("<II8s")  # length and CRC-32 of the index, magic
_MAGIC = b"NBCKPTP1"


class Chunk(NamedTuple):
    """Where one chunk is: `length` bytes at `offset` of a pack, which are `plain` bytes once decoded."""

    id: bytes
    pack: str
    offset: int
    length: int
    plain: int
    codec: int
    crc: int

    @property
    def footprint(self) -> int:
        """Bytes of the pack that are there for this chunk, its line in the index included."""
        return self.length + _RECORD.size


def chunk_size(size: int) -> int:
    """Return how long the chunks of a buffer of `size` bytes are; readers take what was recorded instead."""
    return SMALL_CHUNK if size <= _LARGE_BUFFER else LARGE_CHUNK


def flat(buffer: Buffer) -> memoryview:
    """Return `buffer` as plain bytes, without a copy."""
    view = memoryview(buffer)
    return view.cast("B") if view.nbytes else memoryview(b"")


class Probe:
    """Guesses whether compression pays, from what it sees of a buffer first, and again every few megabytes."""

    def __init__(self) -> None:
        self._pays, self._left = False, 0

    def pays(self, view: memoryview) -> bool:
        """Tell it of the next bytes, few enough to be decided on at once."""
        if self._left <= 0:
            self._pays, self._left = _promises(view), _STRETCH
        self._left -= len(view)
        return self._pays


def cut(view: memoryview, size: int, probe: Probe, *, stays: bool = False) -> Iterator[tuple[Buffer, bool]]:
    """Yield each chunk of `size` bytes of a flat `view`, and whether compressing it promises to pay.

    As a copy, because what is hashed must be what is stored, even if another thread writes to the buffer
    meanwhile; unless it `stays` as it is until it is stored.
    """
    for start in range(0, len(view), _STRETCH):
        stretch = view[start : start + _STRETCH]
        pays = probe.pays(stretch)
        for at in range(0, len(stretch), size):
            chunk = stretch[at : at + size]
            yield chunk if stays else bytes(chunk), pays


def chunk_id(plain: Buffer) -> bytes:
    """Return the name of a chunk."""
    hashed: bytes = blake3(plain).digest()
    return hashed


def encode(plain: Buffer, *, compress: bool) -> tuple[int, Buffer]:
    """Return the codec and the bytes to store for a chunk; compressed only if that is smaller."""
    if compress:
        packed = _compressor().compress(plain)
        if len(packed) * 10 < len(plain) * 9:
            return ZSTD, packed
    return RAW, plain


def decode(chunk: Chunk, stored: Buffer) -> bytes | memoryview:
    """Return the plain bytes of a chunk, verified; raises `DamagedSnapshot`.

    The id decides. Where there is something to decompress, the CRC comes first, so that the decompressor sees
    only what was stored, and the frame must announce the recorded size, so that it cannot unfold into gigabytes.
    """
    plain: bytes | memoryview = memoryview(stored)
    if chunk.codec == ZSTD:
        import zstandard

        try:
            intact = zlib.crc32(stored) == chunk.crc and zstandard.frame_content_size(stored) == chunk.plain
            plain = _decompressor().decompress(stored) if intact else b""
        except zstandard.ZstdError:
            plain = b""
    if len(plain) != chunk.plain or chunk_id(plain) != chunk.id:
        raise damaged(chunk)
    return plain


def damaged(chunk: Chunk) -> DamagedSnapshot:
    """Return the error that names a chunk whose bytes are not those that were saved."""
    return DamagedSnapshot(f"chunk {chunk.id.hex()[:12]} in pack {chunk.pack} is not what was saved")


class PackBuilder:
    """A pack in memory, until it is written.

    Its name is random, so that no name is ever used again and what deletes an old pack cannot hit a new one.
    """

    def __init__(self) -> None:
        self.id = secrets.token_hex(16)
        self.size = 0
        self._stored: list[Buffer] = []
        self._index: list[bytes] = []

    def add(self, id: bytes, plain: Buffer, *, compress: bool) -> Chunk:  # noqa: A002 - as in Chunk
        """Append one chunk and return where it is."""
        codec, stored = encode(plain, compress=compress)
        crc = zlib.crc32(stored) if codec == ZSTD else 0
        chunk = Chunk(id, self.id, self.size, len(stored), len(plain), codec, crc)
        self._stored.append(stored)
        self._index.append(_RECORD.pack(id, codec, chunk.plain, chunk.length, chunk.crc))
        self.size += len(stored)
        return chunk

    def finish(self) -> list[Buffer]:
        """Return the whole pack, as pieces to be written one after another."""
        index = b"".join(self._index)
        pieces = [*self._stored, index, _TRAILER.pack(len(index), zlib.crc32(index), _MAGIC)]
        self.size = sum(map(len, pieces))
        return pieces


def read_index(pack: str, blob: bytes) -> list[Chunk]:
    """Return the chunks that a pack says it holds, from the pack alone; raises `DamagedSnapshot`."""
    body = len(blob) - _TRAILER.size
    length, crc, magic = _TRAILER.unpack_from(blob, body) if body >= 0 else (0, 0, b"")
    index = memoryview(blob)[max(0, body - length) : max(0, body)]
    if magic != _MAGIC or length > body or length % _RECORD.size or zlib.crc32(index) != crc:
        msg = f"the index of pack {pack} is damaged"
        raise DamagedSnapshot(msg)
    chunks, offset = [], 0
    for id_, codec, plain, stored, chunk_crc in _RECORD.iter_unpack(index):
        chunks.append(Chunk(id_, pack, offset, stored, plain, codec, chunk_crc))
        offset += stored
    if offset != body - length:
        msg = f"pack {pack} is not as long as its index says"
        raise DamagedSnapshot(msg)
    return chunks


def _promises(stretch: memoryview) -> bool:
    """Guess from three samples whether compression pays: 50 µs for 4 MiB, right on nearly all real data."""
    last = max(0, len(stretch) - _SAMPLE)
    sample = b"".join(stretch[at : at + _SAMPLE] for at in sorted({0, last // 2, last}))
    return len(sample) >= _PAYS * len(_compressor().compress(sample))


def _decompressor() -> zstandard.ZstdDecompressor:
    """Return the one of this thread: to make one takes as long as a chunk."""
    import zstandard

    if (known := getattr(_of_thread, "decompressor", None)) is None:
        known = _of_thread.decompressor = zstandard.ZstdDecompressor()
    return known


_of_thread = threading.local()


@cache
def _compressor() -> zstandard.ZstdCompressor:
    import zstandard

    return zstandard.ZstdCompressor(level=1)
