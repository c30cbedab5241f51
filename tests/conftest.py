"""What every test gets: signing keys of its own, a folder of its own to work in, and disks that need no waiting."""

from __future__ import annotations

import builtins
import gc
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nbckpt.run import resumable
from nbckpt.state import adapters, randomness

pytest.register_assert_rewrite("programs.harness", "fuzz.lane")

for number in (signal.SIGINT, signal.SIGHUP) if os.name == "posix" else ():
    if signal.getsignal(number) is signal.SIG_IGN:  # as a shell's background jobs and `nohup` have it
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)

if TYPE_CHECKING:
    from programs.harness import Lab


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz", default="0-100", metavar="FROM-TO", help="Which generated programs to kill.")
    parser.addoption("--matrix", action="store_true", help="Kill every program in a real kernel, not only some.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In an environment that was made for some libraries, run what needs them, and what is beside it."""
    expected = set(os.environ.get("NBCKPT_EXPECTED_LIBRARIES", "").split())
    if expected:
        left_out = [item for item in items if not _is_for(item, expected)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_for(item: pytest.Item, expected: set[str]) -> bool:
    marked = [str(name) for mark in item.iter_markers("library") for name in mark.args]
    given = getattr(item, "callspec", None)
    programs = [value for value in given.params.values() if hasattr(value, "library")] if given else []
    if not marked and not programs:
        return "frameworks" in item.path.parts
    return any(expected & set(words.split()) for words in [*marked, *(program.library for program in programs)])


_before = pytest.StashKey[set[str]]()
_INHERITED = frozenset(os.environ) - {"PYTEST_CURRENT_TEST"}


def _surroundings() -> set[str]:
    """What a test has to leave as it was, because which one follows is chance.

    Other variables of the environment, and built-in names like `__these__`, may be libraries', which set some for good
    when they are imported.
    """
    names = [name for name in os.environ if name in _INHERITED or name.startswith(("AWS_", "NBCKPT_"))]
    environ = [f"{name}={os.environ[name]}" for name in names]
    built_in = [f"builtins.{name}" for name in vars(builtins) if not name.startswith("__")]
    return {*environ, *built_in, str(Path.cwd())}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    item.stash[_before] = _surroundings()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    result = yield
    changed = _surroundings() ^ item.stash[_before]
    assert not changed
    return result


@pytest.fixture(autouse=True)
def own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "data"))
    for name in [name for name in os.environ if name.startswith("NBCKPT_") and name != "NBCKPT_DATA_DIR"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NBCKPT_WRITER", "sync")  # no process for each of thousands of short runs


@pytest.fixture(autouse=True)
def own_registrations(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test, or an example in a docstring, registers does not outlive it.

    Nor do the names of its resumable functions: where later cells call functions of such a name, there would be
    boundaries around the calls, and which tests a process ran before is chance.
    """
    monkeypatch.setattr(adapters, "_registered", {})
    monkeypatch.setattr(randomness, "_registered", {})
    known = set(resumable.NAMES)
    yield
    resumable.NAMES.intersection_update(known)
    resumable._cached_source.cache_clear()  # a source that is found there is not named again


@pytest.fixture
def no_last_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the `_` that Python's display hook leaves in builtins: with one there, IPython assigns none."""
    monkeypatch.setattr(builtins, "_", None, raising=False)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run cells in; nothing waits for the disk, because no test cuts the power."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    return place


@pytest.fixture
def lab(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Where cells are run and killed in this process."""
    from programs.harness import Lab, take_over_the_clock

    yield Lab(workplace, take_over_the_clock(monkeypatch))
    sys.modules.pop("ledger", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # cells leave files open, and dead kernels do
        gc.collect()
