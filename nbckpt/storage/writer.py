"""Writing snapshots: packs, the manifest, then the log entry that makes it exist, each durable before the next."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from nbckpt.errors import (
    AlreadyExists,
    CheckpointConflict,
    DamagedSnapshot,
    NotFound,
    StoreError,
    UnsupportedFormat,
    UntrustedSnapshot,
)
from nbckpt.storage.log import (
    Kept,
    LogEntry,
    check_succession,
    decode_entry,
    encode_entry,
    log_key,
    log_seqs,
    read_entry,
)
from nbckpt.storage.records import digest
from nbckpt.storage.snapshot import Manifest, PartData, decode_segment, encode_manifest, encode_segment
from nbckpt.storage.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbckpt.storage.chunks import Chunk
    from nbckpt.storage.signing import Key
    from nbckpt.storage.stores import Store

# Entries that stay in the log. A writer that wakes up further behind than this finds a gap, and so that it is late.
_LOG_KEEPS = 16


@dataclass(frozen=True, slots=True)
class Committed:
    """A snapshot that is durable: what it added to the store, the bytes of its state, and how long it took."""

    seq: int
    manifest_id: str
    bytes_written: int
    total_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Base:
    """What a writer goes on from.

    The number of the entry that its own succeeds and that file's digest; the snapshots that exist, newest first,
    with the packs that each of them needs; chunks that are known to be good, with the sizes of their packs.
    """

    seq: int
    digest: str
    kept: tuple[Kept, ...]
    packs: dict[int, frozenset[str]]
    chunks: dict[bytes, Chunk]
    pack_sizes: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A log entry that we asked for, what we go on from if it exists, and the keys written for it."""

    entry: LogEntry
    base: Base
    keys: tuple[str, ...]


