"""Deleting what no snapshot needs: what killed and refused runs left behind, beside runs that are saving.

No lock says who is at work, and a run may sleep for days between writing its packs and the entry that makes them
a snapshot. So a prune condemns first: it lists what lies in the store, marks what the newest entry keeps, writes
the rest down in `prune/<epoch>.json`, and appends an entry of its own to the log, a fence. Whoever had not
committed before the fence meets it, reads what was condemned, and writes that anew. Then it marks again, from
exactly the entry that it fenced, and only what is still unmarked goes. This is git's grace period and icechunk's
mark, fence, mark, sweep; each rule of it is needed, as `tests/storage/test_interleaving.py` shows.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbckpt.errors import AlreadyExists, DamagedSnapshot, NotFound, StoreError
from nbckpt.storage.fetch import read_manifest
from nbckpt.storage.log import (
    Fence,
    LogEntry,
    decode_entry,
    encode_entry,
    is_on_chain,
    log_key,
    log_seqs,
    old_seqs,
    owners_key,
    read_entry,
    read_head,
)
from nbckpt.storage.records import digest, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbckpt.storage.log import Head, Kept
    from nbckpt.storage.signing import Key
    from nbckpt.storage.stores import Entry, Store

GRACE = 24 * 3600.0  # seconds that what nobody needs is left alone, for those who are reading or about to commit

_ROUNDS = 5  # attempts, where runs commit and other prunes work faster than this one
_FILE = re.compile(r"([0-9]{8,18})\.json")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune deleted (or would), by key, and how many bytes that were."""

    keys: tuple[str, ...]
    size: int


def prune(
    store: Store,
    store_id: str,
    name: str,
    keys: dict[str, Key],
    *,
    grace: float = GRACE,
    dry_run: bool = False,
) -> Pruned:
    """Delete what no snapshot of `name` needs and what is older than `grace` seconds by the store's clock.

    With `dry_run` nothing is written or deleted. Raises `DamagedSnapshot` where it cannot be told what is needed,
    `UntrustedSnapshot`, `StoreError`.
    """
    for _ in range(_ROUNDS):
        # Before the fence: what is written after it is not in this listing.
        listed = _old(store, name, grace)
        head = _head(store, store_id, name, keys)
        if head is None or head.entry is None:
            return Pruned((), 0)
        needed = mark(store, name, head.entry.keep)
        if needed is None:
            if log_seqs(store, name)[-1:] == [head.seq]:
                msg = f"A snapshot of {name!r} is damaged, so nothing was deleted: run `nbckpt repair` first."
                raise DamagedSnapshot(msg)
            continue
        condemned = [entry for entry in listed if entry.key not in needed]
        if condemned and not dry_run:
            owners_key(head.entry, keys)  # before anything is written
            marked = _fence(store, store_id, name, keys, [entry.key for entry in condemned])
            if marked is None:
                continue
            condemned = _sweep(store, condemned, marked)
        if not dry_run:
            _shorten(store, store_id, name, keys, grace)
        return Pruned(tuple(entry.key for entry in condemned), sum(entry.size for entry in condemned))
    msg = f"{name!r} changes faster than it can be pruned; nothing that a snapshot needs was deleted. Try again."
    raise StoreError(msg)


def _sweep(store: Store, condemned: list[Entry], needed: frozenset[str]) -> list[Entry]:
    """Delete what was condemned and is still not needed: only that, not what came since."""
    swept = [entry for entry in condemned if entry.key not in needed]
    store.delete(sorted(entry.key for entry in swept))  # manifests first, so that none is there without its packs
    return swept


def condemned_by(store: Store, name: str, fence: Fence) -> frozenset[str] | None:
    """Return the packs that a prune condemned; None if that is not known any more, which may mean all of them."""
    try:
        raw = store.get(_condemned_key(name, fence.epoch))
        if digest(raw) != fence.condemned:
            return None
        return frozenset(key.rpartition("/")[2] for key in unseal(raw)["condemned"])
    except (NotFound, DamagedSnapshot, KeyError, TypeError, AttributeError):
        return None


def _condemned_key(name: str, epoch: int) -> str:
    return f"{name}/prune/{epoch:08d}.json"


