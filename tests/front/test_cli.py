"""The `nbckpt` command and `%checkpoints`: what a store holds, for people and for programs."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import nbckpt
from nbckpt.errors import OptionError, UnknownCheckpoint
from nbckpt.front import listing
from nbckpt.front.cli import main
from nbckpt.storage.repository import Repository
from nbckpt.storage.signing import signing_key
from nbckpt.storage.snapshot import PartData

ROOT = Path(__file__).parents[2]

DESCRIPTION = {
    "kind": "cell",
    "progress": "epoch 3 of 5",
    "finished": False,
    "source": "for epoch in range(5):\n    train(model)",
    "python": "3.11",
    "packages": {"numpy": "2.4.6"},
    "left_out": {"log": "an open file"},
    "worked": 75.0,
    "saved_at": 0.0,
    "run": "r1",
    "notebook": "study.ipynb",
    "cell": None,
    "metrics": {"loss": 0.5},
    "every": "10 m",
}
PARTS = [PartData("state", b"x" * 5000, [], {"variables": [{"name": "model", "type": "Net"}]})]


def save(name: str, *, count: int = 1, final: bool = False, writer: dict[str, Any] | None = None, **more: Any) -> None:
    saving = Repository.open(".nbckpt").writer(name, writer_info=writer)
    for _ in range(count):
        saving.commit({**DESCRIPTION, **more}, PARTS, final=final)


def damage(name: str, kind: str) -> None:
    """Change the first byte of every file of one kind."""
    for path in (Path(".nbckpt") / name / kind).iterdir():
        path.write_bytes(b"?" + path.read_bytes()[1:])


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must work, and return what it printed."""
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(told(capsys, "list", "--json"))}


@pytest.fixture(autouse=True)
def _here(workplace: Path) -> None:
    pass


def test_no_store_yet(capsys: pytest.CaptureFixture[str], workplace: Path) -> None:
    """Looking at a store that does not exist is no error, and makes none."""
    assert "does not exist yet" in told(capsys, "list")
    assert told(capsys, "list", "--json") == "[]\n"
    assert list(workplace.iterdir()) == []


def test_an_empty_store(capsys: pytest.CaptureFixture[str]) -> None:
    """A store without checkpoints says so."""
    Repository.open(".nbckpt")
    assert "holds no checkpoint" in told(capsys, "list")


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    """A line a checkpoint, with its progress, age, size and state."""
    save("train", count=2)
    save("done", final=True, progress="the end")
    Repository.open(".nbckpt").writer("begun")
    heading, *lines = told(capsys, "list").splitlines()
    assert heading.split() == ["name", "state", "progress", "saved", "size"]
    shown = [re.sub(r"(just now|\d+ seconds? ago)", "AGE", re.sub(r" {2,}", " | ", line)) for line in lines]
    assert shown == [
        "begun | empty",
        "done | finished | the end | AGE | 5 kB",
        "train | unfinished | epoch 3 of 5 | AGE | 5 kB",
    ]


