"""`nbckpt verify`, `repair` and `export`: what is damaged, what is left of it, and how to get it out."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

import nbckpt
from nbckpt.front.cli import main
from nbckpt.storage.repository import Repository

SOURCE = """
import nbckpt, enum
class Colour(enum.Enum):
    RED = 1
plain = {"a": [1, 2.5, None, True, "ä"]}
pair = (1, 2)
colour = Colour.RED
x, X = 1, 2
index = "taken?"
try:
    import numpy, pandas
    array = numpy.arange(6.0).reshape(2, 3)
    objects = numpy.array([None, "a"], dtype=object)
    table = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})
except ImportError:
    array = objects = table = None
names = ["plain", "pair", "colour", "x", "X", "index", "array", "objects", "table"]
with nbckpt.checkpointed("train", vars=names, every="1it", quiet=True) as ckpt:
    for i in ckpt.loop(range(3)):
        x += 1
"""


@pytest.fixture(autouse=True)
def _saved(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess
    import sys

    monkeypatch.setenv("PYTHONPATH", str(Path(nbckpt.__file__).parents[1]))
    (workplace / "script.py").write_text(SOURCE)
    subprocess.run([sys.executable, "script.py"], check=True)


def test_export(capsys: pytest.CaptureFixture[str]) -> None:
    """Every variable is a file of the plainest kind that gives it back; the index lists them."""
    assert main(["export", "train", "--to", "out"]) == 0
    assert "9 variables of train are in out" in capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads(Path("out/index.json").read_text())}
    files = {name: Path("out") / row["file"] for name, row in rows.items()}
    assert len({str(file).lower() for file in files.values()} | {"out/index.json"}) == 10
    assert {path.name for path in Path("out").iterdir()} == {path.name for path in files.values()} | {"index.json"}
    assert json.loads(files["plain"].read_text()) == {"a": [1, 2.5, None, True, "ä"]}
    assert files["plain"].suffix == ".json"
    assert [json.loads(files[name].read_text()) for name in ("x", "X", "index")] == [4, 2, "taken?"]
    assert pickle.loads(files["pair"].read_bytes()) == (1, 2)
    assert pickle.loads(files["colour"].read_bytes()).name == "RED"
    if rows["array"]["type"] == "numpy.ndarray":
        import numpy as np
        import pandas as pd

        assert np.load(files["array"]).tolist() == [[0, 1, 2], [3, 4, 5]]
        assert pickle.loads(files["objects"].read_bytes()).tolist() == [None, "a"]
        read = pd.read_parquet if files["table"].suffix == ".parquet" else pd.read_pickle
        assert read(files["table"]).to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}


def test_export_overwrites_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that holds something, or a file of that name, is left alone without `--force`."""
    Path("out").mkdir()
    Path("out/plain.json").write_text("mine")
    Path("file").write_text("mine")
    for place in ("out", "file"):
        assert main(["export", "train", "--to", place]) == 1
        assert "--force" in capsys.readouterr().err
    assert Path("out/plain.json").read_text() == Path("file").read_text() == "mine"
    assert main(["export", "train", "--to", "out", "--force"]) == 0
    assert json.loads(Path("out/plain.json").read_text())["a"][0] == 1
    assert main(["export", "nothing", "--to", "new"]) == 1
    assert main(["export", "train", "--to", "new", "--snapshot", "99"]) == 1
    assert not Path("new").exists()
    assert main(["export", "train", "--to", "file/in"]) == 1
    assert "file/in cannot be written to" in capsys.readouterr().err


def test_verify_and_repair(capsys: pytest.CaptureFixture[str]) -> None:
    """`verify` says what is damaged and what can be restored; `repair` keeps that; `verify` is content then."""
    writer = Repository.open(".nbckpt").writer("other")
    from nbckpt.storage.snapshot import PartData

    for number in range(3):
        writer.commit({}, [PartData("p", bytes([number]) * 5000, [], {})])
    newest, *_ = Repository.open(".nbckpt").history("other")
    (Path(".nbckpt/other/manifests") / newest.manifest_id).unlink()
    assert main(["verify"]) == 1
    said = capsys.readouterr().out
    assert "Snapshot 3 of 'other' is damaged: its manifest is missing." in said
    assert "other: 2 and 1 can be restored" in said
    Path(".nbckpt/nbckpt.json").write_text("{")
    assert main(["verify"]) == 1
    assert "nbckpt repair" in capsys.readouterr().err
    assert main(["repair"]) == 0
    said = capsys.readouterr().out
    assert "nbckpt.json: written anew" in said
    assert "other: dropped snapshot 3, its manifest is missing" in said
    assert "other: 2 and 1 can be restored" in said
    assert "train: nothing to repair" in said
    assert main(["verify"]) == 0