class Writer:
    """Saves the snapshots of one run, one after another, each as the successor of the one before.

    Not for several threads at once. If another writer saves under the name, this one's next `commit` raises
    `CheckpointConflict`, and so do all after it: two runs never mix.
    """

    def __init__(
        self,
        store: Store,
        store_id: str,
        name: str,
        key: Key,
        base: Base,
        keep: int,
        writer_info: dict[str, Any],
    ) -> None:
        self._store = store
        self._store_id = store_id
        self._name = name
        self._keep = keep
        self._keys = {key.id: key}
        self._key = key
        self._writer = {"host": socket.gethostname(), "pid": os.getpid(), **writer_info}
        self._base = base
        self._attempts: dict[str, _Attempt] = {}  # by write id: entries that exist, for all we know
        self._doomed: set[str] = set()  # keys that retention dropped and the store has not deleted yet
        self._conflict: str | None = None

    def commit(self, description: dict[str, Any], parts: Sequence[PartData], *, final: bool = False) -> Committed:
        """Save a snapshot; when this returns it is durable and is what `Repository.load` finds.

        `final` keeps this snapshot only. Raises `CheckpointConflict`, or `StoreError` if the store fails: then
        the snapshot before stands, and a later `commit` may succeed.
        """
        started = time.perf_counter()
        if self._conflict:
            raise CheckpointConflict(self._conflict)
        upload = Upload(self._store, self._name, self._base.chunks, self._base.pack_sizes)
        try:
            stored = tuple(upload.part(part) for part in parts)
            upload.finish()
            now, write_id = time.time(), secrets.token_hex(16)
            needed = dict.fromkeys(chunk.pack for chunk in upload.chunks.values())
            packs = {pack: upload.packs[pack] for pack in needed}
            manifest = Manifest(write_id, now, self._writer, final, description, stored, packs)
            raw = encode_manifest(manifest)
            manifest_id = digest(raw)
            upload.put(f"{self._name}/manifests/{manifest_id}", [raw])
        except BaseException:
            upload.discard()
            raise
        while True:
            seq = self._base.seq + 1
            new = Kept(seq, manifest_id, len(raw))
            keep = (new,) if final else (new, *self._base.kept)[: self._keep]
            entry = LogEntry(self._store_id, self._name, seq, self._base.digest, write_id, self._writer, now, keep)
            entry_raw = encode_entry(entry, self._key)
            needs = {**self._base.packs, seq: frozenset(packs)}
            base = Base(seq, digest(entry_raw), keep, needs, upload.chunks, packs)
            self._attempts[write_id] = _Attempt(entry, base, tuple(upload.written))
            if self._append(entry, entry_raw):
                break
        self._tidy()
        written = sum(upload.written.values()) + len(entry_raw)
        return Committed(seq, manifest_id, written, manifest.total_bytes, time.perf_counter() - started)

    @property
    def url(self) -> str:
        """Where the store is."""
        return self._store.url

    @property
    def store_id(self) -> str:
        """Which store it is."""
        return self._store_id

    @property
    def name(self) -> str:
        """The checkpoint's."""
        return self._name

    @property
    def info(self) -> dict[str, Any]:
        """Who saves."""
        return self._writer

    @property
    def newest(self) -> str:
        """The manifest of the newest snapshot that exists as far as it knows, empty for none."""
        return self._base.kept[0].manifest if self._base.kept else ""

    @property
    def asked(self) -> list[str]:
        """The manifests of snapshots that may exist unheard of."""
        return [attempt.entry.keep[0].manifest for attempt in self._attempts.values()]

    @property
    def is_settled(self) -> bool:
        """Whether it knows for sure what it goes on from: no entry that it asked for may exist unheard of."""
        return not self._attempts

    @property
    def standing(self) -> tuple[int, str]:
        """The entry of the log that its next one succeeds, by number and digest."""
        return self._base.seq, self._base.digest

    def dismantled(self) -> tuple[dict[str, Any], bytes]:
        """Return what another process needs to go on in this one's place, as a record and bytes."""
        base = self._base
        record = {
            "url": self._store.url,
            "store_id": self._store_id,
            "name": self._name,
            "key": self._key.id,
            "keep": self._keep,
            "writer": self._writer,
            "seq": base.seq,
            "digest": base.digest,
            "kept": [list(kept) for kept in base.kept],
            "packs": [[seq, sorted(packs)] for seq, packs in base.packs.items()],
            "pack_sizes": base.pack_sizes,
            "doomed": sorted(self._doomed),
        }
        return record, encode_segment([*base.chunks.values()])

    @classmethod
    def assembled(cls, record: dict[str, Any], chunks: bytes, store: Store, key: Key) -> Writer:
        """Return the writer that was `dismantled` elsewhere."""
        base = Base(
            record["seq"],
            record["digest"],
            tuple(Kept(*kept) for kept in record["kept"]),
            {seq: frozenset(packs) for seq, packs in record["packs"]},
            {chunk.id: chunk for chunk in decode_segment(chunks, record["pack_sizes"])},
            record["pack_sizes"],
        )
        writer = cls(store, record["store_id"], record["name"], key, base, record["keep"], record["writer"])
        writer._doomed.update(record["doomed"])
        return writer

    def close(self) -> None:
        """Finish deleting what retention dropped, if the store lets us; what remains harms nobody."""
        if self._conflict is None:
            self._tidy()

    def _append(self, entry: LogEntry, raw: bytes) -> bool:
        """Create the log entry; False if an earlier attempt of ours turns out to have that place already."""
        try:
            self._store.put(log_key(self._name, entry.seq), [raw], if_absent=True)
            found = raw
        except AlreadyExists:
            try:
                found = read_entry(self._store, self._name, entry.seq)
            except NotFound:  # taken, and pruned since: by runs that are far ahead, perhaps on top of our entry
                self._refuse(entry.seq, b"")
        # An entry of ours that we did not hear about was a lost response, which is success.
        ours = [attempt for attempt in self._attempts.values() if attempt.base.digest == digest(found)]
        if not ours:
            self._discard_attempts(entry.seq)
            self._refuse(entry.seq, found)
        (winner,) = ours
        if not self._on_chain(winner.entry, found):
            self._store.delete([log_key(self._name, entry.seq)])
            self._refuse(entry.seq, b"")
        self._adopt(winner, entry)
        return winner.entry is entry

    def _on_chain(self, entry: LogEntry, raw: bytes) -> bool:
        """Tell whether the log leads to our entry: whether we were awake enough to be the one that goes on.

        Its place may have been free because the log is long past it, or because the checkpoint was removed. An
        entry that is not on the chain may be deleted, any other never: its place would be free once more.
        """
        log = log_seqs(self._store, self._name)
        if log and log[-1] > entry.seq:
            try:
                after = read_entry(self._store, self._name, entry.seq + 1)
                successor = decode_entry(after, self._keys, self._store_id, self._name, entry.seq + 1)
            except NotFound:  # so far behind that ours is being pruned too, if it is on the chain
                return False
            except (DamagedSnapshot, UntrustedSnapshot, UnsupportedFormat):  # somebody went on; our next save will tell
                return True
            return successor.previous == digest(raw)
        try:
            check_succession(entry, read_entry(self._store, self._name, entry.seq - 1), self._keys)
        except NotFound:  # removed with all the checkpoint, unless it was pruned just now
            return log_seqs(self._store, self._name)[-1:] != log[-1:] and self._on_chain(entry, raw)
        except DamagedSnapshot:
            return False
        return True

    def _discard_attempts(self, seq: int) -> None:
        """Delete what we wrote for a place that somebody else has, if ours can never have been there before."""
        with contextlib.suppress(StoreError):
            if log_seqs(self._store, self._name)[-1:] == [seq]:
                self._store.delete(sorted({key for a in self._attempts.values() for key in a.keys}))

    def _adopt(self, winner: _Attempt, current: LogEntry) -> None:
        """Go on from a snapshot of ours that now exists.

        Doomed are what it does not keep, and our failed attempts: not the current one, which may come next.
        """
        base = winner.base
        packs = {kept.seq: base.packs[kept.seq] for kept in base.kept}
        folder = f"{self._name}/"
        needed = {f"{folder}packs/{pack}" for pack in frozenset().union(*packs.values())}
        needed |= {f"{folder}manifests/{kept.manifest}" for kept in base.kept}
        dropped = {f"{folder}packs/{pack}" for pack in frozenset().union(*base.packs.values())}
        dropped |= {f"{folder}manifests/{kept.manifest}" for kept in self._base.kept}
        others = (attempt for attempt in self._attempts.values() if attempt.entry is not current)
        failed = {key for attempt in others for key in attempt.keys}
        self._doomed |= (dropped | failed) - needed
        self._base = replace(base, packs=packs)
        self._attempts.clear()

    def _tidy(self) -> None:
        """Delete what retention dropped, and old log entries."""
        # Not a reason to fail a commit that stands: the keys stay on the list. Manifests go before packs, so that
        # a reader never meets a manifest whose packs are being deleted.
        with contextlib.suppress(StoreError):
            log = log_seqs(self._store, self._name)
            self._doomed.update(log_key(self._name, seq) for seq in log if seq <= self._base.seq - _LOG_KEEPS)
            self._store.delete(sorted(self._doomed))
            self._doomed.clear()

    def _refuse(self, seq: int, found: bytes) -> NoReturn:
        try:
            author = decode_entry(found, self._keys, self._store_id, self._name, seq).author
            who = f"was saved by another kernel ({author})"
        except (DamagedSnapshot, UntrustedSnapshot, UnsupportedFormat):
            who = "was saved or removed by another kernel"
        self._conflict = (
            f"Checkpoint {self._name!r} {who} while this run used it: the saves of this run stop here, its "
            "computation may go on, and nothing that was saved is lost. Give one of the two another name."
        )
        raise CheckpointConflict(self._conflict)
