"""The log of a checkpoint: one small signed file a commit, numbered without gaps, each naming the one before.

A snapshot exists if and only if the newest entry keeps it. Entries are only ever created, never changed; the
store lets exactly one writer create the next number. That is all the locking there is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from nbckpt.errors import DamagedSnapshot, NotFound, StoreError, UnsupportedFormat, UntrustedSnapshot
from nbckpt.storage.records import digest, seal, unseal
from nbckpt.storage.signing import AlteredError, Key, signed, verify
from nbckpt.storage.snapshot import FORMAT, check_format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbckpt.storage.stores import Store

_FILE = re.compile(r"([0-9]{8,18})\.json")
_HEX = re.compile(r"[0-9a-f]{64}")
ALTERED = "it was altered after it was signed"

LARGEST = 64 * 1024 * 1024
"""Bytes of an entry that a reader accepts: it grows by some 80 for each snapshot that is kept."""

# Entries that stay in the log. A writer that wakes up further behind than this finds a gap, and so that it is late.
KEEPS = 16


class Kept(NamedTuple):
    """A snapshot that an entry keeps: its number, its manifest's name, that file's bytes."""

    seq: int
    manifest: str
    manifest_bytes: int


class Fence(NamedTuple):
    """What a prune says in its entry: its number, and the digest of the file that lists what it condemned."""

    epoch: int
    condemned: str


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What one commit says.

    `keep` lists the snapshots that exist from then on, newest first, its own included. Number 0 keeps none: it
    begins the log. `previous` is the digest of the entry before. The entry of a prune has a `fence`, adds no
    snapshot and keeps those that the entry before it does.
    """

    store: str
    checkpoint: str
    seq: int
    previous: str
    write_id: str
    writer: dict[str, Any]
    time: float
    keep: tuple[Kept, ...]
    fence: Fence | None = None
    key: str = ""
    """The id of the key that it was found to be signed with."""

    @property
    def author(self) -> str:
        """Who wrote it and since when that run has been there, in words."""
        since = self.writer.get("since")
        if not isinstance(since, (int, float)):
            since = self.time
        when = datetime.fromtimestamp(since, tz=timezone.utc).astimezone().isoformat(" ", "seconds")
        return f"host {self.writer.get('host', '?')}, pid {self.writer.get('pid', '?')}, since {when}"


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a log: the newest number and that file's digest, and the newest entry that holds.

    `damage` says what is wrong with each entry that is newer.
    """

    seq: int
    digest: str
    entry: LogEntry | None
    damage: dict[int, str]


def log_key(name: str, seq: int) -> str:
    """Return the key of an entry."""
    return f"{name}/log/{seq:08d}.json"


def log_seqs(store: Store, name: str) -> list[int]:
    """Return the numbers in a log, oldest first."""
    prefix = f"{name}/log/"
    matches = (_FILE.fullmatch(entry.key[len(prefix) :]) for entry in store.list(prefix))
    return sorted(int(match[1]) for match in matches if match and log_key(name, int(match[1])).endswith(match[0]))


def owners_key(entry: LogEntry, keys: dict[str, Key]) -> Key:
    """Return the key that `entry` is signed with: what others than its owner append to a log needs it.

    Signed with another, it would be foreign to the run that saves there. Raises `UntrustedSnapshot` without it.
    """
    key = keys.get(entry.key)
    if key is None:
        msg = (
            f"Snapshot {entry.seq} of {entry.checkpoint!r} is signed with the key {entry.key!r:.40}, which is not on "
            "this machine, and its owner could not read what another key signs there. Nothing was changed: run this "
            "where that key is, or `nbckpt key import` it first."
        )
        raise UntrustedSnapshot(msg)
    return key


def old_seqs(seqs: Sequence[int], newest: int) -> list[int]:
    """Return the numbers in a log that nobody needs any more, now that `newest` is in it."""
    return [seq for seq in seqs if seq <= newest - KEEPS]


def encode_entry(entry: LogEntry, key: Key) -> bytes:
    """Return the signed file."""
    record = {
        "format": FORMAT,
        "store": entry.store,
        "checkpoint": entry.checkpoint,
        "seq": entry.seq,
        "previous": entry.previous,
        "write_id": entry.write_id,
        "writer": entry.writer,
        "time": entry.time,
        "keep": [list(kept) for kept in entry.keep],
        **({"fence": list(entry.fence)} if entry.fence else {}),
    }
    return seal(signed(record, key))


def decode_entry(raw: bytes, keys: dict[str, Key], store_id: str, name: str, seq: int) -> LogEntry:
    """Return the entry in a file that was found as number `seq` of `name`.

    Raises `DamagedSnapshot` if it is not what was written, `UntrustedSnapshot` if none of `keys` signed it for
    this very place, `UnsupportedFormat` if it is newer than we are.
    """
    record = unseal(raw)
    what = f"Snapshot {seq} of {name!r}"
    try:
        check_format(record.get("format"), what)
        verify(record, keys, what)
        entry = LogEntry(
            record["store"],
            record["checkpoint"],
            record["seq"],
            str(record["previous"]),
            str(record["write_id"]),
            dict(record["writer"]),
            float(record["time"]),
            tuple(_kept(item) for item in record["keep"]),
            _fence(record["fence"]) if "fence" in record else None,
            str(record.get("key", "")),
        )
        entry.author  # noqa: B018 - a time that is none shows here, not in the middle of a message
    except (LookupError, TypeError, ValueError, OverflowError, OSError) as error:
        if isinstance(error, (UntrustedSnapshot, UnsupportedFormat)):
            raise
        msg = "its log entry makes no sense"
        raise DamagedSnapshot(msg) from error
    if (entry.store, entry.checkpoint, entry.seq) != (store_id, name, seq):
        msg = (
            f"{what} was signed as snapshot {entry.seq} of {entry.checkpoint!r} in the store {entry.store}, and this "
            f"is the store {store_id or 'of no name'}, so nothing of it was read: put it back where it was, copy "
            "the whole store with its nbckpt.json, or run `nbckpt repair` if that file was lost."
        )
        raise UntrustedSnapshot(msg)
    return entry


def read_head(store: Store, store_id: str, name: str, keys: dict[str, Key], *, mending: bool = False) -> Head | None:
    """Return the end of the log of `name`, None if there is no log.

    Where one is `mending` it, an entry that was altered counts as damaged. Raises `UntrustedSnapshot` if the newest
    entry that is undamaged is not signed by one of `keys`.
    """
    for _ in range(10):
        seqs = log_seqs(store, name)
        if not seqs:
            return None
        try:
            head = _walk(store, store_id, name, keys, seqs, mending=mending)
        except NotFound:  # pruned between listing and reading
            continue
        # What seems damaged may have been pruned meanwhile, and its place taken by a writer that woke up late.
        if not head.damage or log_seqs(store, name)[-1:] == [head.seq]:
            return head
    msg = f"The log of {name!r} changes faster than it can be read; nothing was touched. Try again."
    raise StoreError(msg)


def _walk(store: Store, store_id: str, name: str, keys: dict[str, Key], seqs: Sequence[int], *, mending: bool) -> Head:
    top = read_entry(store, name, seqs[-1])
    damage: dict[int, str] = {}
    for seq in reversed(seqs):
        raw = top if seq == seqs[-1] else read_entry(store, name, seq)
        try:
            entry = decode_entry(raw, keys, store_id, name, seq)
            if seq - 1 in seqs:
                check_succession(entry, read_entry(store, name, seq - 1), keys)
        except DamagedSnapshot as error:
            damage[seq] = str(error)
        except AlteredError:
            if not mending:
                raise
            damage[seq] = ALTERED
        else:
            return Head(seqs[-1], digest(top), entry, damage)
    return Head(seqs[-1], digest(top), None, damage)


def check_succession(entry: LogEntry, before: bytes, keys: dict[str, Key]) -> None:
    """Raise `DamagedSnapshot` if the file `before` is intact and not the one that `entry` names.

    That happens when a kernel stalls in the middle of a save, the checkpoint is removed and begun anew, and
    the kernel wakes up. If `before` is damaged itself, nothing can be said, and nothing needs to be.
    """
    if digest(before) == entry.previous:
        return
    try:
        decode_entry(before, keys, entry.store, entry.checkpoint, entry.seq - 1)
    except (DamagedSnapshot, UntrustedSnapshot, UnsupportedFormat):
        return
    msg = "it does not follow the snapshot before it"
    raise DamagedSnapshot(msg)


def is_on_chain(store: Store, entry: LogEntry, raw: bytes, keys: dict[str, Key]) -> bool:
    """Tell whether the log leads to an entry that was just created: whether its author was awake enough.

    Its place may have been free because the log is long past it, or because the checkpoint was removed. An
    entry that is not on the chain may be deleted, any other never: its place would be free once more.
    """
    name, seq = entry.checkpoint, entry.seq
    log = log_seqs(store, name)
    if log and log[-1] > seq:
        try:
            successor = decode_entry(read_entry(store, name, seq + 1), keys, entry.store, name, seq + 1)
        except NotFound:  # so far behind that ours is being pruned too, if it is on the chain
            return False
        except (DamagedSnapshot, UntrustedSnapshot, UnsupportedFormat):  # somebody went on; the next save will tell
            return True
        return successor.previous == digest(raw)
    try:
        check_succession(entry, read_entry(store, name, seq - 1), keys)
    except NotFound:  # removed with all the checkpoint, unless it was pruned just now
        return log_seqs(store, name)[-1:] != log[-1:] and is_on_chain(store, entry, raw, keys)
    except DamagedSnapshot:
        return False
    return True


def read_entry(store: Store, name: str, seq: int) -> bytes:
    """Return the file of an entry; raises `NotFound`."""
    return store.get(log_key(name, seq), 0, LARGEST)


def _kept(item: Any) -> Kept:
    seq, manifest, size = item
    if type(seq) is not int or type(size) is not int or size < 0 or not _HEX.fullmatch(manifest):
        msg = "not a snapshot"
        raise ValueError(msg)
    return Kept(seq, manifest, size)


def _fence(item: Any) -> Fence:
    epoch, condemned = item
    if type(epoch) is not int or epoch < 1 or not _HEX.fullmatch(condemned):
        msg = "not a fence"
        raise ValueError(msg)
    return Fence(epoch, condemned)
