"""The manifest: the one file that says what a snapshot holds and where every byte of it is."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbckpt.errors import DamagedSnapshot, UnsupportedFormat
from nbckpt.storage.chunks import MAX_CHUNK, RAW, ZSTD, Chunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbckpt.storage.stores import Buffer

FORMAT = 1

INLINE = 32  # a blob of more chunks than this has its table in a pack, not in the manifest
SEGMENT = 1024  # chunks a segment of such a table; one that did not change is the same bytes, stored once

_HEAD = struct.Struct("<II")  # chunks and packs in a segment
_ROW = struct.Struct("<32sIIIIBI")  # a chunk: id, pack number, offset, length, plain length, codec, CRC-32
_PACK_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class PartData:
    """A part as bytes: its pickle stream, its out-of-band buffers, and what people may know about it.

    `info` is anything JSON can hold (variables, types, sizes).
    """

    name: str
    stream: Buffer
    buffers: list[memoryview]
    info: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Blob:
    """A stream or buffer of `size` bytes. Its chunks, or (`table`) the chunks of the table that lists them."""

    size: int
    chunks: tuple[Chunk, ...]
    table: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A part in a manifest: like `PartData`, with blobs for the bytes."""

    name: str
    info: dict[str, Any]
    stream: Blob
    buffers: tuple[Blob, ...]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """The stream, then the buffers."""
        return (self.stream, *self.buffers)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One snapshot. `packs` gives the size of every pack it needs; `description` is the run's own account.

    `write_id` is new with every attempt to save, so that no attempt's file has the name of another's.
    """

    write_id: str
    time: float
    writer: dict[str, Any]
    final: bool
    description: dict[str, Any]
    parts: tuple[Part, ...]
    packs: dict[str, int]

    @property
    def total_bytes(self) -> int:
        """Bytes of all streams and buffers, before compression and sharing."""
        return sum(blob.size for part in self.parts for blob in part.blobs)


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the file; equal manifests give equal bytes."""
    numbers = {pack: number for number, pack in enumerate(manifest.packs)}

    def blob(b: Blob) -> dict[str, Any]:
        rows = [[c.id.hex(), numbers[c.pack], *c[2:]] for c in b.chunks]
        return {"size": b.size, "table" if b.table else "chunks": rows}

    record = {
        "format": FORMAT,
        "write_id": manifest.write_id,
        "time": manifest.time,
        "writer": manifest.writer,
        "final": manifest.final,
        "description": manifest.description,
        "parts": [
            {
                "name": p.name,
                "info": p.info,
                "stream": blob(p.stream),
                "buffers": [blob(b) for b in p.buffers],
            }
            for p in manifest.parts
        ],
        "packs": [[pack, size] for pack, size in manifest.packs.items()],
    }
    return json.dumps(record, separators=(",", ":")).encode("ascii")


def decode_manifest(raw: bytes) -> Manifest:
    """Return the manifest in a file; raises `DamagedSnapshot`, or `UnsupportedFormat` for a newer one."""
    try:
        record = json.loads(raw)
        check_format(record["format"], "This snapshot")
        packs = {_pack_id(pack): _count(size) for pack, size in record["packs"]}
        places = list(packs.items())
        parts = tuple(
            Part(
                _typed(part["name"], str),
                _typed(part["info"], dict),
                _blob(part["stream"], places),
                tuple(_blob(item, places) for item in part["buffers"]),
            )
            for part in record["parts"]
        )
        return Manifest(
            _typed(record["write_id"], str),
            float(record["time"]),
            _typed(record["writer"], dict),
            _typed(record["final"], bool),
            _typed(record["description"], dict),
            parts,
            packs,
        )
    except (LookupError, TypeError, ValueError, RecursionError, OverflowError) as error:
        if isinstance(error, UnsupportedFormat):
            raise
        msg = "its manifest makes no sense"
        raise DamagedSnapshot(msg) from error


def check_format(found: object, what: str) -> None:
    """Raise `UnsupportedFormat` if `found` is a newer format than ours, `ValueError` if it is none."""
    if type(found) is not int or found < 1:
        msg = f"no format: {found!r}"
        raise ValueError(msg)
    if found > FORMAT:
        msg = (
            f"{what} has format {found}, and this nbckpt reads formats up to {FORMAT}; nothing was touched. "
            "Upgrade with: pip install -U nbckpt"
        )
        raise UnsupportedFormat(msg)


def encode_segment(chunks: Sequence[Chunk]) -> bytes:
    """Return a piece of a table in binary, with its own list of packs: independent of the manifest around it."""
    numbers: dict[str, int] = {}
    row, number = _ROW.pack, numbers.setdefault
    rows = b"".join([row(id_, number(pack, len(numbers)), *rest) for id_, pack, *rest in chunks])
    return _HEAD.pack(len(chunks), len(numbers)) + b"".join(map(bytes.fromhex, numbers)) + rows


def decode_segment(raw: Buffer, packs: dict[str, int]) -> list[Chunk]:
    """Return the chunks in a piece of a table, all within `packs`; raises `DamagedSnapshot`."""
    try:
        count, pack_count = _HEAD.unpack_from(raw)
        rows = _HEAD.size + 16 * pack_count
        ids = [bytes(raw[at : at + 16]).hex() for at in range(_HEAD.size, min(rows, len(raw)), 16)]
        places = [(pack, packs[pack]) for pack in ids]
        chunks = []
        for id_, number, *rest in _ROW.iter_unpack(memoryview(raw)[rows:]):
            pack, size = places[number]
            chunks.append(_placed(Chunk(id_, pack, *rest), size))
    except (LookupError, ValueError, struct.error) as error:
        msg = "a table of its chunks makes no sense"
        raise DamagedSnapshot(msg) from error
    if len(chunks) != count:
        msg = "a table of its chunks is not as long as it says"
        raise DamagedSnapshot(msg)
    return chunks


def _blob(item: Any, places: list[tuple[str, int]]) -> Blob:
    table = "table" in item
    chunks = tuple(_chunk(row, places) for row in item["table" if table else "chunks"])
    size = _count(item["size"])
    if table and 16 * sum(chunk.plain for chunk in chunks) > size + MAX_CHUNK:
        msg = "a table of chunks is out of all proportion to what it lists"
        raise ValueError(msg)
    if not table and sum(chunk.plain for chunk in chunks) != size:
        msg = "the chunks of a blob are not as long as the blob"
        raise ValueError(msg)
    return Blob(size, chunks, table)


def _chunk(row: Any, places: list[tuple[str, int]]) -> Chunk:
    id_, number, *rest = row
    offset, length, plain, codec, crc = map(_count, rest)
    pack, size = places[_count(number)]
    return _placed(Chunk(bytes.fromhex(id_), pack, offset, length, plain, codec, crc), size)


def _placed(chunk: Chunk, pack_size: int) -> Chunk:
    whole = chunk.codec == ZSTD or (chunk.codec == RAW and chunk.length == chunk.plain)
    fits = chunk.offset + chunk.length <= pack_size and max(chunk.plain, chunk.length) <= MAX_CHUNK
    if not (whole and fits and len(chunk.id) == 32):
        msg = "a chunk is out of bounds"
        raise ValueError(msg)
    return chunk


def _pack_id(value: Any) -> str:
    if not _PACK_ID.fullmatch(value):
        msg = "not the name of a pack"
        raise ValueError(msg)
    return str(value)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        msg = "not a count"
        raise ValueError(msg)
    return value


def _typed(value: Any, type_: type) -> Any:
    if not isinstance(value, type_):
        msg = f"not a {type_.__name__}"
        raise TypeError(msg)
    return value
