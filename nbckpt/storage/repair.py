"""Making the best of a damaged store: what is unusable is named and dropped, and the rest goes on."""

from __future__ import annotations

import os
import secrets
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbckpt.errors import AlreadyExists, DamagedSnapshot, NotFound, UnsupportedFormat, UntrustedSnapshot
from nbckpt.storage.chunks import decode, read_index
from nbckpt.storage.fetch import read_manifest, read_parts
from nbckpt.storage.log import (
    ALTERED,
    LARGEST,
    LogEntry,
    decode_entry,
    encode_entry,
    is_on_chain,
    log_key,
    log_seqs,
    owners_key,
    read_entry,
    read_head,
)
from nbckpt.storage.prune import mark
from nbckpt.storage.records import digest, unseal
from nbckpt.storage.signing import AlteredError, verify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbckpt.storage.signing import Key
    from nbckpt.storage.stores import Store


@dataclass(frozen=True, slots=True)
class Repaired:
    """The numbers of the snapshots that stay, newest first, and why each of the others does not."""

    stay: tuple[int, ...]
    dropped: dict[int, str]


def repair(store: Store, store_id: str, name: str, keys: dict[str, Key]) -> Repaired:
    """Append an entry that keeps the snapshots of which every byte verifies, if there are others.

    A run that saves under the name is fenced by it. Files stay, for whoever wants to look: a prune deletes them.
    Raises `DamagedSnapshot` if nothing usable is left, and changes nothing then.
    """
    while True:
        head = read_head(store, store_id, name, keys, mending=True)
        if head is None or head.entry is None:
            msg = (
                f"No entry in the log of {name!r} can be read, and without one nothing tells what was saved there: "
                f"put {name}/log back from a copy, or remove the checkpoint. Nothing was changed."
            )
            raise DamagedSnapshot(msg)
        dropped = dict(head.damage)
        stay = []
        for kept in head.entry.keep:
            try:
                read_parts(store, name, read_manifest(store, name, kept))
            except DamagedSnapshot as error:
                dropped[kept.seq] = str(error)
            else:
                stay.append(kept)
        if not dropped:
            return Repaired(tuple(kept.seq for kept in stay), {})
        if not stay and head.entry.keep:
            msg = (
                f"No snapshot of {name!r} is whole, so nothing was dropped: put the damaged files back from a copy, "
                "or remove the checkpoint."
            )
            raise DamagedSnapshot(msg)
        author = {"host": socket.gethostname(), "pid": os.getpid(), "repair": True}
        write_id = secrets.token_hex(16)
        entry = LogEntry(store_id, name, head.seq + 1, head.digest, write_id, author, time.time(), tuple(stay))
        raw = encode_entry(entry, owners_key(head.entry, keys))
        try:
            store.put(log_key(name, entry.seq), [raw], if_absent=True)
        except AlreadyExists:
            if read_entry(store, name, entry.seq) != raw:  # a run saved meanwhile
                continue
        if is_on_chain(store, entry, raw, keys):
            return Repaired(tuple(kept.seq for kept in stay), dropped)
        store.delete([log_key(name, entry.seq)])


def damaged_files(store: Store, store_id: str, name: str, keys: dict[str, Key]) -> dict[str, str]:
    """Read every file of a checkpoint in full, and say by key what is wrong with it, in words for a sentence.

    Not those that only wait for a prune, unless nobody can tell which these are; and nothing of a log that is not
    trusted as a whole, which whoever reads its newest entry is told.
    """
    found = {}
    try:
        head = read_head(store, store_id, name, keys)
    except (UntrustedSnapshot, UnsupportedFormat):
        head = None
    needed = mark(store, name, head.entry.keep) if head is not None and head.entry is not None else None
    for entry in store.list(f"{name}/"):
        if needed is not None and entry.key not in needed and f"{name}/log/" not in entry.key:
            continue
        kind, file = entry.key[len(name) + 1 :].partition("/")[::2]
        try:
            _check(store, store_id, name, kind, file, keys)
        except NotFound:  # a run dropped it meanwhile
            continue
        except AlteredError:
            if head is not None:
                found[entry.key] = ALTERED
        except (UntrustedSnapshot, UnsupportedFormat) as error:
            if head is not None:
                found[entry.key] = str(error).rstrip(".")
        except DamagedSnapshot as error:
            found[entry.key] = str(error).rstrip(".")
    return found


def _check(store: Store, store_id: str, name: str, kind: str, file: str, keys: dict[str, Key]) -> None:
    # what is no entry may be of any size
    raw = store.get(f"{name}/{kind}/{file}" if file else f"{name}/{kind}", 0, LARGEST if kind == "log" else None)
    if kind == "packs":
        for chunk in read_index(file, raw):
            decode(chunk, memoryview(raw)[chunk.offset : chunk.offset + chunk.length])
    elif kind == "manifests" and digest(raw) != file:
        msg = f"manifest {file[:12]} is not what was saved"
        raise DamagedSnapshot(msg)
    elif kind == "log" and file[:-5].isdecimal():
        decode_entry(raw, keys, store_id, name, int(file[:-5]))


def signed_store_id(store: Store, names: Iterable[str], keys: dict[str, Key]) -> str:
    """Return the id of the store that the signed entries of all logs speak of, empty if they do not agree on one."""
    ids = set()
    for name in names:
        for seq in log_seqs(store, name):
            try:
                record = unseal(read_entry(store, name, seq))
                verify(record, keys, name)
            except (NotFound, DamagedSnapshot, UntrustedSnapshot):
                continue
            ids.add(str(record.get("store")))
    return ids.pop() if len(ids) == 1 else ""
