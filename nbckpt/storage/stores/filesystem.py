"""Any filesystem that fsspec knows as a store, with what that filesystem really guarantees."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from nbckpt.errors import AlreadyExists, NbckptError, NotFound, OptionError, StoreError
from nbckpt.storage.stores import Buffer, Entry, check_key, yes_or_no
from nbckpt.storage.stores.listing import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

OBJECTS = ("memory", "gs", "gcs", "az", "abfs", "abfss")
"""Where a blob appears whole, and one can be created on condition that there is none, in one step."""
SSH = ("sftp", "ssh")
"""Where a file can be renamed in one step, onto another or on condition that there is none."""

_TEMPORARY = ".tmp-"  # a leading dot: no key can look like it, no listing shows it
_TIMEOUT = 30.0  # seconds of silence after which an SFTP server is given up
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
_IN_THIS_PROCESS = threading.Lock()  # the filesystem in memory looks first and writes then


class FilesystemStore:
    """Keeps each blob in a file below `url`, through fsspec; `options` go to the filesystem.

    What cannot create only what is absent says so when asked to. Not all of these filesystems may be used by
    several threads at once: each operation has one of its own then, with its own connection.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self._scheme = url.partition("://")[0].lower()
        self._place = url
        user = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
        if ":" in user:
            msg = (
                f"A password in the URL of a store would be shown in every message: leave it out, and use a key, an "
                f"agent, or the variable FSSPEC_{self._scheme.upper()}_PASSWORD."
            )
            raise OptionError(msg)
        given = dict(options or {})
        self._url = f"{url}?{'&'.join(f'{name}={value}' for name, value in given.items())}" if given else url
        self.single_writer = yes_or_no(url, "single_writer", given.pop("single_writer", "false"))
        self._options: dict[str, Any] = {k: {"true": True, "false": False}.get(v, v) for k, v in given.items()}
        self._idle: list[Any] = []
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._root = ""
        self._made: set[str] = set()
        """Folders that are there, for all we know."""

    @property
    def url(self) -> str:
        """What it was opened by."""
        return self._url

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        """Write the blob, by the means of its filesystem that shows it whole or not at all."""
        check_key(key)
        if if_absent and self._scheme not in (*OBJECTS, *SSH):
            unable = self._explain("write", key, "this filesystem cannot create only what is absent")
            unable.errno = errno.ENOTSUP
            raise unable
        with self._using("write", key) as filesystem:
            path = self._path(key)
            if self._scheme in OBJECTS:
                created = self._put_object(filesystem, path, bufs, if_absent=if_absent)
            else:
                created = self._put_file(filesystem, path, bufs, if_absent=if_absent)
        if not created:
            msg = f"{key} exists already in the store {self._place}."
            raise AlreadyExists(msg)

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """Read the blob, or the piece of it that was asked for; what ends too soon is an error."""
        check_key(key)
        with self._using("read", key) as filesystem:
            path = self._path(key)
            if not start and end is None and self._scheme in OBJECTS:
                return bytes(filesystem.cat_file(path))
            info = filesystem.info(path)
            if info["type"] == "directory":
                raise FileNotFoundError(path)
            end = info["size"] if end is None else min(end, info["size"])
            if end <= start:
                return b""
            try:
                data = bytes(_read(filesystem, path, start, end))
            except FileNotFoundError as error:  # it was there a moment ago, and some call every failure so
                raise self._explain("read", key, f"it cannot be read any more ({error})") from error
        if len(data) != end - start:
            raise self._explain("read", key, "it ended too soon")
        return data

    def get_into(self, key: str, start: int, target: memoryview) -> int:
        """Read the piece, and copy it."""
        piece = self.get(key, start, start + len(target))
        target[: len(piece)] = piece
        return len(piece)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """Walk the folders; what cannot be listed is an error, not an empty folder."""
        return walk(self._children, prefix, start_after)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the files, one by one."""
        for key in keys:
            check_key(key)
            with contextlib.suppress(NotFound), self._using("delete", key) as filesystem:
                try:
                    filesystem.rm_file(self._path(key))
                except Exception:
                    filesystem.info(self._path(key))  # not all say by the kind of error that it is not there
                    raise

    def now(self) -> float:
        """Write a file, and see what time the filesystem gives it."""
        key = f"clock-{secrets.token_hex(8)}"
        self.put(key, [b"now"])
        try:
            return next(self.list(key)).mtime
        finally:
            self.delete([key])

    def _put_object(self, filesystem: Any, path: str, bufs: Sequence[Buffer], *, if_absent: bool) -> bool:
        content = b"".join(bufs)
        if not if_absent:
            filesystem.pipe_file(path, content)
            return True
        with _IN_THIS_PROCESS if self._scheme == "memory" else contextlib.nullcontext():
            try:
                filesystem.pipe_file(path, content, mode="create")
            except FileExistsError:
                return False
        return True

    def _put_file(self, filesystem: Any, path: str, bufs: Sequence[Buffer], *, if_absent: bool) -> bool:
        folder = path.rpartition("/")[0]
        temporary = f"{folder}/{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            with self._opened(filesystem, folder, temporary) as file:
                for buf in bufs:
                    file.write(bytes(buf))
            self._check_size(filesystem, temporary, sum(memoryview(buf).nbytes for buf in bufs))
            try:
                if if_absent:
                    filesystem.ftp.rename(temporary, path)  # of SFTP's two, the one that replaces nothing
                else:
                    filesystem.mv(temporary, path)
            except OSError:
                if not filesystem.exists(path):
                    raise
                filesystem.rm_file(temporary if if_absent else path)
                if not if_absent:  # it may not be moved onto another: then for a moment there is none
                    filesystem.mv(temporary, path)
                return not if_absent
        except BaseException:
            with contextlib.suppress(Exception):
                filesystem.rm_file(temporary)
            raise
        return True

    def _check_size(self, filesystem: Any, path: str, size: int) -> None:
        if filesystem.info(path)["size"] != size:
            raise self._explain("write", path, "not all of it arrived")

    def _opened(self, filesystem: Any, folder: str, temporary: str) -> Any:
        # not all say when a file is opened that its folder is missing: some do when it is closed
        if self._scheme not in SSH and folder not in self._made:
            _make_folder(filesystem, folder)
            self._made.add(folder)
        try:
            file = filesystem.open(temporary, "wb")
        except FileNotFoundError:
            _make_folder(filesystem, folder)
            file = filesystem.open(temporary, "wb")
        if self._scheme in SSH:
            file.set_pipelined(True)
        return file

    def _children(self, folder: str) -> Iterator[Entry]:
        try:
            with self._using("list", folder) as filesystem:
                path = self._path(folder.removesuffix("/")) if folder else self._root
                filesystem.invalidate_cache()
                found = filesystem.ls(path, detail=True)
        except NotFound:
            return
        for info in found:
            name = str(info["name"]).rstrip("/").rpartition("/")[2]
            ending = "/" if info["type"] == "directory" else ""
            yield Entry(f"{folder}{name}{ending}", int(info["size"] or 0), _time(info))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    @contextlib.contextmanager
    def _using(self, verb: str, key: str) -> Iterator[Any]:
        """Lend a filesystem, and turn what it raises into our errors; one that failed is not used again."""
        with self._lock:
            if self._process != os.getpid():  # after a fork, connections are the other's
                self._idle, self._process = [], os.getpid()
            filesystem = self._idle.pop() if self._idle else None
        try:
            if filesystem is None:
                try:
                    filesystem = self._connect()
                except FileNotFoundError as error:  # of this side, a key's perhaps: it says nothing of the store
                    raise self._explain(verb, key, f"a file is missing here ({error})") from error
            yield filesystem
        except FileNotFoundError as error:
            self._idle.append(filesystem)
            if isinstance(error, NotFound):
                raise
            if verb == "write":
                raise self._explain(verb, key, f"there is no such place ({error})") from error
            msg = f"{key} is not in the store {self._place}."
            raise NotFound(msg) from error
        except NbckptError:
            raise
        except Exception as error:  # every library behind fsspec has errors of its own, of no common kind
            explained = self._explain(verb, key, " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".: "))
            # A number that says "try no more" is the operating system's; over a network it may not be meant so.
            explained.errno = error.errno if isinstance(error, PermissionError) else None
            raise explained from error
        else:
            self._idle.append(filesystem)

    def _connect(self) -> Any:
        try:
            import fsspec
        except ImportError as error:
            msg = f"The store {self._place} needs fsspec: run `pip install 'nbckpt[fsspec]'`."
            raise OptionError(msg) from error
        try:
            if self._scheme in SSH:
                from fsspec.implementations.sftp import SFTPFileSystem as Filesystem
            else:
                Filesystem = fsspec.get_filesystem_class(self._scheme)  # noqa: N806 - a class
        except ValueError as error:
            msg = f"The store {self._place} cannot be opened: nothing installed here knows {self._scheme}:// URLs."
            raise OptionError(msg) from error
        except ImportError as error:
            what = "paramiko: run `pip install 'nbckpt[sftp]'`" if self._scheme in SSH else f"a package: {error}"
            msg = f"The store {self._place} needs {what.rstrip('.')}."
            raise OptionError(msg) from error
        # A listing that is remembered shows what was deleted, and not what was written since.
        options = {**Filesystem._get_kwargs_from_urls(self._place), **self._options}  # noqa: SLF001 - how fsspec opens a URL
        if self._scheme in SSH:
            silence = options["timeout"] = float(options.get("timeout", _TIMEOUT))
            filesystem = Filesystem(**options, skip_instance_cache=True)
            filesystem.ftp.get_channel().settimeout(silence)
        else:
            filesystem = Filesystem(**options, use_listings_cache=False, skip_instance_cache=True)
        self._root = str(Filesystem._strip_protocol(self._place)).rstrip("/")  # noqa: SLF001
        return filesystem

    def _explain(self, verb: str, key: str, reason: str) -> StoreError:
        what = f"{verb} {key} in the store" if key else f"{verb} in the store"
        return StoreError(f"Could not {what} {self._place}: {reason}. What was saved before is untouched.")


def _make_folder(filesystem: Any, folder: str) -> None:
    for attempts_left in reversed(range(folder.count("/") + 1)):
        try:
            filesystem.makedirs(folder, exist_ok=True)
        except OSError:  # of those who make it at the same time one succeeds, and the others go on from there
            if not attempts_left:
                raise
        else:
            return


def _read(filesystem: Any, path: str, start: int, end: int) -> bytes:
    if not hasattr(getattr(filesystem, "ftp", None), "posix_rename"):
        return bytes(filesystem.cat_file(path, start, end))
    with filesystem.ftp.open(path, "rb") as file:  # paramiko: asks for all of it at once, not for piece after piece
        return b"".join(file.readv([(start, end - start)]))


def _time(info: Mapping[str, Any]) -> float:
    """Return when a file was written, 0 from a filesystem that does not say."""
    found = next((info[name] for name in _TIMES if info.get(name) is not None), 0.0)
    if isinstance(found, str):
        found = datetime.fromisoformat(found.replace("Z", "+00:00"))
    if isinstance(found, datetime):
        found = (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
    return float(found)
