"""Snapshots kept in a store: list, load, verify, remove, and open a writer that adds to them."""

from __future__ import annotations

import contextlib
import json
import secrets
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from nbckpt.errors import (
    AlreadyExists,
    DamagedSnapshot,
    NotFound,
    OptionError,
    StoreError,
    UnknownCheckpoint,
    UnsupportedFormat,
    UntrustedSnapshot,
)
from nbckpt.settings import NAME, check_name
from nbckpt.storage.fetch import each, read_manifest, read_parts
from nbckpt.storage.log import Head, Kept, LogEntry, encode_entry, log_key, log_seqs, read_head
from nbckpt.storage.probe import CREATES_ONCE, probe
from nbckpt.storage.prune import GRACE, Pruned, prune
from nbckpt.storage.records import seal, unseal
from nbckpt.storage.repair import Repaired, damaged_files, repair, signed_store_id
from nbckpt.storage.retention import Mark, Retention
from nbckpt.storage.signing import is_machine_local, known_keys, signing_key
from nbckpt.storage.snapshot import FORMAT, Manifest, PartData, check_format
from nbckpt.storage.stores import Store, open_store
from nbckpt.storage.stores.local import exposed
from nbckpt.storage.stores.retrying import Retrying
from nbckpt.storage.stores.single_writer import SingleWriter
from nbckpt.storage.writer import Base, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbckpt.storage.chunks import Chunk
    from nbckpt.storage.fetch import Allocate

_CONFIG = "nbckpt.json"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot without its bytes. If `damage` says something, it cannot be loaded; the rest may be empty.

    `time` is seconds since 1970, `size` bytes before compression, `parts` maps each part's name to its info.
    """

    seq: int
    manifest_id: str = ""
    time: float = 0.0
    writer: dict[str, Any] = field(default_factory=dict)
    final: bool = False
    size: int = 0
    description: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    damage: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A snapshot with its bytes, all verified. `damaged` names each newer one that was skipped, and why."""

    seq: int
    manifest: Manifest
    parts: dict[str, PartData]
    damaged: list[str]
    head: Head = field(repr=False)
    chunks: dict[bytes, Chunk] = field(repr=False)

    @property
    def description(self) -> dict[str, Any]:
        """What the run said about the snapshot when it was saved."""
        return self.manifest.description