def _old(store: Store, name: str, grace: float) -> list[Entry]:
    before = store.now() - grace
    return [
        entry for kind in ("packs", "manifests") for entry in store.list(f"{name}/{kind}/") if entry.mtime <= before
    ]


def _head(store: Store, store_id: str, name: str, keys: dict[str, Key]) -> Head | None:
    head = read_head(store, store_id, name, keys)
    if head is not None and (head.damage or head.entry is None):
        msg = f"The log of {name!r} is damaged, so nothing was deleted: run `nbckpt verify`, then `nbckpt repair`."
        raise DamagedSnapshot(msg)
    return head


def mark(store: Store, name: str, keep: Iterable[Kept]) -> frozenset[str] | None:
    """Return the keys that snapshots need, None if a manifest is gone or damaged: then nobody can say.

    It can be gone because another prune, or the run itself, is ahead of us.
    """
    needed = set()
    for kept in keep:
        try:
            manifest = read_manifest(store, name, kept)
        except DamagedSnapshot:
            return None
        needed |= {f"{name}/manifests/{kept.manifest}", *(f"{name}/packs/{pack}" for pack in manifest.packs)}
    return frozenset(needed)


def _fence(store: Store, store_id: str, name: str, keys: dict[str, Key], condemned: list[str]) -> frozenset[str] | None:
    """Write down what is condemned and append a fence; return what was needed then, None if that is not known."""
    raw = seal({"condemned": sorted(condemned)})
    fence = _announce(store, name, raw)
    author = {"host": socket.gethostname(), "pid": os.getpid(), "prune": True}
    while True:
        head = _head(store, store_id, name, keys)
        if head is None or head.entry is None:
            return None
        keep = head.entry.keep
        entry = LogEntry(
            store_id, name, head.seq + 1, head.digest, secrets.token_hex(16), author, time.time(), keep, fence
        )
        if _append(store, entry, encode_entry(entry, owners_key(head.entry, keys)), keys):
            return mark(store, name, keep)


def _announce(store: Store, name: str, raw: bytes) -> Fence:
    """Write down what is condemned under a number that no other prune has."""
    epoch = max(_epochs(store, name), default=0) + 1
    while True:
        try:
            store.put(_condemned_key(name, epoch), [raw], if_absent=True)
        except AlreadyExists:  # another prune's; or our own, whose response was lost: it harms nobody
            epoch += 1
        else:
            return Fence(epoch, digest(raw))


def _append(store: Store, entry: LogEntry, raw: bytes, keys: dict[str, Key]) -> bool:
    """Append a fence; False if somebody else was there first, or was long past there."""
    try:
        store.put(log_key(entry.checkpoint, entry.seq), [raw], if_absent=True)
    except AlreadyExists:
        try:
            if read_entry(store, entry.checkpoint, entry.seq) != raw:
                return False
        except NotFound:
            return False
    if is_on_chain(store, entry, raw, keys):
        return True
    store.delete([log_key(entry.checkpoint, entry.seq)])
    return False


def _shorten(store: Store, store_id: str, name: str, keys: dict[str, Key], grace: float) -> None:
    """Delete old entries of the log, and what was condemned by prunes whose fences are not in it any more."""
    seqs = log_seqs(store, name)
    old = old_seqs(seqs, max(seqs, default=0))
    store.delete([log_key(name, seq) for seq in old])
    fenced = set()
    for seq in set(seqs) - set(old):
        try:
            fence = decode_entry(read_entry(store, name, seq), keys, store_id, name, seq).fence
        except (NotFound, DamagedSnapshot):
            continue
        fenced |= {fence.epoch} if fence else set()
    # One that was just written may be about to get its fence. Where it is missing all the same, whoever meets that
    # fence takes everything for condemned.
    before = store.now() - grace
    lists = {entry.key for entry in store.list(f"{name}/prune/") if entry.mtime <= before}
    store.delete(sorted(lists - {_condemned_key(name, epoch) for epoch in fenced}))


def _epochs(store: Store, name: str) -> list[int]:
    prefix = f"{name}/prune/"
    matches = (_FILE.fullmatch(entry.key[len(prefix) :]) for entry in store.list(prefix))
    return [int(match[1]) for match in matches if match]
