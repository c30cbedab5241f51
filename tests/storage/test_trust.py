"""Whom snapshots are trusted from, what a store may lead to, and what it may make a reader do."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from states import check, state

from nbckpt.errors import OptionError, RestoreError, StoreError, UntrustedSnapshot
from nbckpt.front.cli import main
from nbckpt.storage import fetch, signing
from nbckpt.storage.records import seal
from nbckpt.storage.repository import Repository
from nbckpt.storage.signing import data_folder, key_folder, known_keys, signing_key, trusted
from nbckpt.storage.stores import open_store
from nbckpt.storage.stores.local import exposed
from nbckpt.testing.faults import MemoryStore

posix = pytest.mark.skipif(os.name == "nt", reason="files have no such modes")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A store that another machine saved to, with a key that is not here."""
    repository = Repository.open(str(tmp_path / "shared" / "store"))
    repository.writer("train").commit(*state(1))
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "this machine"))
    return repository


def test_a_place_whose_writers_one_trusts(elsewhere: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """After `nbckpt trust` snapshots of unknown keys load from there and from below, and nowhere else."""
    with pytest.raises(UntrustedSnapshot, match=r"nbckpt key import.*nbckpt trust"):
        elsewhere.load("train")
    place = str(Path(elsewhere.url).parent)
    assert main(["trust", place]) == 0
    assert "can run code here" in capsys.readouterr().out
    assert trusted() == [place]
    loaded = elsewhere.load("train")
    assert check(loaded) == 1
    elsewhere.writer("train", based_on=loaded).commit(*state(2))
    assert check(elsewhere.load("train")) == 2
    assert not known_keys(place + "-2/store").anyone
    assert not known_keys(str(Path(place).parent)).anyone
    assert main(["trust", place, "--revoke"]) == 0
    entry = Path(elsewhere.url) / "train/log/00000002.json"
    entry.unlink()
    with pytest.raises(UntrustedSnapshot):
        elsewhere.load("train")


@pytest.mark.parametrize("how", ["import", "rotate"])
def test_cleaning_with_another_key_of_ours(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A prune and a repair sign as the run does that saves there, which goes on beside them and reads them."""
    place = tmp_path / "store"
    repository = Repository.open(str(place))
    run = repository.writer("train")
    for number in (1, 2):
        run.commit(*state(number))
    if how == "import":
        (key,) = key_folder().glob("*.key")
        monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "janitor"))
        assert main(["key", "import", str(key)]) == 0
    else:
        assert main(["key", "rotate"]) == 0
    left = place / "train" / "packs" / ("ab" * 16)
    left.write_bytes(b"left behind")
    assert main(["prune", "--store", str(place), "--grace", "0s"]) == 0
    assert "1 file" in capsys.readouterr().out
    assert not left.exists()
    if how == "import":
        monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "data"))
    assert check(repository.load("train")) == 2
    run.commit(*state(3))
    assert check(repository.load("train")) == 3
    manifest = place / "train" / "manifests" / repository.history("train")[0].manifest_id
    manifest.write_bytes(b"")
    if how == "import":
        monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "janitor"))
    assert main(["repair", "--store", str(place)]) == 0
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "data"))
    assert check(repository.load("train")) == 2


@pytest.mark.parametrize("command", ["prune", "repair"])
def test_trust_signs_nothing_anew(
    command: str, elsewhere: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who trusts a place without having its key cleans nothing there: its owner could not read what they sign."""
    place = Path(elsewhere.url)
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(place.parents[1] / "data"))
    elsewhere.writer("train", based_on=elsewhere.load("train")).commit(*state(2))
    left = place / "train" / "packs" / ("ab" * 16)
    left.write_bytes(b"left behind")
    if command == "repair":
        (place / "train" / "manifests" / elsewhere.history("train")[0].manifest_id).write_bytes(b"")
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(place.parents[1] / "this machine"))
    signing.trust([elsewhere.url])
    before = sorted(place.rglob("*"))
    grace = ["--grace", "0s"] if command == "prune" else []
    assert main([command, "--store", str(place), *grace]) == 1
    assert "run this where that key is" in capsys.readouterr().out
    assert sorted(place.rglob("*")) == before
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(place.parents[1] / "data"))
    assert check(elsewhere.load("train")) == (1 if command == "repair" else 2)


