"""Who may be trusted: the keys on this machine, and signatures made with them.

Unpickling runs code, so a snapshot is read only if someone who holds one of our keys wrote it. Keys never stand
in a store. They come from `NBCKPT_KEY` (base64url of 32 bytes), the file that `NBCKPT_KEY_FILE` names, or the
folder `keys` in the user's data folder (`NBCKPT_DATA_DIR` moves it), where the first save makes one.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbckpt.errors import OptionError, UntrustedSnapshot
from nbckpt.storage.records import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CONTEXT = b"nbckpt log entry 1\0"
_ALGORITHM = "hmac-sha256"
_KEYS, _TRUSTED = "keys", "trusted"
_HOW = {
    *("region", "profile", "sse", "sse_kms_key_id", "storage_class", "timeout", "single_writer"),
    *("key_filename", "allow_agent", "look_for_keys"),
}
"""Options of a store's URL that say how it is used, not which it is."""


class AlteredError(UntrustedSnapshot):
    """What one of our keys signed was changed since: nobody's work is in it, and a repair may drop it."""


@dataclass(frozen=True, slots=True)
class Key:
    """A secret of 32 bytes; `id` names it in messages and log entries without giving it away."""

    secret: bytes = field(repr=False)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        from blake3 import blake3

        hashed: str = blake3(self.secret, derive_key_context="nbckpt key id").hexdigest()
        object.__setattr__(self, "id", hashed[:16])


def signing_key() -> Key:
    """Return the key that new snapshots are signed with; makes one where there is none.

    Raises `OptionError` for a key that is malformed or that others can read, or if none can be made.
    """
    given = _key_from_environment()
    if given is not None:
        return given
    folder = key_folder()
    try:
        current = _current_key(folder)
        return current if current is not None else _make_key(folder)
    except OSError as error:
        if isinstance(error, OptionError):
            raise
        msg = (
            f"No signing key could be read or made in {folder} ({error.strerror or error}), and nothing is saved "
            "unsigned: set NBCKPT_DATA_DIR to a folder that is writable, or NBCKPT_KEY."
        )
        raise OptionError(msg) from error


class Keyring(dict[str, Key]):
    """The keys that signatures are verified with, by id; with `anyone`, the writers of a store are trusted anyway."""

    anyone = False


def known_keys(url: str = "") -> Keyring:
    """Return every key that signatures in the store at `url` may be verified with; makes none."""
    folder = data_folder()  # once: to ask where it is takes as long as to read what is there
    found = list(_keys_in_folder(folder / _KEYS))
    given = _key_from_environment()
    keyring = Keyring({key.id: key for key in (*found, *([given] if given else []))})
    keyring.anyone = bool(url) and bool(_places_of(url, _trusted_in(folder)))
    return keyring


def is_machine_local() -> bool:
    """Whether snapshots are signed with a key that nobody has given to this machine."""
    return not (os.environ.get("NBCKPT_KEY") or os.environ.get("NBCKPT_KEY_FILE"))


def key_folder() -> Path:
    """Return the folder of this user's keys, which need not exist."""
    return data_folder() / _KEYS


def data_folder() -> Path:
    """Return the folder of what nbckpt keeps for this user beside their stores; it need not exist."""
    data = os.environ.get("NBCKPT_DATA_DIR")
    if not data:
        import platformdirs

        data = platformdirs.user_data_dir("nbckpt")
    return Path(data).expanduser()


def import_key(text: str, where: str, *, sign: bool) -> Key:
    """Keep a key of another machine to verify with, and with `sign` to sign with from now on."""
    key = _parse(text, where)
    folder = _make_folder()
    with contextlib.suppress(FileExistsError):
        _create(folder / f"{key.id}.key", _text(key))
    if sign:
        _make_current(folder, key)
    return key


def rotate_key() -> Key:
    """Make a new key to sign with from now on; the ones before still verify what they signed.

    Raises `OptionError` where the environment says which key signs.
    """
    if not is_machine_local():
        msg = "The key that signs here is the one of NBCKPT_KEY or NBCKPT_KEY_FILE: give these another one instead."
        raise OptionError(msg)
    folder = _make_folder()
    key = Key(secrets.token_bytes(32))
    _create(folder / f"{key.id}.key", _text(key))
    _make_current(folder, key)
    return key


def trusted() -> list[str]:
    """Return the places whose writers this user trusts, whatever they sign with."""
    return _trusted_in(data_folder())


def trusted_by(url: str) -> list[str]:
    """Return those of the trusted places that a store is, or is below."""
    return _places_of(url, trusted())


def trust(places: Iterable[str]) -> None:
    """Replace the places whose writers this user trusts."""
    _replace(_make_folder().parent / _TRUSTED, "".join(f"{place}\n" for place in places).encode())


def _trusted_in(folder: Path) -> list[str]:
    """The lines of the user's list, which only the user may change."""
    path = folder / _TRUSTED
    try:
        with path.open("rb") as file:
            if os.name != "nt" and os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                msg = f"{path} can be changed by others than you and was not used: run chmod 600 {path}."
                raise OptionError(msg)
            return file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []


def _places_of(url: str, places: Iterable[str]) -> list[str]:
    """Those of some places that a store is, or is below."""
    inner, server = _place(url)
    return [
        place
        for place in places
        for outer, its_server in [_place(place)]
        if server == its_server and (inner == outer or inner.startswith(outer.rstrip("/") + "/"))
    ]


def signed(record: dict[str, Any], key: Key) -> dict[str, Any]:
    """Return `record` with the key's id and a signature over all of it."""
    claimed = {**record, "algorithm": _ALGORITHM, "key": key.id}
    return {**claimed, "signature": _signature(claimed, key)}


