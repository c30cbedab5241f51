"""Stores: places that keep blobs by key, behind one small protocol."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from nbckpt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Buffer: TypeAlias = "bytes | bytearray | memoryview"

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Entry(NamedTuple):
    """One blob in a listing: its key, its size in bytes, and when it was written by the store's clock."""

    key: str
    size: int
    mtime: float


class Store(Protocol):
    """What a snapshot needs of a place to be safe there: no rename, no lock, one atomic create.

    Keys are relative and `/`-separated; each segment is letters, digits, `.`, `_`, `-` and starts with a letter
    or digit. A blob is seen whole or not at all. Every method raises `StoreError` when the store cannot be
    reached or refuses; only `NotFound` means that something is not there.
    """

    @property
    def url(self) -> str:
        """Where the store is, as a person would write it; it can be opened again by it."""

    @property
    def single_writer(self) -> bool:
        """Whether the one who opened it vouches that never two runs at once save under one name there."""

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        """Keep the concatenation of `bufs` under `key`; it is durable when this returns.

        With `if_absent`, exactly one of several callers succeeds; the others get `AlreadyExists`.
        """

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes from `start` up to `end`, fewer where the blob ends sooner; raises `NotFound`."""

    def get_into(self, key: str, start: int, target: memoryview) -> int:
        """Fill `target` from `start` and return how many bytes there were; raises `NotFound`."""

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """Yield what is kept under keys that begin with `prefix` and sort after `start_after`, sorted."""

    def delete(self, keys: Iterable[str]) -> None:
        """Forget these keys; one that is not there is fine."""

    def now(self) -> float:
        """Return the store's own clock, in seconds since 1970, comparable with `Entry.mtime`."""


def check_key(key: str) -> str:
    """Return `key` if a store may use it; raises `OptionError` for one that could lead out of the store."""
    if not is_key(key):
        msg = f"{key!r} cannot be a key in a store: only letters, digits, '.', '_' and '-' between slashes."
        raise OptionError(msg)
    return key


def is_key(key: str) -> bool:
    """Tell whether a store may use `key`."""
    return all(_SEGMENT.fullmatch(segment) for segment in key.split("/"))


def yes_or_no(url: str, option: str, value: str) -> bool:
    """Return what an option of a URL says; raises `OptionError` if it says neither."""
    if value.lower() not in {"true", "yes", "1", "false", "no", "0"}:
        msg = f"The store {url!r} cannot be opened: {option}={value} is neither true nor false."
        raise OptionError(msg)
    return value.lower() in {"true", "yes", "1"}


def open_store(url: str) -> Store:
    """Return the store at `url`: a folder's path (`~` is the home folder), `s3://bucket/prefix`, or what fsspec knows.

    Options follow a question mark: `s3://bucket/prefix?region=eu-central-1`. Nothing is read or created yet.
    Raises `OptionError` for a URL that makes no sense.
    """
    # One letter before the colon is a Windows drive, not a scheme.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", url) is None:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", url):
            meant = url.replace(":/", "://", 1)
            msg = f"The store {url!r} is neither a URL nor a likely folder: write {meant!r}, or ./{url} for a folder."
            raise OptionError(msg)
        return _folder(url, url)
    scheme = url.partition("://")[0].lower()
    if scheme == "file":
        parts = urlsplit(url)
        if parts.netloc not in {"", "localhost"}:
            msg = f"The store {url!r} cannot be opened: a folder of this machine is file:///…, or just its path."
            raise OptionError(msg)
        return _folder(url, unquote(parts.path))
    place, _, query = url.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if scheme == "s3":
        from nbckpt.storage.stores.s3 import S3Store

        bucket, _, prefix = place.partition("://")[2].partition("/")
        return S3Store(bucket, prefix, options)
    from nbckpt.storage.stores.filesystem import FilesystemStore

    return FilesystemStore(place, options)


def is_far(url: str) -> bool:
    """Whether a store is elsewhere: what is asked of it takes a while, and this machine's disk is safer meanwhile."""
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme.lower() not in {"file", "memory"}


def _folder(url: str, path: str) -> Store:
    from nbckpt.storage.stores.local import LocalStore

    if not path or "\0" in path:
        msg = f"The store {url!r} names no folder: give a path like '.nbckpt' or '~/checkpoints'."
        raise OptionError(msg)
    return LocalStore(Path(path).expanduser())