ELSEWHERE = "endpoint_url=http://evil.example"


@pytest.mark.parametrize(
    ("trusts", "url", "is_trusted"),
    [
        ("s3://bucket/a", "s3://bucket/a?region=eu-central-1&timeout=5", True),
        ("s3://bucket/a?profile=me", "s3://bucket/a/b", True),
        ("s3://bucket", "s3://bucket/a?storage_class=STANDARD_IA", True),
        ("s3://bucket", "s3://bucket-2/a", False),
        ("s3://bucket/a", "s3://bucket/ab", False),
        ("s3://bucket", f"s3://bucket/a?{ELSEWHERE}", False),
        (f"s3://bucket?{ELSEWHERE}", f"s3://bucket/a?region=x&{ELSEWHERE}", True),
        (f"s3://bucket?{ELSEWHERE}", "s3://bucket/a", False),
        ("sftp://me@host/x", "sftp://me@host/x/y?key_filename=/id", True),
        ("sftp://me@host/x", "sftp://me@host/x/y?host=evil.example", False),
        ("/", "/any/folder", True),
    ],
)
def test_what_is_the_same_place(trusts: str, url: str, is_trusted: bool) -> None:
    """Options that say how a store is used make no difference; another server is another place."""
    signing.trust([open_store(trusts).url])
    assert known_keys(open_store(url).url).anyone == is_trusted


def test_revoking_says_what_is_still_trusted(capsys: pytest.CaptureFixture[str]) -> None:
    """A place below a trusted one is not said to be trusted no longer."""
    assert main(["trust", "s3://bucket"]) == 0
    assert main(["trust", "s3://bucket/a"]) == 0
    capsys.readouterr()
    assert main(["trust", "s3://bucket/a", "--revoke"]) == 1
    assert "nbckpt trust s3://bucket --revoke" in capsys.readouterr().err
    assert main(["trust", "s3://bucket", "--revoke"]) == 0
    assert "only what our keys signed" in capsys.readouterr().out


def test_altered_stays_altered(elsewhere: Repository) -> None:
    """What was signed with a key of ours and changed since is refused, whomever one trusts."""
    signing.trust([elsewhere.url])
    elsewhere.writer("mine").commit(*state(1))
    path = Path(elsewhere.url) / "mine/log/00000001.json"
    record = json.loads(path.read_bytes())
    record["time"] = 0.0
    record.pop("check")
    path.write_bytes(seal(record))
    with pytest.raises(UntrustedSnapshot, match="altered"):
        elsewhere.load("mine")


@posix
def test_the_list_of_trusted_places_is_private(elsewhere: Repository) -> None:
    """It is written for the user alone, and not believed if others could have changed it."""
    signing.trust([elsewhere.url])
    path = data_folder() / "trusted"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o622)
    with pytest.raises(OptionError, match="chmod 600"):
        elsewhere.load("train")


