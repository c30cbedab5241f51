"""Keys are private, made once, and found where people put them."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nbckpt.errors import OptionError, UntrustedSnapshot
from nbckpt.storage.signing import Key, key_folder, known_keys, signed, signing_key, verify

TEXT = base64.urlsafe_b64encode(bytes(range(32))).decode()


def test_made_once() -> None:
    """The first use makes a private key in a private folder; the next uses find it."""
    assert known_keys() == {}
    assert not key_folder().exists()
    key = signing_key()
    assert signing_key() == key
    assert known_keys() == {key.id: key}
    assert sorted(path.name for path in key_folder().iterdir()) == sorted([f"{key.id}.key", "current"])
    if os.name != "nt":
        assert stat.S_IMODE(key_folder().stat().st_mode) == 0o700
        assert stat.S_IMODE((key_folder() / f"{key.id}.key").stat().st_mode) == 0o600


def test_secret_stays_out_of_sight() -> None:
    """A key that ends up in a message or a log shows its id only."""
    key = signing_key()
    assert repr(key) == f"Key(id={key.id!r})"


def test_first_one_wins() -> None:
    """Processes that make the first key at the same time all end up with the same one."""
    script = (
        "import sys; from nbckpt.storage.signing import signing_key; print('ready', flush=True); "
        "sys.stdin.readline(); print(signing_key().id)"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    assert len({child.communicate()[0] for child in children}) == 1
    assert len(list(key_folder().glob("*.key"))) == 1


def test_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the environment signs; those in the folder still verify. No key is made beside it."""
    monkeypatch.setenv("NBCKPT_KEY", TEXT)
    assert signing_key() == Key(bytes(range(32)))
    assert not key_folder().exists()
    monkeypatch.setenv("NBCKPT_KEY", TEXT.rstrip("="))
    assert signing_key() == Key(bytes(range(32)))
    monkeypatch.delenv("NBCKPT_KEY")
    made = signing_key()
    path = tmp_path / "key"
    path.write_text(TEXT + "\n")
    path.chmod(0o600)
    monkeypatch.setenv("NBCKPT_KEY_FILE", str(path))
    assert signing_key() == Key(bytes(range(32)))
    assert set(known_keys()) == {made.id, signing_key().id}


@pytest.mark.parametrize("text", ["short", "ä" * 43, "!" + TEXT[1:], TEXT * 2, "="])
def test_malformed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is none is refused by name, never used as it is, never shown."""
    monkeypatch.setenv("NBCKPT_KEY", text)
    with pytest.raises(OptionError, match="NBCKPT_KEY") as caught:
        signing_key()
    assert text not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="files have no such modes")
def test_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that others can read is not used, and the sentence says how to make it private."""
    key = signing_key()
    path = key_folder() / f"{key.id}.key"
    for mode in (0o640, 0o604):
        path.chmod(mode)
        for use in (signing_key, known_keys):
            with pytest.raises(OptionError, match=f"chmod 600 {path}"):
                use()
    monkeypatch.setenv("NBCKPT_KEY_FILE", str(path))
    with pytest.raises(OptionError, match="chmod 600"):
        signing_key()
    monkeypatch.setenv("NBCKPT_KEY_FILE", str(tmp_path / "absent"))
    with pytest.raises(OptionError, match="absent"):
        signing_key()


def test_nowhere_to_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place for a key nothing is saved unsigned; the sentence says what to set."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(OptionError, match="NBCKPT_KEY"):
        signing_key()
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "current").write_text("../../etc/passwd\n")
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path))
    with pytest.raises(OptionError, match="does not name a key"):
        signing_key()
    (tmp_path / "keys" / "current").write_text("0123456789abcdef\n")
    with pytest.raises(OptionError, match="No signing key"):
        signing_key()


def test_signatures() -> None:
    """A signature holds for exactly one record and one key."""
    one, other = Key(bytes(32)), Key(bytes(range(32)))
    record = signed({"seq": 1, "writer": {"host": "h", "pid": 1}}, one)
    verify(record, {one.id: one, other.id: other}, "It")
    for changed in (
        {**record, "seq": 2},
        {**record, "more": 1},
        {**record, "signature": "é"},
        {**record, "key": other.id},
    ):
        with pytest.raises(UntrustedSnapshot, match=r"altered"):
            verify(changed, {one.id: one, other.id: other}, "It")
    for changed in ({**record, "algorithm": "none"}, {**record, "key": 1}, {**record, "signature": None}):
        with pytest.raises(UntrustedSnapshot, match=r"not signed"):
            verify(changed, {one.id: one}, "It")
    with pytest.raises(UntrustedSnapshot, match=one.id):
        verify(record, {other.id: other}, "It")
