"""Where snapshots wait, on this machine's disk, while a remote store is away.

The spool is a store of its own in the user's data folder, one for each remote store, and holds the newest snapshot of
each checkpoint that did not get through, with the snapshot that it comes after. It is uploaded by the run that made it
when the store is back, or else by the next run on this machine, if nobody has saved elsewhere meanwhile.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbckpt.errors import CheckpointConflict, NbckptError, StoreError
from nbckpt.settings import bytes_from_environment
from nbckpt.storage.parcel import BlocksGoneError
from nbckpt.storage.repository import Repository
from nbckpt.storage.signing import data_folder
from nbckpt.storage.stores import is_far
from nbckpt.storage.writer import Committed

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from nbckpt.storage.parcel import HandedPart
    from nbckpt.storage.repository import Loaded
    from nbckpt.storage.retention import Retention
    from nbckpt.storage.snapshot import PartData
    from nbckpt.storage.writer import Writer

LIMIT = 16 * 1024**3
"""Bytes that all spools together may take, unless `NBCKPT_SPOOL` says otherwise; 0 turns them off."""
PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds between two attempts to upload what waits."""
_RECORD = "spooled"  # in the description of a snapshot that waits


class KeptHereError(StoreError):
    """The store did not take a snapshot, which is safe on this machine's disk."""


