"""A folder as a store: every blob a file that appears whole, durable, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections import deque
from io import BufferedReader, FileIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nbckpt.errors import AlreadyExists, NotFound, StoreError
from nbckpt.storage.stores import Buffer, Entry, check_key, direct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_TEMPORARY = ".tmp-"  # a leading dot: no key can look like it, no listing shows it
_STALE = 24 * 3600  # seconds after which a temporary file belongs to a writer that was killed
_PIECES = 1024  # that one call may write, by POSIX and on every system that we know

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

_REASONS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EFBIG: "files may not grow that large here: raise the limit (ulimit -f) or choose another folder",
    errno.EACCES: "permission was denied: make it accessible or choose another folder",
    errno.EPERM: "the operation is not permitted: make it writable or choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENOTDIR: "something in its path is a file, not a folder: choose another folder",
    errno.EISDIR: "a folder stands where a file belongs: move it away or choose another folder",
}


class LocalStore:
    """Keeps each blob in a file of its own below one folder, which is created by the first write."""

    single_writer = False  # nobody need vouch: names in a folder are taken once

    def __init__(self, folder: Path) -> None:
        self._root = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links, for nothing
        self._swept: set[Path] = set()

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return str(self._root)

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        """Write a temporary file beside the place, make it durable, then give it its name in one step."""
        path = Path(self._path(key))
        try:
            temporary = self._write_temporary(path.parent, bufs)
            try:
                if if_absent:
                    _name_new(temporary, path)
                else:
                    temporary.replace(path)
                _sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)
        except FileExistsError as error:
            msg = f"{key} exists already in the store {self.url}."
            raise AlreadyExists(msg) from error
        except OSError as error:
            raise self._explain("write", path, error) from error

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """Read the file, or the piece of it that was asked for."""
        with self._reading(key) as place, BufferedReader(FileIO(place)) as file:
            file.seek(start)
            return file.read() if end is None else file.read(max(0, end - start))

    def get_into(self, key: str, start: int, target: memoryview) -> int:
        """Read straight into `target`, with no copy between."""
        with self._reading(key) as place, FileIO(place) as file:
            file.seek(start)
            filled = 0
            while filled < len(target) and (count := file.readinto(target[filled:])):
                filled += count
            return filled

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """Walk the folder in the order of the keys."""
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(folder)
        yield from self._walk(f"{folder}/" if folder else "", prefix, start_after)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the files, and the folders that are empty without them."""
        for key in keys:
            path = Path(self._path(key))
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise self._explain("delete", path, error) from error
            for folder in path.parents:
                if folder == self._root:
                    break
                try:
                    folder.rmdir()
                except OSError:  # it holds something: so do those above it
                    break

    def now(self) -> float:
        """Return this machine's clock."""
        return time.time()

    def _path(self, key: str) -> str:
        """Return where a blob is; raises `StoreError` if the way there leads through a link, perhaps out of here."""
        place = str(self._root)
        for segment in check_key(key).split("/"):
            place = os.path.join(place, segment)  # noqa: PTH118 - for every read, and a `Path` is slow
            if os.path.islink(place):  # noqa: PTH114
                msg = f"{place} is a symbolic link, and a store follows none: replace it by what it leads to."
                raise StoreError(msg)
        return place

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[str]:
        place = self._path(key)
        try:
            yield place
        except FileNotFoundError as error:
            msg = f"{key} is not in the store {self.url}."
            raise NotFound(msg) from error
        except OSError as error:
            raise self._explain("read", Path(place), error) from error

    def _walk(self, folder: str, prefix: str, start_after: str) -> Iterator[Entry]:
        """Yield what is below `folder` (a key that ends in a slash, or nothing)."""
        place = self._root / folder
        try:
            with os.scandir(place) as entries:
                # A folder sorts with its slash, as its keys do: "a-b/x" comes before "a/x".
                found = sorted(
                    (folder + entry.name + ("/" if entry.is_dir() else ""), entry)
                    for entry in entries
                    if not entry.name.startswith(".") and not entry.is_symlink()
                )
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._explain("list", place, error) from error
        for key, entry in found:
            if key.endswith("/"):
                past = key <= start_after and not start_after.startswith(key)
                if not past and (key.startswith(prefix) or prefix.startswith(key)):
                    yield from self._walk(key, prefix, start_after)
            elif key.startswith(prefix) and key > start_after:
                try:
                    stat = entry.stat()
                except FileNotFoundError:  # deleted while we walked
                    continue
                except OSError as error:
                    raise self._explain("list", place, error) from error
                yield Entry(key, stat.st_size, stat.st_mtime)

    def _write_temporary(self, folder: Path, bufs: Sequence[Buffer]) -> Path:
        self._make_folder(folder)
        self._sweep(folder)
        temporary = folder / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                _write(file, bufs)
                os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _make_folder(self, folder: Path) -> None:
        """Create `folder` and those above it, so that they outlive a power cut."""
        if folder.is_dir():
            return
        if folder != folder.parent:
            self._make_folder(folder.parent)
        try:
            folder.mkdir(0o700 if folder == self._root else 0o777)
        except FileExistsError:
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(folder)) from None
        else:
            if folder == self._root:
                (folder / ".gitignore").write_text("*\n", encoding="ascii")
            _sync_folder(folder.parent)

    def _sweep(self, folder: Path) -> None:
        """Remove, once a folder, what killed writers left half-written in it."""
        if folder in self._swept:
            return
        self._swept.add(folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(_TEMPORARY):
                    continue
                with contextlib.suppress(OSError):  # another writer sweeps too
                    if entry.stat().st_mtime < time.time() - _STALE:
                        Path(entry.path).unlink()

    def _explain(self, verb: str, path: Path, error: OSError) -> StoreError:
        reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}")
        explained = StoreError(
            f"Could not {verb} {path} in the store {self.url}: {reason}. What was saved before is untouched."
        )
        explained.errno = error.errno
        return explained