def test_import_and_rotate(
    elsewhere: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An imported key verifies, and signs if asked to; a new one signs while the old ones still verify."""
    mine = signing_key()
    (theirs,) = (path for path in (tmp_path / "data" / "keys").glob("*.key"))
    assert main(["key", "import", str(theirs)]) == 0
    assert theirs.stem in capsys.readouterr().out
    assert check(elsewhere.load("train")) == 1
    assert signing_key() == mine
    assert main(["key", "import", str(theirs), "--sign"]) == 0
    assert signing_key().id == theirs.stem
    assert main(["key", "rotate"]) == 0
    assert len(known_keys()) == 3
    assert signing_key().id not in {mine.id, theirs.stem}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in key_folder().iterdir() if os.name != "nt")
    elsewhere.writer("train", based_on=elsewhere.load("train")).commit(*state(2))
    assert check(elsewhere.load("train", seq=1)) == 1
    for content in (b"secret", b"\xde\xad", b""):
        (tmp_path / "no key").write_bytes(content)
        assert main(["key", "import", str(tmp_path / "no key")]) == 1
        assert "holds no key" in capsys.readouterr().err
    assert main(["key", "import", str(tmp_path / "nowhere")]) == 1
    assert f"{tmp_path / 'nowhere'} cannot be read" in capsys.readouterr().err
    monkeypatch.setenv("NBCKPT_KEY", theirs.read_text())
    assert main(["key", "rotate"]) == 1
    assert "NBCKPT_KEY" in capsys.readouterr().err


@posix
def test_a_mounted_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of root's that a group may read, as Kubernetes mounts it, is a key; one that the world reads is not."""
    path = tmp_path / "key"
    path.write_text("A" * 43)
    monkeypatch.setenv("NBCKPT_KEY_FILE", str(path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    real = os.fstat

    def of_root(handle: int) -> os.stat_result:
        return os.stat_result((*real(handle)[:4], 0, *real(handle)[5:]))

    monkeypatch.setattr(os, "fstat", of_root)
    for mode, refused in ((0o440, False), (0o640, False), (0o660, True), (0o644, True)):
        path.chmod(mode)
        if refused:
            with pytest.raises(OptionError, match="defaultMode 0440"):
                signing_key()
        else:
            assert signing_key().secret == bytes(32)


def test_the_first_save_to_a_place_that_others_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is told once that another machine could not resume, unless the key came from elsewhere itself."""
    store = MemoryStore()
    repository = Repository.open(store)
    assert repository.cautions("train") == []  # in memory there is nobody else
    store.url = "s3://bucket/prefix"
    (caution,) = repository.cautions("train")
    assert "key show --export" in caution
    monkeypatch.setenv("NBCKPT_KEY", "A" * 43)
    assert repository.cautions("train") == []
    monkeypatch.delenv("NBCKPT_KEY")
    repository.writer("train").commit(*state(1))
    assert repository.cautions("train") == []


@posix
def test_a_new_store_is_private(tmp_path: Path) -> None:
    """Only the user can look into a store that was made for them; one that others can write to is said."""
    repository = Repository.open(str(tmp_path / "store"))
    repository.writer("train").commit(*state(1))
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700
    assert repository.cautions("train") == [exposed(str(tmp_path / "no store"))][:0]
    (tmp_path / "store").chmod(0o777)
    (caution,) = repository.cautions("train")
    assert f"chmod 700 {tmp_path / 'store'}" in caution


@posix
@pytest.mark.parametrize("what", ["train", "train/packs", "train/manifests", "train/log"])
def test_no_way_out_of_a_store(tmp_path: Path, what: str) -> None:
    """A link in a store leads nobody out of it: not to read, not to write, not to delete."""
    repository = Repository.open(str(tmp_path / "store"))
    repository.writer("train").commit(*state(1))
    outside = tmp_path / "outside"
    (tmp_path / "store" / what).rename(outside)
    (tmp_path / "store" / what).symlink_to(outside)
    before = sorted(outside.rglob("*"))
    for use in (repository.load, repository.remove, lambda name: repository.writer(name).commit(*state(2))):
        with pytest.raises((StoreError, LookupError, ValueError)):
            [use("train") for _ in range(2)]
    assert sorted(outside.rglob("*")) == before


def test_more_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot that unfolds to more than the machine's memory is refused before anything is allocated."""
    repository = Repository.open(MemoryStore())
    repository.writer("train").commit(*state(1, size=1 << 20))
    monkeypatch.setattr(fetch, "physical_memory", lambda: 100_000)
    monkeypatch.setattr(fetch, "_memory", None)
    with pytest.raises(RestoreError, match=r"unfolds to 0.0 GB .*Nothing was loaded"):
        repository.load("train")
