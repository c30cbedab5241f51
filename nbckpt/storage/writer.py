"""Writing snapshots: packs and the manifest, and when all are durable the log entry that makes it exist."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn

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
    Fence,
    Kept,
    LogEntry,
    decode_entry,
    encode_entry,
    is_on_chain,
    log_key,
    log_seqs,
    old_seqs,
    read_entry,
)
from nbckpt.storage.prune import condemned_by
from nbckpt.storage.records import digest
from nbckpt.storage.retention import Mark, Retention
from nbckpt.storage.signing import known_keys
from nbckpt.storage.snapshot import Manifest, PartData, decode_segment, encode_manifest, encode_segment
from nbckpt.storage.stores.single_writer import SingleWriter
from nbckpt.storage.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbckpt.storage.chunks import Chunk
    from nbckpt.storage.parcel import HandedPart
    from nbckpt.storage.signing import Key
    from nbckpt.storage.stores import Store

_Outcome = Literal["ours", "earlier", "fenced"]
"""Who has the place in the log: this snapshot, an earlier attempt of ours, or a prune."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A snapshot that is durable: what it added to the store, the bytes of its state, and how long it took."""

    seq: int
    manifest_id: str
    bytes_written: int
    total_bytes: int
    seconds: float
    processor: float = 0.0
    """Seconds of processor time that were taken while the loop went on."""


