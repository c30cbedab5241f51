"""The way of a snapshot's bytes into packs: what is in the store already is not written again."""

from __future__ import annotations

import contextlib
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from nbckpt.errors import DamagedSnapshot, StoreError
from nbckpt.storage.chunks import PACK_SIZE, ZSTD, Chunk, PackBuilder, Probe, chunk_id, chunk_size, cut, flat
from nbckpt.storage.fetch import Stretch, fetch
from nbckpt.storage.parcel import BlocksGoneError, Piece
from nbckpt.storage.snapshot import INLINE, SEGMENT, Blob, Part, PartData, encode_segment
from nbckpt.storage.stores import is_far

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbckpt.storage.parcel import HandedPart
    from nbckpt.storage.stores import Buffer, Store

_IN_FLIGHT, _FAR_IN_FLIGHT = 4, 8  # packs being written while the next is filled; where they wait for a network
_LITTLE = 256 * 1024  # bytes of a pack that is written sooner than a thread for it is started
_SMALL = 1024 * 1024  # bytes in use that make a pack a small one
_CROWD = 64  # small packs, before they are merged
_BURDEN = 2.5  # bytes in the packs of a snapshot for each that it needs, before the deadest are written anew


class Upload:
    """The bytes of one attempt to save, on their way into packs.

    `chunks` is what the snapshot consists of, `packs` gives the size of every pack that may hold them, `written`
    the size of all that this attempt wrote, by key. `reusable` are chunks known to be good, in packs of
    `pack_sizes`.
    """

    def __init__(self, store: Store, folder: str, reusable: dict[bytes, Chunk], pack_sizes: dict[str, int]) -> None:
        self.chunks: dict[bytes, Chunk] = {}
        self.packs = dict(pack_sizes)
        self.written: dict[str, int] = {}
        self._store = store
        self._folder = folder
        self._reusable = _worth_keeping(reusable, pack_sizes)
        self._builder = PackBuilder()
        self._pool: ThreadPoolExecutor | None = None
        self._is_far = is_far(store.url)
        self._in_flight = _FAR_IN_FLIGHT if self._is_far else _IN_FLIGHT
        self._running: set[Future[None]] = set()

    def part(self, part: PartData | HandedPart) -> Part:
        """Store a part."""
        return Part(part.name, part.info, self._blob(part.stream), tuple(map(self._blob, part.buffers)))

    def flush(self) -> None:
        """Send the last pack on its way: after this, `packs` and `written` know of all."""
        if self._builder.size:
            self._send(self._builder)

    def put(self, key: str, bufs: Sequence[Buffer]) -> None:
        """Write one blob, and remember that this attempt did."""
        self.written[key] = sum(map(len, bufs))
        self._store.put(key, bufs)

    def finish(self) -> None:
        """Wait until all packs are durable."""
        if self._pool is not None:
            for task in self._running:
                task.result()
            self._pool.shutdown()

    def discard(self) -> None:
        """Remove what was written: no entry leads to it, and the disk may be full of it."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        with contextlib.suppress(StoreError):
            self._store.delete(list(self.written))

    def _blob(self, buffer: Buffer | Piece) -> Blob:
        whole = buffer if isinstance(buffer, Piece) else flat(buffer)
        blocks = whole.blocks() if isinstance(whole, Piece) else [whole]
        size, probe = chunk_size(len(whole)), Probe()
        stored = []
        for block in blocks:
            if isinstance(block, memoryview):
                stays = isinstance(whole, Piece) and whole.stays
                pieces = cut(block, size, probe, stays=stays)
                stored.append(tuple(self._chunk(plain, compress=pays) for plain, pays in pieces))
            else:
                stored.append(self._again(block))
        if isinstance(whole, Piece):
            whole.stored = stored
        chunks = [chunk for block in stored for chunk in block]
        if len(chunks) <= INLINE:
            return Blob(len(whole), tuple(chunks))
        segments = (encode_segment(chunks[at : at + SEGMENT]) for at in range(0, len(chunks), SEGMENT))
        return Blob(len(whole), tuple(self._chunk(raw, compress=False) for raw in segments), table=True)

    def _chunk(self, plain: Buffer, *, compress: bool) -> Chunk:
        id_ = chunk_id(plain)
        chunk = self._found(id_)
        if chunk is None:
            chunk = self._builder.add(id_, plain, compress=compress)
            if self._builder.size >= PACK_SIZE:
                full, self._builder = self._builder, PackBuilder()
                self._send(full)
        self.chunks[id_] = chunk
        return chunk

    def _again(self, block: Sequence[Chunk]) -> tuple[Chunk, ...]:
        """Store a block that the newest snapshot has; what of it is to be written anew is read there."""
        found = [self._found(chunk.id) for chunk in block]
        if None not in found:
            stored = tuple(chunk for chunk in found if chunk is not None)
            self.chunks.update((chunk.id, chunk) for chunk in stored)
            return stored
        gone = [chunk for chunk, known in zip(block, found, strict=True) if known is None]
        targets = [memoryview(bytearray(chunk.plain)) for chunk in gone]
        try:
            fetch(self._store, self._folder, [Stretch([c], t) for c, t in zip(gone, targets, strict=True)])
        except DamagedSnapshot as error:
            raise BlocksGoneError(f"The snapshot before cannot be read any more: {error}.") from error
        for chunk, plain in zip(gone, targets, strict=True):
            self._chunk(bytes(plain), compress=chunk.codec == ZSTD)
        return self._again(block)

    def _found(self, id_: bytes) -> Chunk | None:
        return self.chunks.get(id_) or self._reusable.get(id_)

    def _send(self, builder: PackBuilder) -> None:
        """Write a pack while the next one is being filled, or the manifest is written."""
        pieces, key = builder.finish(), f"{self._folder}/packs/{builder.id}"
        self.packs[builder.id] = builder.size
        if self._is_far:
            pieces = [b"".join(pieces)]  # it is sent as one: what it is made of need not wait for that
        if self._pool is None and builder.size < _LITTLE:
            self.put(key, pieces)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._in_flight)
        if len(self._running) >= self._in_flight:
            done, self._running = wait(self._running, return_when=FIRST_COMPLETED)
            for task in done:
                task.result()
        self._running.add(self._pool.submit(self.put, key, pieces))


def _worth_keeping(chunks: dict[bytes, Chunk], pack_sizes: dict[str, int]) -> dict[bytes, Chunk]:
    """Return the chunks to use again: not those in packs that are mostly dead, nor in crowds of small packs.

    Writing these anew bounds the disk at a small multiple of the state, and the number of files that a restore
    opens. The longer a pack is left alone, the less of it is left to write: so the deadest go first, and only when
    there is too much dead weight in all. Then scattered edits cost less than a tenth more than what they change.
    """
    used: Counter[str] = Counter()
    for chunk in chunks.values():
        used[chunk.pack] += chunk.footprint
    small = {pack for pack, size in used.items() if size < _SMALL}
    left = set(small) if len(small) > _CROWD else set()
    weight = sum(pack_sizes[pack] for pack in used)
    for pack in sorted(used, key=lambda pack: used[pack] / pack_sizes[pack]):
        if weight <= _BURDEN * used.total() or 2 * used[pack] >= pack_sizes[pack]:
            break
        weight -= pack_sizes[pack] - used[pack]
        left.add(pack)
    return {id_: chunk for id_, chunk in chunks.items() if chunk.pack not in left}