def exposed(folder: str) -> str:
    """Say who else than the user may write to a folder; nothing if nobody, or if it is not there."""
    try:
        status = Path(folder).stat()
    except OSError:
        return ""
    others = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_own_group(status))
    if os.name == "nt" or not others:
        return ""
    return (
        f"Others than you can write to the store {folder}: they could delete what is saved there, and what they put "
        f"there is refused. If they should not, run chmod 700 {folder}"
    )


def _is_own_group(status: os.stat_result) -> bool:
    """Tell whether a group is the one that many systems give each user alone, under the user's name."""
    try:
        import grp
        import pwd

        return grp.getgrgid(status.st_gid).gr_name == pwd.getpwuid(status.st_uid).pw_name
    except (ImportError, KeyError):
        return False


def _name_new(temporary: Path, path: Path) -> None:
    """Give the finished file its name, unless that name is taken (`FileExistsError`)."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No hard links here (exFAT, some network drives). Claiming the name and then replacing the empty file
        # is as exclusive; a kill between the two leaves an empty file, which readers name and never use.
        path.open("xb").close()
        try:
            temporary.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _write(file: BinaryIO, bufs: Sequence[Buffer]) -> None:
    """Write all pieces, many by one call: between two calls a thread has to wait for its turn."""
    if not hasattr(os, "writev"):
        file.writelines(bufs)
        file.flush()
        return
    left = deque(memoryview(buf).cast("B") for buf in bufs if len(buf))
    if sum(map(len, left)) >= direct.MUCH and direct.write(file.fileno(), left):
        return
    while left:
        count = os.writev(file.fileno(), [*islice(left, _PIECES)])
        while left and count >= len(left[0]):
            count -= len(left.popleft())
        if count:  # the disk is full, or files may not be larger: the next call says so
            left[0] = left[0][count:]


def _sync_folder(folder: Path) -> None:
    """Make names in `folder` durable; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
