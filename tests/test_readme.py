"""The README says what is there, and all that it says can be done."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

from nbckpt import settings
from nbckpt.front import cli
from nbckpt.front.magics import CheckpointMagics, NbCkpt

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def magic_options() -> dict[str, argparse.Action]:
    actions = CheckpointMagics.checkpointed.parser._actions
    return {name: action for action in actions for name in action.option_strings if name.startswith("--")}


def commands() -> dict[str, argparse.ArgumentParser]:
    (choices,) = (action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(choices.choices)


def test_every_option_of_the_magic() -> None:
    """The table has exactly the options that `%%checkpointed` takes, with the words that it uses for values."""
    rows = re.findall(r"^\| `(--[a-z-]+)(?: ([A-Z,]+))?` \|", README, re.MULTILINE)
    assert dict(rows) == {name: action.metavar or "" for name, action in magic_options().items()}


def test_defaults() -> None:
    """The defaults in the table are those of the code."""
    rows = dict(re.findall(r"^\| `--([a-z-]+).*\| (.+?) \|$", README, re.MULTILINE))
    default = settings.Settings()
    assert rows["every"] == f"`{default.every}`"
    assert rows["store"] == f"`{default.store}`"
    assert rows["keep"] == str(default.keep)
    assert (rows["preempt"], rows["on-preempt"]) == (f"`{','.join(default.preempt)}`", f"`{default.on_preempt}`")
    assert [rows[name] for name in ("fresh", "no-rng", "no-replay", "quiet")] == ["off"] * 4
    assert (default.fresh, default.rng, default.replay, default.quiet) == (False, True, True, False)


def test_every_command() -> None:
    """Every command and its options are named, and no command is named that is not there."""
    named = set(re.findall(r"\bnbckpt ([a-z]+)\b", "\n".join(blocks("console") + re.findall(r"`([^`\n]+)`", README))))
    assert named >= commands().keys()
    for line in re.findall(r"^\$ nbckpt (.*)$", README, re.MULTILINE):
        assert cli.parser().parse_args(line.split())
    for name, command in commands().items():
        for action in command._actions:
            for option in action.option_strings:
                assert option in ("-h", "--help") or f"{option}" in README, f"nbckpt {name} {option}"


def test_every_setting_of_the_environment() -> None:
    """The variables that are named are those that are read, and `%config` takes what the example sets."""
    named = {name.lower() for name in re.findall(r"`NBCKPT_([A-Z_]+)`", README)} - {"key"}
    assert named == set(settings._FROM_ENVIRONMENT)
    for name in re.findall(r"%config NbCkpt\.(\w+)", README):
        assert name in NbCkpt.class_trait_names(config=True)


def test_the_two_commands() -> None:
    """The commands at the top use extras that exist, and the second is what a clean checkout has to pass."""
    demo, check = (block.strip() for block in blocks("sh"))
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.findall(r"\.\[(\w+)\]", demo + check) == ["demo", "test"]
    assert {"demo", "test"} <= set(extras)
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-5] == check
    assert check in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for script in ("check", "check-frameworks", "check-pythons", ".ci/run"):
        subprocess.run(["sh", "-n", script], check=True, cwd=ROOT)  # noqa: S607
        assert (ROOT / script).stat().st_mode & 0o100


def test_the_cell() -> None:
    """The cell shown is the notebook's, and below it stands what it prints, whole or up to the kill."""
    cell = next(block for block in blocks("python") if block.startswith("%%checkpointed"))
    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    assert cell.strip() == next(cell.source for cell in notebook.cells if cell.id == "train")
    killed, resumed = (
        [line for line in block.splitlines() if line.startswith("epoch")] for block in blocks("text")[:2]
    )
    assert resumed[: len(killed)] == killed
    assert len(resumed) == 10


def test_scripts_run(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of plain Python runs, and run again it gives the result that was saved."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    scripts = [block for block in blocks("python") if not block.startswith("%%")]
    assert scripts
    for script in scripts:
        ast.parse(script)
        (workplace / "script.py").write_text(script)
        first, second = (
            subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=True, cwd=workplace)
            for _ in range(2)
        )
        assert "restored" not in first.stderr
        assert "restored the finished result" in second.stderr
        assert first.stdout == second.stdout != ""


def test_links() -> None:
    """Every file that is linked to is there."""
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