def test_the_store_of_the_environment(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """NBCKPT_STORE says where to look; `--store` wins over it."""
    save("train")
    Path(".nbckpt").rename("elsewhere")
    assert "train" not in told(capsys, "list")
    monkeypatch.setenv("NBCKPT_STORE", "elsewhere")
    assert "train" in told(capsys, "list")
    assert "train" not in told(capsys, "list", "--store", "third")


def test_a_running_process(capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint is running while the process of its newest run lives, unless that run said that it stopped."""
    here = socket.gethostname()
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        save("train", writer={"pid": other.pid})
        save("remote", writer={"pid": other.pid, "host": here + "-not"})
        Repository.open(".nbckpt").writer("begun")
        assert {name: row["state"] for name, row in listed(capsys).items()} == {
            "train": "running",
            "remote": "unfinished",
            "begun": "empty",
        }
        repository = Repository.open(".nbckpt")
        repository.write_status("train", {"state": "stopped", "host": here, "pid": other.pid})
        assert listed(capsys)["train"]["state"] == "unfinished"
        save("again", writer={"pid": 2**22 + 1})
        for name in ("again", "begun"):
            repository.write_status(name, {"state": "running", "host": here, "pid": other.pid})
            assert listed(capsys)[name]["state"] == "running"
    finally:
        other.communicate(b"\n")
    assert {row["state"] for row in listed(capsys).values()} == {"unfinished", "empty"}


@pytest.mark.parametrize("pid", [None, "12", True, 0, -1, 2**70, pytest.param(os.getpid(), id="own")])
def test_an_odd_process(pid: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever stands in the place of a process id, no process is asked for that is not another one."""
    save("train", writer={"pid": pid})
    assert listed(capsys)["train"]["state"] == "unfinished"


def test_damage_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged snapshot is named in the list, in detail, and by verify, whose exit status tells."""
    save("train")
    damage("train", "manifests")
    assert "Snapshot 1 of 'train' is damaged" in told(capsys, "list")
    assert listed(capsys)["train"]["state"] == "damaged"
    assert "Snapshot 1 of 'train' is damaged" in told(capsys, "show", "train")
    assert main(["verify"]) == 1
    assert "Snapshot 1 of 'train' is damaged" in capsys.readouterr().out


def test_verify(capsys: pytest.CaptureFixture[str]) -> None:
    """Verify reads what `list` does not: the bytes."""
    save("train", count=2)
    save("other")
    assert told(capsys, "verify") == (
        "other: 1 snapshot, every byte as it was saved\ntrain: 2 snapshots, every byte as it was saved\n"
    )
    damage("train", "packs")
    assert listed(capsys)["train"]["state"] == "unfinished"
    assert "other: 1 snapshot, every byte as it was saved" in told(capsys, "verify", "other")
    assert main(["verify", "train"]) == 1
    assert "Snapshot 2 of 'train' is damaged" in capsys.readouterr().out


def test_a_foreign_checkpoint(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another machine signed is listed as foreign, with the way to trust it, and nothing of it is shown."""
    save("train")
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "another machine"))
    row = listed(capsys)["train"]
    assert (row["state"], row["progress"]) == ("foreign", "")
    assert "NBCKPT_KEY" in row["problems"][0]
    assert "epoch" not in told(capsys, "show", "train")
    assert main(["verify", "train"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "damaged" in line] == []
    assert sum("NBCKPT_KEY" in line for line in said) == 1


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    """The details name every snapshot, variable and omission, who saved it, and the code."""
    save("train", count=2)
    shown = told(capsys, "show", "train")
    assert f"unfinished, 1 m 15 s of work, saved by process {os.getpid()}" in shown
    for section in (
        r"snapshots\n +number +progress +saved +size +metrics\n +2 +epoch 3 of 5 .*loss=0.5\n +1 +epoch 3 of 5 ",
        r"variables\n.*\n +model +Net\n",
        r"left out\n.*\n +log +an open file\n",
        r"metrics\n.*\n +loss +0.5\n",
        r"numpy +2.4.6\n",
        r"code\n  for epoch in range\(5\):\n      train\(model\)\n",
    ):
        assert re.search(section, shown), section


def test_show_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get the same as data."""
    save("train", count=2)
    known = json.loads(told(capsys, "show", "train", "--json"))
    assert [row["seq"] for row in known["history"]] == [2, 1]
    assert known["variables"] == [{"name": "model", "type": "Net"}]
    assert known["left_out"] == [{"name": "log", "why": "an open file"}]
    assert known["source"] == DESCRIPTION["source"]


@pytest.mark.parametrize(
    "odd",
    [
        {},
        dict.fromkeys(DESCRIPTION),
        dict.fromkeys(DESCRIPTION, 7),
        {name: ["x"] for name in DESCRIPTION},
        {"left_out": {"a": None, "b": {"c": 3}}, "packages": {"p": None}, "metrics": {"m": []}, "worked": -1},
        {"progress": "\x1b[2J<b>", "source": "\x1b]0;gone\x07\n<script>"},
    ],
)
def test_odd_descriptions(odd: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Another version's description, lacking anything or odd, is shown as far as it goes; nothing in it is obeyed."""
    saving = Repository.open(".nbckpt").writer("train")
    saving.commit(odd, [PartData("state", b"", [], {"variables": odd.get("metrics")})])
    told(capsys, "list")
    told(capsys, "show", "train", "--json")
    assert "\x1b" not in told(capsys, "show", "train")
    assert "<script" not in listing.checkpoints("show train", ".nbckpt").html


def test_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is not there is one line and exit status 1; no other checkpoint is touched."""
    save("train")
    for command in (["show", "x"], ["verify", "x"], ["prune", "x"], ["remove", "train", "x", "--yes"]):
        assert main(command) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("nbckpt: there is no checkpoint 'x' in ")
        assert said.err.count("\n") == 1
    assert "train" in listed(capsys)


def test_prune(capsys: pytest.CaptureFixture[str]) -> None:
    """What no snapshot needs goes when it is old enough; a dry run only says so; what cannot be told is left."""
    assert told(capsys, "prune") == f"The store {Path('.nbckpt').absolute()} holds no checkpoint.\n"
    save("train", count=2)
    save("other")
    junk = Path(".nbckpt/train/packs") / ("0" * 32)
    junk.write_bytes(bytes(2000))
    before = sorted(Path(".nbckpt").rglob("*"))
    assert told(capsys, "prune") == "other: nothing to prune\ntrain: nothing to prune\n"
    sentence = "train: 1 file (2 kB) that no snapshot needs"
    assert told(capsys, "prune", "train", "--grace", "0s", "--dry-run") == f"{sentence} would be deleted\n"
    assert sorted(Path(".nbckpt").rglob("*")) == before
    assert told(capsys, "prune", "train", "--grace", "0s") == f"{sentence} deleted\n"
    assert not junk.exists()
    assert "every byte as it was saved" in told(capsys, "verify", "train")
    save("train")
    damage("train", "manifests")
    assert main(["prune"]) == 1
    assert "nbckpt repair" in capsys.readouterr().out
    assert main(["prune", "--grace", "soon"]) == 1
    assert "'soon' is not a time" in capsys.readouterr().err


def test_remove_asks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove deletes only after a yes: typed, or given with `--yes` where nobody is there to type."""
    save("train")
    save("other")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["remove", "train"]) == 2
    assert "--yes" in capsys.readouterr().err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "")
    assert main(["remove", "train"]) == 1
    assert set(listed_after(capsys)) == {"train", "other"}
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert main(["remove", "train"]) == 0
    assert set(listed_after(capsys)) == {"other"}
    assert main(["remove", "other", "--yes"]) == 0
    assert listed_after(capsys) == {}