class Repository:
    """The checkpoints in one store.

    Open it with `Repository.open`. Operations on the store are retried, then raise `StoreError`: a store that
    fails is never taken for an empty one.
    """

    def __init__(self, store: Store, store_id: str) -> None:
        self._store = store
        self.store_id = store_id

    @classmethod
    def open(cls, url: str | Store, *, create: bool = True) -> Repository:
        """Open the store at `url`; with `create`, prepare it and prove that it can be written to safely.

        Without `create` nothing is written, and a store that does not exist is an empty one. Raises `StoreError`,
        `UnsupportedFormat` for a store of a newer nbckpt, `DamagedSnapshot` if its identity is damaged.
        """
        store: Store = Retrying(open_store(url) if isinstance(url, str) else url)
        config = _config(store)
        if create:
            vouched = store.single_writer or config.get("single_writer") is True
            can = probe(store, vouched=vouched, race=not config and "://" in store.url)
            config = config or _found(store, can)
        else:
            can = config.get("can", [CREATES_ONCE])
        return cls(store if CREATES_ONCE in can else SingleWriter(store), config.get("store", ""))

    @classmethod
    def mend(cls, url: str | Store) -> tuple[Repository, bool]:
        """Open a store whose own file may be damaged or gone; tell whether it was written anew.

        Its id stands in every entry that we signed. Raises `DamagedSnapshot` if there is none to tell it.
        """
        store = Retrying(open_store(url) if isinstance(url, str) else url)
        names = cls(store, "").names()
        signed = signed_store_id(store, names, known_keys(store.url))
        try:
            store_id = _config(store).get("store", "")
        except DamagedSnapshot:
            store_id = ""
        if not names or (store_id and signed in {"", store_id}):
            return cls.open(store, create=False), False
        if not signed:
            msg = (
                f"No entry in the store {store.url} that we signed tells whose {_CONFIG} it was: put that file back "
                "from a copy. Nothing was changed."
            )
            raise DamagedSnapshot(msg)
        can = probe(store, vouched=store.single_writer, race=False)
        store.put(_CONFIG, [seal(_settings(signed, can))])
        return cls.open(store, create=False), True

    @property
    def url(self) -> str:
        """Where the store is."""
        return self._store.url

    def names(self) -> list[str]:
        """Return the names of all checkpoints, sorted: also of those that have lost their log."""
        found, after = [], ""
        while (entry := next(self._store.list("", after), None)) is not None:
            name, slash, _ = entry.key.partition("/")
            if slash and NAME.fullmatch(name) and any(map(self._has, (f"{name}/log/", f"{name}/manifests/"))):
                found.append(name)
            after = f"{name}/~" if slash else name  # "~" sorts after all that a key may contain
        return sorted(found)

    def history(self, name: str) -> list[SnapshotInfo]:
        """Return the snapshots of a checkpoint, newest first, damaged ones included."""
        _check_name(name)
        try:
            head = self._head(name)
            if head is None:
                self._check_log(name)
                return []
        except (UntrustedSnapshot, DamagedSnapshot) as error:
            return [SnapshotInfo(max(log_seqs(self._store, name), default=0), damage=str(error))]
        broken = [SnapshotInfo(seq, damage=_sentence(name, seq, why)) for seq, why in head.damage.items()]
        return broken + each(self._store, lambda kept: self._info(name, kept), _kept(head))

    def peek(self, name: str) -> SnapshotInfo | None:
        """Return the newest snapshot whose signature and manifest hold, without reading its bytes.

        None only if the checkpoint has no snapshot. Raises as `load` does.
        """
        return self._newest(name, None, lambda _head, kept, manifest, _damaged: _describe(kept, manifest))

    def load(self, name: str, *, seq: int | None = None, allocate: Allocate | None = None) -> Loaded | None:
        """Return the newest snapshot of which every byte verifies, or number `seq`.

        `allocate` has the memory that it is read to. None only if the checkpoint has no snapshot. Raises
        `DamagedSnapshot` if every one is damaged, `UntrustedSnapshot` if the newest is not signed by a key of ours,
        `UnknownCheckpoint` if there is no number `seq`, `StoreError`.
        """

        def read(head: Head, kept: Kept, manifest: Manifest, damaged: list[str]) -> Loaded:
            parts, chunks = read_parts(self._store, name, manifest, allocate)
            return Loaded(kept.seq, manifest, parts, damaged, head, chunks)

        return self._newest(name, seq, read)

    def verify(self, name: str) -> list[str]:
        """Read every byte that is needed and return a sentence for each snapshot or other file that is damaged."""
        problems = []
        for info in self.history(name):
            if info.damage:
                problems.append(info.damage)
                continue
            try:
                self.load(name, seq=info.seq)
            except DamagedSnapshot as error:
                problems.append(str(error))
            except UnknownCheckpoint:  # a run dropped it meanwhile
                continue
        said = " ".join(problems)
        for key, why in damaged_files(self._store, self.store_id, name, known_keys(self.url)).items():
            if key.rpartition("/")[2] not in said and why not in said:
                problems.append(f"{key} is damaged: {why}.")
        return problems

    def repair(self, name: str) -> Repaired:
        """Drop the snapshots that cannot be restored, and keep the rest; tell which is which.

        Raises `DamagedSnapshot` where nothing usable is left, and changes nothing then; `UntrustedSnapshot`,
        `StoreError`.
        """
        _check_name(name)
        self._check_log(name)
        return repair(self._store, self.store_id, name, known_keys(self.url))

    def writer(
        self,
        name: str,
        *,
        keep: int | Retention = 3,
        writer_info: dict[str, Any] | None = None,
        based_on: Loaded | None = None,
    ) -> Writer:
        """Return a writer for one run.

        `based_on` is the snapshot that the run resumed from: only its bytes are used again, since only they
        were verified. `keep` snapshots stay after each commit, or those that a `Retention` says, and the one that
        the run resumed from. Of a new name the log begins here, so that a store that refuses does it before any
        compute. Raises `UntrustedSnapshot` if the newest snapshot is signed with a key that is not here: such a log
        is not ours to continue.
        """
        _check_name(name)
        retention = keep if isinstance(keep, Retention) else Retention(keep)
        if based_on is not None:
            retention = replace(retention, origin=based_on.seq)
        key = signing_key()
        head = based_on.head if based_on is not None else self._head(name)
        if head is None:
            first = LogEntry(self.store_id, name, 0, "", secrets.token_hex(16), {}, 0.0, ())
            with contextlib.suppress(AlreadyExists):
                self._store.put(log_key(name, 0), [encode_entry(first, key)], if_absent=True)
            head = self._head(name)
        if head is None:
            msg = f"Checkpoint {name!r} was removed while a run began to save to it: run the cell again."
            raise StoreError(msg)
        base = self._base(name, head, based_on)
        return Writer(self._store, self.store_id, name, key, base, retention, writer_info or {})

    def head(self, name: str) -> Head | None:
        """Return the end of a checkpoint's log, None if there is no log."""
        return self._head(_check_name(name))

    def remove(self, name: str) -> None:
        """Delete a checkpoint with all its snapshots; raises `UnknownCheckpoint` if there is none."""
        _check_name(name)
        if next(self._store.list(f"{name}/"), None) is None:
            msg = f"There is no checkpoint {name!r} in the store {self.url}."
            raise UnknownCheckpoint(msg)
        # A run may save meanwhile; once no entry is left, its next one succeeds nothing, and it will notice.
        while log := [log_key(name, seq) for seq in log_seqs(self._store, name)]:
            self._store.delete(log)
        for kind in ("manifests", "packs", ""):
            self._store.delete([entry.key for entry in self._store.list(f"{name}/{kind}")])

    def prune(self, name: str, *, grace: float = GRACE, dry_run: bool = False) -> Pruned:
        """Delete what no snapshot of a checkpoint needs: what runs left behind that were killed or refused.

        Safe while runs save, stall or sleep. What is younger than `grace` seconds stays. With `dry_run` nothing is
        deleted, only told. Raises `DamagedSnapshot` where it cannot be told what is needed, `UntrustedSnapshot`,
        `StoreError`.
        """
        _check_name(name)
        return prune(self._store, self.store_id, name, known_keys(self.url), grace=grace, dry_run=dry_run)

    def cautions(self, name: str) -> list[str]:
        """Return what a person should know before a run saves there, a sentence each."""
        if "://" not in self.url:
            return [others] if (others := exposed(self.url)) else []
        in_this_process = self.url.startswith("memory://")
        if in_this_process or not is_machine_local() or self._has(f"{name}/log/"):
            return []
        caution = (
            f"{name!r} is signed with a key that only this machine has, so no other could resume from "
            f"{self.url}: set NBCKPT_KEY there to what `nbckpt key show --export` prints here"
        )
        return [caution]

    def status(self, name: str) -> dict[str, Any] | None:
        """Return what a run last reported with `write_status`, None if there is nothing readable."""
        key = f"{_check_name(name)}/status.json"
        try:
            status = json.loads(self._store.get(key, 0, 1024 * 1024))
        except (NotFound, ValueError, RecursionError):
            return None
        return status if isinstance(status, dict) else None

    def write_status(self, name: str, status: dict[str, Any]) -> None:
        """Replace the progress that people see; never read for recovery. Raises `StoreError`."""
        self._store.put(f"{_check_name(name)}/status.json", [json.dumps(status).encode("ascii")])

    def _head(self, name: str) -> Head | None:
        return read_head(self._store, self.store_id, name, known_keys(self.url))

    def _newest(self, name: str, seq: int | None, read: Callable[[Head, Kept, Manifest, list[str]], _T]) -> _T | None:
        """Apply `read` to the newest snapshot on which it does not raise `DamagedSnapshot`."""
        _check_name(name)
        head = self._head(name)
        while head is not None:
            damaged = [_sentence(name, broken, why) for broken, why in head.damage.items()]
            wanted = [kept for kept in _kept(head) if seq in {None, kept.seq}]
            if seq is not None and not wanted:
                have = ", ".join(str(kept.seq) for kept in _kept(head)) or "none"
                msg = f"Checkpoint {name!r} has no snapshot {seq}; it has {have}."
                raise UnknownCheckpoint(msg)
            for kept in wanted:
                try:
                    return read(head, kept, read_manifest(self._store, name, kept), damaged)
                except DamagedSnapshot as error:
                    error.__traceback__ = None  # what was read hangs on it, and the one before needs the memory
                    if log_seqs(self._store, name)[-1:] != [head.seq]:
                        break  # a run saved while we read, and dropped what we were reading
                    damaged.append(_sentence(name, kept.seq, str(error)))
            else:
                if not damaged:
                    return None
                damaged.append("Nothing was changed: restore the files from a copy, or start over with --fresh.")
                raise DamagedSnapshot(" ".join(damaged))
            head = self._head(name)
        self._check_log(name)
        if self.store_id:
            self._check_alive()
        return None

    def _check_log(self, name: str) -> None:
        """Raise `DamagedSnapshot` if a checkpoint has no log but was saved to: it is not an empty one."""
        if self._has(f"{name}/manifests/") and not self._has(f"{name}/log/"):
            msg = (
                f"The log of {name!r} is gone and its snapshots are there, so nothing tells which was the last: put "
                f"{name}/log in the store {self.url} back from a copy, start over with --fresh, or remove the "
                "checkpoint. Nothing was changed."
            )
            raise DamagedSnapshot(msg)

    def _has(self, prefix: str) -> bool:
        return next(self._store.list(prefix), None) is not None

    def _check_alive(self) -> None:
        """Raise `StoreError` if the store itself is gone: an unmounted disk is not an empty store."""
        try:
            self._store.get(_CONFIG)
        except NotFound as error:
            msg = f"The store {self.url} is not there any more: is its disk mounted? Nothing was changed."
            raise StoreError(msg) from error

    def _info(self, name: str, kept: Kept) -> SnapshotInfo:
        try:
            return _describe(kept, read_manifest(self._store, name, kept))
        except DamagedSnapshot as error:
            return SnapshotInfo(kept.seq, kept.manifest, damage=_sentence(name, kept.seq, str(error)))

    def _base(self, name: str, head: Head, based_on: Loaded | None) -> Base:
        """Return what a writer may build on.

        Snapshots newer than `based_on` are known to be damaged, or are left alone by a run that goes on from an
        older one on purpose: these stay until retention drops them.
        """

        def look(candidate: Kept) -> tuple[frozenset[str], Mark] | None:
            try:
                manifest = read_manifest(self._store, name, candidate)
            except DamagedSnapshot:
                return None  # listed no longer; without its manifest nobody can say which packs were its own
            return frozenset(manifest.packs), Mark.of(manifest.description)

        kept, packs, marks = [], {}, {}
        newest = based_on.seq if based_on is not None and based_on.damaged else head.seq
        candidates = [candidate for candidate in _kept(head) if candidate.seq <= newest]
        for candidate, seen in zip(candidates, each(self._store, look, candidates), strict=True):
            if seen is not None:
                packs[candidate.seq], marks[candidate.seq] = seen
                kept.append(candidate)
        chunks = based_on.chunks if based_on is not None else {}
        sizes = based_on.manifest.packs if based_on is not None else {}
        return Base(head.seq, head.digest, tuple(kept), packs, marks, chunks, sizes)