def verify(record: dict[str, Any], keys: dict[str, Key], what: str) -> None:
    """Raise `UntrustedSnapshot` unless one of `keys` signed exactly this record (`AlteredError`), or anyone may have.

    `what` says in the message which snapshot it is about.
    """
    claimed = {name: value for name, value in record.items() if name != "signature"}
    key_id, signature = claimed.get("key"), record.get("signature")
    author = _author(record.get("writer"))
    anyone = isinstance(keys, Keyring) and keys.anyone
    if not isinstance(key_id, str) or not isinstance(signature, str) or claimed.get("algorithm") != _ALGORITHM:
        if anyone:
            return
        msg = (
            f"{what} ({author}) is not signed, so nothing of it was read: whoever can write there could have made it. "
            "If you trust all who can, run `nbckpt trust` with the store's URL; else start over with --fresh under "
            "another name."
        )
        raise UntrustedSnapshot(msg)
    key = keys.get(key_id)
    if key is None:
        if anyone:
            return
        msg = (
            f"{what} ({author}) is signed with the key {key_id!r:.40}, which this machine does not have, so nothing of "
            f"it was read and nothing was changed: run `nbckpt key import` with that machine's key (or set NBCKPT_KEY "
            "to it), or `nbckpt trust` with the store's URL if you trust all who can write there."
        )
        raise UntrustedSnapshot(msg)
    if not hmac.compare_digest(_signature(claimed, key).encode(), signature.encode("utf-8", "replace")):
        msg = (
            f"{what} ({author}) was altered after it was signed with the key {key_id}, so nothing of it was read: run "
            "`nbckpt repair` to drop it and go on from the one before, or start over with --fresh under another name."
        )
        raise AlteredError(msg)


def _place(url: str) -> tuple[str, list[str]]:
    """Return a store's URL without its options, and those of them that say on which server it is.

    One bucket's name on another server is another place, whoever wrote the URL.
    """
    if "://" not in url:
        return url, []
    place, _, query = url.partition("?")
    options = query.split("&") if query else []
    return place, sorted(option for option in options if option.partition("=")[0] not in _HOW)


def _signature(claimed: dict[str, Any], key: Key) -> str:
    return hmac.digest(key.secret, _CONTEXT + canonical(claimed), "sha256").hex()


def _author(writer: object) -> str:
    if not isinstance(writer, dict):
        return "writer unknown"
    host, pid = str(writer.get("host", "?")), str(writer.get("pid", "?"))
    return f"written on {host!r:.80}, pid {pid:.20}"


def _key_from_environment() -> Key | None:
    text = os.environ.get("NBCKPT_KEY")
    if text:
        return _parse(text, "NBCKPT_KEY")
    path = os.environ.get("NBCKPT_KEY_FILE")
    if not path:
        return None
    try:
        return _read(Path(path).expanduser())
    except OSError as error:
        if isinstance(error, OptionError):
            raise
        msg = f"NBCKPT_KEY_FILE names {path}, which cannot be read: {error.strerror or error}."
        raise OptionError(msg) from error


def _parse(text: str, where: str) -> Key:
    text = text.strip()
    try:
        secret = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        secret = b""
    if len(secret) != 32:
        msg = f"{where} holds no key: it must be 32 random bytes in base64url (43 characters)."
        raise OptionError(msg)
    return Key(secret)


def _read(path: Path) -> Key:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        readers = stat.S_IRWXG | stat.S_IRWXO
        if getattr(os, "geteuid", int)() != 0 and status.st_uid == 0:
            readers &= ~stat.S_IRGRP  # a mounted secret is root's, and ours through a group of the container
        if os.name != "nt" and status.st_mode & readers:
            msg = (
                f"The key in {path} can be read by others than you and was not used: run chmod 600 {path}, mount the "
                "secret with defaultMode 0440, or put the key itself into NBCKPT_KEY."
            )
            raise OptionError(msg)
        text = file.read(1024).decode("ascii", "replace")
    return _parse(text, str(path))


def _keys_in_folder(folder: Path) -> Iterator[Key]:
    try:
        paths = sorted(folder.glob("*.key"))
    except OSError:
        return
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # a lost race for the first key takes its own away again
            yield _read(path)


def _current_key(folder: Path) -> Key | None:
    try:
        name = (folder / "current").read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    if not name.isalnum():
        msg = f"{folder / 'current'} does not name a key: write the id of one of the keys beside it there."
        raise OptionError(msg)
    return _read(folder / f"{name}.key")


def _make_key(folder: Path) -> Key:
    """Make the first key; of several processes that do so at once, all get the one whose `current` came first."""
    _make_folder()
    key = Key(secrets.token_bytes(32))
    path = folder / f"{key.id}.key"
    _create(path, _text(key))
    try:
        _create(folder / "current", key.id.encode() + b"\n")
    except FileExistsError:
        path.unlink()
    current = _current_key(folder)
    return current if current is not None else _make_key(folder)


def _make_folder() -> Path:
    folder = key_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return folder


def _text(key: Key) -> bytes:
    return base64.urlsafe_b64encode(key.secret).rstrip(b"=") + b"\n"


def _make_current(folder: Path, key: Key) -> None:
    _replace(folder / "current", key.id.encode() + b"\n")


def _replace(path: Path, content: bytes) -> None:
    """Write a private file in one step."""
    new = path.with_name(f".{secrets.token_hex(8)}")
    _create(new, content)
    new.replace(path)


def _create(path: Path, content: bytes) -> None:
    """Create a private file that is never seen half-written; raises `FileExistsError`."""
    temporary = path.with_name(f".{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - the descriptor carries the mode
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink()