def listed_after(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    return listed(capsys)


def test_key(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`key` tells where the key lies without its secret, and makes none; `--export` gives what NBCKPT_KEY takes."""
    assert "no key yet" in told(capsys, "key")
    assert not (tmp_path / "data").exists()
    key = signing_key()
    shown = told(capsys, "key")
    assert shown == f"{key.id} from {tmp_path / 'data' / 'keys' / key.id}.key\n"
    assert main(["key", "--export"]) == 0
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "secret" in said.err
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "another machine"))
    monkeypatch.setenv("NBCKPT_KEY", said.out.strip())
    assert signing_key() == key
    assert told(capsys, "key") == f"{key.id} from NBCKPT_KEY\n"


def test_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """What makes no sense is refused with exit status 2, like every command's."""
    for words in ([], ["frobnicate"], ["show"], ["list", "--bogus"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
    capsys.readouterr()
    assert main(["list", "--store", "gopher://x"]) == 1
    assert capsys.readouterr().err.startswith("nbckpt: The store gopher://x cannot be opened")


def test_version() -> None:
    """The installed command says which version it is."""
    done = subprocess.run(
        [sys.executable, "-m", "nbckpt.front.cli", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == f"nbckpt {nbckpt.__version__}\n"


# -- %checkpoints ------------------------------------------------------------------------------------------------------


def test_magic_line() -> None:
    """`%checkpoints` shows what the command shows, as text and HTML."""
    save("train", count=3)
    for line in ("", "list", f"--store {Path('.nbckpt').resolve()}", "list --store=.nbckpt"):
        view = listing.checkpoints(line, ".nbckpt" if "--store" not in line else "nowhere")
        assert "train  unfinished" in view.text
        assert "<td" in view.html
        assert view._repr_mimebundle_() == {"text/plain": view.text, "text/html": view.html}
    assert "variables" in listing.checkpoints("show train", ".nbckpt").text
    assert "3 snapshots" in listing.checkpoints("verify", ".nbckpt").text
    assert "removed train" in listing.checkpoints("remove train", ".nbckpt").text
    assert "holds no checkpoint" in listing.checkpoints("list", ".nbckpt").text


@pytest.mark.parametrize(
    "line", ["frob", "show", "show a b", "verify a b", "remove", "list x", "--bogus", "show 'a", "--store"]
)
def test_magic_line_that_makes_no_sense(line: str) -> None:
    """A wrong word is one sentence that says what to write."""
    with pytest.raises(OptionError, match=re.escape(listing.USAGE)):
        listing.checkpoints(line, ".nbckpt")
    assert not Path(".nbckpt").exists()


def test_magic_line_with_unknown_name() -> None:
    """An unknown name is an error that tells which there are."""
    save("train")
    with pytest.raises(UnknownCheckpoint, match="there is train"):
        listing.checkpoints("show x", ".nbckpt")


def test_killed_writer(capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint whose process was killed is unfinished, not running."""
    dying = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    save("train", writer={"pid": dying.pid})
    dying.send_signal(signal.SIGKILL)
    dying.communicate()
    assert listed(capsys)["train"]["state"] == "unfinished"


def test_age(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ages are counted from when the snapshot was saved, and a clock that was set back makes none negative."""
    save("train")
    now = time.time()
    monkeypatch.setattr(listing.time, "time", lambda: now + 7300)
    assert "2 hours ago" in told(capsys, "list")
    monkeypatch.setattr(listing.time, "time", lambda: now - 7300)
    assert "just now" in told(capsys, "list")