class Spool:
    """Saves with a writer, and keeps on this machine what a remote store does not take."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._limit = _limit()
        self._spooling: Writer | None = None
        self.holds = False
        """Whether a snapshot waits that is newer than what the store has."""

    def commit(self, description: dict[str, Any], parts: Sequence[PartData | HandedPart], *, final: bool) -> Committed:
        """Save a snapshot.

        Raises `KeptHereError` if the store fails and the snapshot is on this disk, else as `Writer.commit`.
        """
        earlier = self._writer.asked  # a store may have one of these unheard of, and what waits comes after it too
        try:
            committed = self._writer.commit(description, parts, final=final)
        except StoreError as error:
            if not is_far(self._writer.url):
                raise
            same = [manifest for manifest in self._writer.asked if manifest not in earlier]
            comes = {"after": [self._writer.newest, *earlier], "asked": same}
            raise self._keep(error, {**description, _RECORD: comes}, parts, final=final) from error
        if self.holds:
            self._forget()
        return committed

    def upload(self) -> Committed | None:
        """Save what waits, if the store is back; None if it is not. Raises `CheckpointConflict`."""
        waiting = _waiting(self._writer.store_id, self._writer.name)
        if waiting is None:
            self.holds = False
            return None
        description = {word: value for word, value in waiting.description.items() if word != _RECORD}
        try:
            committed = self._writer.commit(description, [*waiting.parts.values()], final=waiting.manifest.final)
        except StoreError:
            return None
        except CheckpointConflict:  # somebody has saved elsewhere meanwhile, and what waits is of no use to anybody
            self._forget()
            raise
        self._forget()
        return committed

    def keep_trying(self, stop: threading.Event, tell: Callable[[Committed | Exception], None]) -> None:
        """Try again and again to upload what waits, until that is done or `stop`; `tell` hears what came of it."""
        pause = PAUSE
        while self.holds and not stop.wait(pause):
            try:
                outcome: Committed | Exception | None = self.upload()
            except Exception as error:  # noqa: BLE001 - an outcome like the other, which is shown
                outcome = error
            if outcome is not None:
                tell(outcome)
                if isinstance(outcome, Committed):
                    self._writer.tidy()
            pause = min(2 * pause, LONGEST_PAUSE)

    def _forget(self) -> None:
        self.holds, self._spooling = False, None
        _drop(self._writer.store_id, self._writer.name)

    def _keep(
        self, error: StoreError, description: dict[str, Any], parts: Sequence[PartData | HandedPart], *, final: bool
    ) -> StoreError:
        """Keep a snapshot on this disk; return the error to raise."""
        place = _place(self._writer.store_id)
        try:
            _check_room(place, self._limit, sum(len(part.stream) + sum(map(len, part.buffers)) for part in parts))
            if self._spooling is None:
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
                spool = Repository.open(str(place))
                self._spooling = spool.writer(self._writer.name, keep=1, writer_info=self._writer.info)
            self._spooling.commit(description, parts, final=final)
            self._spooling.tidy()  # what waits has to share its room with that of others
        except (NbckptError, OSError) as why:
            self._spooling = None
            if isinstance(why, BlocksGoneError):  # only the store has what was not handed over
                both: StoreError = BlocksGoneError(f"{error} The next boundary is kept on this machine.")
            else:
                both = StoreError(f"{error} It could not be kept on this machine either: {why}")
            both.errno = error.errno
            return both
        self.holds = True
        kept = KeptHereError(
            f"{error} The snapshot is kept on this machine ({place}) and is uploaded when the store is back."
        )
        kept.errno = error.errno
        return kept


def upload_waiting(repository: Repository, name: str, *, keep: int | Retention, tell: Callable[[str], None]) -> None:
    """Save the snapshot of a checkpoint that waits on this machine, if there is one, before a run looks for the newest.

    One that somebody has saved past elsewhere is dropped, and so is one that the store turns out to have. `tell` takes
    what a person should know. Raises `StoreError` if the store fails.
    """
    if not is_far(repository.url):
        return
    try:
        waiting = _waiting(repository.store_id, name)
    except NbckptError as error:
        tell(f"a snapshot that was kept on this machine while the store was away cannot be used: {error}")
        return
    if waiting is None:
        return
    head = repository.head(name)
    kept = head.entry.keep if head is not None and head.entry is not None else ()
    newest = kept[0].manifest if kept else ""
    description = dict(waiting.description)
    record = description.pop(_RECORD)
    progress = description.get("progress") or "its beginning"
    if newest in record["after"]:
        writer = repository.writer(name, keep=keep, writer_info=waiting.manifest.writer)
        writer.commit(description, [*waiting.parts.values()], final=waiting.manifest.final)
        writer.close()
        tell(f"the snapshot at {progress}, kept on this machine while the store was away, was uploaded")
    elif newest not in record["asked"]:
        tell(
            f"the snapshot at {progress}, kept on this machine while the store was away, is not used: the checkpoint "
            "has gone on elsewhere since"
        )
    _drop(repository.store_id, name)


def _waiting(store_id: str, name: str) -> Loaded | None:
    place = _place(store_id)
    return Repository.open(str(place), create=False).load(name) if place.is_dir() else None


def _drop(store_id: str, name: str) -> None:
    place = _place(store_id)
    if place.is_dir():
        with contextlib.suppress(NbckptError):  # what remains is found to be old by its record
            spool = Repository.open(str(place), create=False)
            spool.remove(name)
            if not spool.names():
                shutil.rmtree(place, ignore_errors=True)


def _place(store_id: str) -> Path:
    return data_folder() / "spool" / store_id


def _limit() -> int:
    asked = bytes_from_environment("NBCKPT_SPOOL", "write 16000000000, or 0 to turn it off")
    return LIMIT if asked is None else asked


def _check_room(place: Path, limit: int, size: int) -> None:
    """Raise `StoreError` if the spools would take more than they may, or the disk has no room."""
    taken = sum(path.stat().st_size for path in place.parent.rglob("*") if path.is_file())
    # a snapshot replaces the one before, but both are there for a moment
    if taken + size > limit:
        raise StoreError(f"snapshots that wait may take {limit:,} bytes (NBCKPT_SPOOL), and {taken:,} are taken.")
    above = next(folder for folder in place.parents if folder.is_dir())
    if 2 * size > shutil.disk_usage(above).free:
        raise StoreError(f"the disk of {place} is nearly full.")