def _config(store: Store) -> dict[str, Any]:
    """Return what is in the store's own file, empty if there is no store."""
    try:
        raw = store.get(_CONFIG, 0, 64 * 1024)
    except NotFound:
        return {}
    try:
        config = unseal(raw)
        check_format(config.get("format"), f"The store {store.url}")
        config["store"], config["can"] = str(config["store"]), list(config["can"])
    except (DamagedSnapshot, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UnsupportedFormat):
            raise
        msg = f"{_CONFIG} in the store {store.url} is damaged: run `nbckpt repair`. Nothing was changed."
        raise DamagedSnapshot(msg) from error
    return config


def _found(store: Store, can: list[str]) -> dict[str, Any]:
    """Make a store where there was none, and return its settings; of several that do so at once, one does."""
    with contextlib.suppress(AlreadyExists):
        store.put(_CONFIG, [seal(_settings(uuid.uuid4().hex, can))], if_absent=CREATES_ONCE in can)
    return _config(store)


def _settings(store_id: str, can: list[str]) -> dict[str, Any]:
    config = {"format": FORMAT, "store": store_id, "hash": "blake3-256", "can": can}
    return config if CREATES_ONCE in can else {**config, "single_writer": True}


def _kept(head: Head) -> tuple[Kept, ...]:
    return head.entry.keep if head.entry is not None else ()


def _describe(kept: Kept, manifest: Manifest) -> SnapshotInfo:
    return SnapshotInfo(
        kept.seq,
        kept.manifest,
        manifest.time,
        manifest.writer,
        manifest.final,
        manifest.total_bytes,
        manifest.description,
        {part.name: part.info for part in manifest.parts},
    )


def _sentence(name: str, seq: int, why: str) -> str:
    return f"Snapshot {seq} of {name!r} is damaged: {why}."


def _check_name(name: str) -> str:
    if check_name(name).lower() == _CONFIG:
        msg = f"{name!r} cannot name a checkpoint: a store keeps its own settings in a file of that name"
        raise OptionError(msg)
    return name