@dataclass(frozen=True, slots=True)
class Base:
    """What a writer goes on from.

    The number of the entry that its own succeeds and that file's digest; the snapshots that exist, newest first,
    with the packs that each of them needs and what retention asks of it; chunks that are known to be good, with
    the sizes of their packs.
    """

    seq: int
    digest: str
    kept: tuple[Kept, ...]
    packs: dict[int, frozenset[str]]
    marks: dict[int, Mark]
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
        retention: Retention,
        writer_info: dict[str, Any],
    ) -> None:
        self._store = store
        self._store_id = store_id
        self._name = name
        self._retention = retention
        self._keys = known_keys(store.url)
        self._keys[key.id] = key
        self._key = key
        self._writer = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time(), **writer_info}
        self._base = base
        self._attempts: dict[str, _Attempt] = {}  # by their files' digests: entries that exist, for all we know
        self._doomed: set[str] = set()  # keys that retention dropped and the store has not deleted yet
        self._is_tidy = True  # or its newest commit dropped what was not tried to be deleted yet
        self._conflict: str | None = None

    def commit(
        self, description: dict[str, Any], parts: Sequence[PartData | HandedPart], *, final: bool = False
    ) -> Committed:
        """Save a snapshot; when this returns it is durable and is what `Repository.load` finds.

        `final` keeps this snapshot, and of the others only those that are kept for good. What is not kept is deleted
        by `tidy`, at the latest before the next one is saved; after a final one nothing more happens to the store.
        Raises `CheckpointConflict`, or `StoreError` if the store fails: then the snapshot before stands, and a later
        `commit` may succeed.
        """
        started = time.perf_counter()
        if self._conflict:
            raise CheckpointConflict(self._conflict)
        if not self._is_tidy:
            self.tidy()
        reusable, sizes, written = self._base.chunks, self._base.pack_sizes, 0
        while True:
            upload = Upload(self._store, self._name, reusable, sizes)
            manifest, raw = self._put(upload, description, parts, final=final)
            written += sum(upload.written.values())
            outcome: _Outcome = "earlier"
            while outcome == "earlier":
                entry, entry_raw = self._ask(upload, manifest, raw)
                outcome = self._append(entry, entry_raw)
            if outcome == "ours":
                break
            reusable, sizes = self._rebase(upload), upload.packs
        if final:
            self.tidy()
        seconds = time.perf_counter() - started
        return Committed(entry.seq, digest(raw), written + len(entry_raw), manifest.total_bytes, seconds)

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
    def retention(self) -> Retention:
        """Which snapshots stay."""
        return self._retention

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
            "looks_first": isinstance(self._store, SingleWriter),
            "store_id": self._store_id,
            "name": self._name,
            "key": self._key.id,
            "retention": self._retention.to_json(),
            "writer": self._writer,
            "seq": base.seq,
            "digest": base.digest,
            "kept": [list(kept) for kept in base.kept],
            "packs": [[seq, sorted(packs)] for seq, packs in base.packs.items()],
            "marks": [[seq, list(mark)] for seq, mark in base.marks.items()],
            "pack_sizes": base.pack_sizes,
            "doomed": sorted(self._doomed),
        }
        return record, encode_segment([*base.chunks.values()])

    @classmethod
    def assembled(cls, record: dict[str, Any], chunks: bytes, store: Store, key: Key) -> Writer:
        """Return the writer that was `dismantled` elsewhere, for `store` opened anew."""
        base = Base(
            record["seq"],
            record["digest"],
            tuple(Kept(*kept) for kept in record["kept"]),
            {seq: frozenset(packs) for seq, packs in record["packs"]},
            {seq: Mark(*mark) for seq, mark in record["marks"]},
            {chunk.id: chunk for chunk in decode_segment(chunks, record["pack_sizes"])},
            record["pack_sizes"],
        )
        retention = Retention.from_json(record["retention"])
        store = SingleWriter(store) if record["looks_first"] else store
        writer = cls(store, record["store_id"], record["name"], key, base, retention, record["writer"])
        writer._doomed.update(record["doomed"])
        writer._is_tidy = not writer._doomed
        return writer

    def tidy(self) -> None:
        """Delete what retention dropped, and old log entries, once nobody waits any more to hear of the snapshot."""
        self._is_tidy = True
        # Not a reason to fail a commit that stands: the keys stay on the list. Manifests go before packs, so that
        # a reader never meets a manifest whose packs are being deleted.
        with contextlib.suppress(StoreError):
            log = log_seqs(self._store, self._name)
            # if the checkpoint was removed and begun anew meanwhile, the log is another run's, and not yet as long; so
            # its entries are never remembered either: their names come again, those of what is doomed do not
            old = old_seqs(log, min([self._base.seq, *log[-1:]]))
            self._store.delete([*(log_key(self._name, seq) for seq in old), *sorted(self._doomed)])
            self._doomed.clear()

    def close(self) -> None:
        """Finish deleting what retention dropped, if the store lets us; what remains harms nobody."""
        if self._conflict is None and (not self._is_tidy or self._doomed):
            self.tidy()

    def _put(
        self, upload: Upload, description: dict[str, Any], parts: Sequence[PartData | HandedPart], *, final: bool
    ) -> tuple[Manifest, bytes]:
        """Make all of a snapshot durable but the entry that makes it exist; return its manifest, also as a file."""
        try:
            stored = tuple(upload.part(part) for part in parts)
            upload.flush()
            needed = dict.fromkeys(chunk.pack for chunk in upload.chunks.values())
            packs = {pack: upload.packs[pack] for pack in needed}
            manifest = Manifest(secrets.token_hex(16), time.time(), self._writer, final, description, stored, packs)
            raw = encode_manifest(manifest)
            # beside the last packs: until the entry exists, nothing leads to the manifest, and nothing from it
            upload.put(f"{self._name}/manifests/{digest(raw)}", [raw])
            upload.finish()
        except BaseException:
            upload.discard()
            raise
        return manifest, raw

    def _ask(self, upload: Upload, manifest: Manifest, raw: bytes) -> tuple[LogEntry, bytes]:
        """Return the entry that a snapshot exists with, also as a file, and remember it before it is asked for."""
        seq = self._base.seq + 1
        new = Kept(seq, digest(raw), len(raw))
        marks = {**self._base.marks, seq: Mark.of(manifest.description)}
        known = [(kept, marks[kept.seq]) for kept in (new, *self._base.kept)]
        keep = self._retention.kept(known, final=manifest.final)
        write_id = manifest.write_id
        entry = LogEntry(
            self._store_id, self._name, seq, self._base.digest, write_id, self._writer, manifest.time, keep
        )
        entry_raw = encode_entry(entry, self._key)
        needs = {**self._base.packs, seq: frozenset(manifest.packs)}
        base = Base(seq, digest(entry_raw), keep, needs, marks, upload.chunks, manifest.packs)
        self._attempts[digest(entry_raw)] = _Attempt(entry, base, tuple(upload.written))
        return entry, entry_raw

    def _append(self, entry: LogEntry, raw: bytes) -> _Outcome:
        """Create the log entry, unless a prune or an earlier attempt of ours turns out to have that place already."""
        try:
            self._store.put(log_key(self._name, entry.seq), [raw], if_absent=True)
            found = raw
        except AlreadyExists:
            try:
                found = read_entry(self._store, self._name, entry.seq)
            except NotFound:  # taken, and pruned since: by runs that are far ahead, perhaps on top of our entry
                self._refuse(entry.seq, b"")
        # An entry of ours that we did not hear about was a lost response, which is success.
        winner = self._attempts.get(digest(found))
        if winner is None:
            if self._fence(entry.seq, found) is not None:
                return "fenced"
            self._discard_attempts(entry.seq)
            self._refuse(entry.seq, found)
        if not is_on_chain(self._store, winner.entry, found, self._keys):
            self._store.delete([log_key(self._name, entry.seq)])
            if not log_seqs(self._store, self._name):  # removed: nothing is to be left of it
                self._store.delete(sorted({key for a in self._attempts.values() for key in a.keys}))
            self._refuse(entry.seq, b"")
        self._adopt(winner, entry)
        return "ours" if winner.entry is entry else "earlier"

    def _fence(self, seq: int, raw: bytes) -> Fence | None:
        """Return the fence in a file, if it is the entry of a prune that went on from where we stand."""
        try:
            entry = decode_entry(raw, self._keys, self._store_id, self._name, seq)
        except (DamagedSnapshot, UntrustedSnapshot, UnsupportedFormat):
            return None
        return entry.fence if entry.previous == self._base.digest else None

    def _rebase(self, upload: Upload) -> dict[bytes, Chunk]:
        """Go on from behind the prunes that came between; return the chunks of `upload` that they left alone.

        A prune marks what the snapshots need that exist, and knows nothing of one that is on its way: its packs
        are written again under new names where they were condemned, and its manifest in any case.
        """
        condemned: set[str] = set()
        newest = max(log_seqs(self._store, self._name), default=0)
        for seq in range(self._base.seq + 1, newest + 1):
            try:
                raw = read_entry(self._store, self._name, seq)
            except NotFound:  # behind by more than the log keeps: nobody can say what happened
                self._refuse(seq, b"")
            fence = self._fence(seq, raw)
            if fence is None:
                self._discard_attempts(seq)
                self._refuse(seq, raw)
            listed = condemned_by(self._store, self._name, fence)
            condemned |= set(upload.packs) - _needed(self._base) if listed is None else listed
            self._base = replace(self._base, seq=seq, digest=digest(raw))
        return {id_: chunk for id_, chunk in upload.chunks.items() if chunk.pack not in condemned}

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
        base = replace(base, packs=packs, marks={kept.seq: base.marks[kept.seq] for kept in base.kept})
        folder = f"{self._name}/"
        needed = {f"{folder}packs/{pack}" for pack in _needed(base)}
        needed |= {f"{folder}manifests/{kept.manifest}" for kept in base.kept}
        dropped = {f"{folder}packs/{pack}" for pack in _needed(winner.base)}
        dropped |= {f"{folder}manifests/{kept.manifest}" for kept in self._base.kept}
        others = (attempt for attempt in self._attempts.values() if attempt.entry is not current)
        failed = {key for attempt in others for key in attempt.keys}
        self._doomed = (self._doomed | dropped | failed) - needed
        self._base = base
        self._attempts.clear()
        self._is_tidy = False

    def _refuse(self, seq: int, found: bytes) -> NoReturn:
        """Stop saving for good, and say who has the name: by the file that was found in our place, or the newest."""
        who = "was saved or removed by another kernel"
        try:
            if not found:
                seq = max(log_seqs(self._store, self._name), default=0)
                found = read_entry(self._store, self._name, seq)
            author = decode_entry(found, self._keys, self._store_id, self._name, seq).author
            who = f"is held by another kernel ({author}), which saved"
        except (StoreError, DamagedSnapshot, UntrustedSnapshot, UnsupportedFormat):
            pass  # then nobody can say who; what follows holds all the same
        self._conflict = (
            f"Checkpoint {self._name!r} {who} while this run used it: the saves of this run stop here, its "
            "computation may go on, and nothing that was saved is lost. Give one of the two another name."
        )
        raise CheckpointConflict(self._conflict)


def _needed(base: Base) -> frozenset[str]:
    """Return the packs of all snapshots that a writer goes on from."""
    return frozenset().union(*base.packs.values())
