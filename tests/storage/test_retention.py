"""What stays in a store: the newest, the best, one every so often, and what a live run came from."""

from __future__ import annotations

import math
from typing import Any

import pytest
from states import state

from nbckpt.errors import OptionError
from nbckpt.settings import Best, Every, Settings
from nbckpt.storage.log import Kept
from nbckpt.storage.repository import Repository
from nbckpt.storage.retention import Mark, Retention
from nbckpt.testing.faults import MemoryStore

LOSSES = (5.0, 2.0, 7.0, 2.0, math.nan, 9.0, 3.0)


def committed(repository: Repository, retention: Retention, *descriptions: dict[str, Any], **options: Any) -> list[int]:
    """Save a snapshot for each description, and return the numbers of those that stay, newest first."""
    writer = repository.writer("train", keep=retention)
    for number, description in enumerate(descriptions):
        writer.commit(description, state(number, size=2000)[1], final=options.get("final", False))
    assert repository.verify("train") == []
    return [info.seq for info in repository.history("train")]


@pytest.fixture
def repository() -> Repository:
    return Repository.open(MemoryStore())


@pytest.mark.parametrize(
    ("best", "stay"),
    [
        ("loss:min", [7, 2]),
        ("loss:max", [7, 6]),
        ("loss:min:3", [7, 4, 2]),
        ("loss:max:3", [7, 6, 3, 1]),
        ("accuracy:max", [7]),
    ],
)
def test_best(repository: Repository, best: str, stay: list[int]) -> None:
    """The best by a metric stay beside the newest; of equals the first; what is not a number is never the best."""
    kept = committed(repository, Retention(1, best=Best.parse(best)), *({"metrics": {"loss": loss}} for loss in LOSSES))
    assert kept == stay


def test_best_outlives_the_end(repository: Repository) -> None:
    """When a run is over, only what was kept to resume it goes."""
    writer = repository.writer("train", keep=Retention(3, best=Best("loss", lowest=True)))
    for number, loss in enumerate(LOSSES):
        writer.commit({"metrics": {"loss": loss}}, state(number, size=2000)[1], final=number == 6)
    assert [info.seq for info in repository.history("train")] == [7, 2]


def test_one_every_so_often(repository: Repository) -> None:
    """The first snapshot in every stretch of iterations stays, of each loop and of a run that began anew."""
    counts = [("a", 1), ("a", 60), ("a", 120), ("a", 180), ("a", 240), ("b", 30), ("b", 120), ("b", 199), ("a", 1)]
    told = [{"loop": list(count)} for count in counts]
    assert committed(repository, Retention(1, every=Every.parse("100it")), *told) == [9, 7, 6, 5, 3, 1]


def test_one_every_hour_of_work(repository: Repository) -> None:
    """Work is what counts, not the clock on the wall, which may jump."""
    told = [{"worked": 60.0 * minutes} for minutes in (0, 20, 50, 70, 110, 130, 300)]
    assert committed(repository, Retention(2, every=Every.parse("1h")), *told) == [7, 6, 4, 1]


def test_what_a_run_came_from(repository: Repository) -> None:
    """The snapshot that a live run resumed from stays until that run is over."""
    committed(repository, Retention(3), {}, {}, {})
    writer = repository.writer("train", keep=1, based_on=repository.load("train", seq=2))
    for number in range(4):
        writer.commit(*state(number, size=2000))
    assert [info.seq for info in repository.history("train")] == [7, 2]
    writer.commit(*state(9, size=2000), final=True)
    assert [info.seq for info in repository.history("train")] == [8]


@pytest.mark.parametrize(
    "description",
    [{"metrics": 1, "loop": 1, "worked": "x"}, {"metrics": {"loss": "low"}, "loop": ["a"], "worked": None}, {}],
)
def test_odd_accounts(repository: Repository, description: dict[str, Any]) -> None:
    """What some other version wrote down about a snapshot disturbs nobody."""
    retention = Retention(1, Best("loss", lowest=True), Every.parse("10it"))
    assert Mark.of(description) == Mark({}, Mark.of(description).loop, 0, 0.0)
    assert committed(repository, retention, description, {"metrics": {"loss": 1}})[0] == 2


def test_as_json() -> None:
    """A retention can be told to another process."""
    whole = Retention(2, Best("loss", lowest=False, count=2), Every.parse("1h"), 7)
    for retention in (whole, Retention()):
        assert Retention.from_json(retention.to_json()) == retention
    assert whole.kept([(Kept(1, "", 0), Mark({}, "", 0, 0.0))], final=False) == (Kept(1, "", 0),)


@pytest.mark.parametrize(
    ("option", "value"),
    [("keep_best", "loss"), ("keep_best", "loss:least"), ("keep_best", "loss:min:0"), ("keep_every", "auto"),
     ("keep_every", "often"), ("keep_every", "0it"), ("keep", "0")],
)  # fmt: skip
def test_nonsense_is_refused(option: str, value: str) -> None:
    """An option that makes no sense is named, with what would."""
    with pytest.raises(OptionError, match=f"--{option.replace('_', '-')} .*{value}"):
        Settings.collect({option: value})
