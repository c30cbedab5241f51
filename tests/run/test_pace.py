"""When a snapshot is due: with `--every auto`, by what snapshots cost and may be lost, and when the machine goes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nbckpt.errors import OptionError
from nbckpt.front import listing
from nbckpt.run import pace, schedule
from nbckpt.run.checkpoint import Run
from nbckpt.run.pace import Pace
from nbckpt.run.schedule import HURRIED_SHARE, SHORTEST, Schedule
from nbckpt.settings import Every
from nbckpt.storage.repository import Repository
from programs.harness import kernel


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(schedule, "time", clock)
    return clock


def saves(
    clock: Clock, iterations: Iterator[float], cost: Callable[[int], float], every: str = "auto"
) -> tuple[list[float], float]:
    """Run a loop whose iterations take so long; when it saved, and how much of the time it stood still."""
    plan = Schedule(Every.parse(every))
    plan._since = plan._saved = clock.now
    began, still, found = clock.now, 0.0, []
    for count, length in enumerate(iterations, 1):
        clock.now += length
        plan.stand("loop", count)
        if plan.wants_snapshot(turn=True):
            found.append(clock.now - began)
            took = cost(len(found))
            clock.now += took
            still += took
            plan.saved(took)
    return found, still / (clock.now - began)


@pytest.mark.parametrize("every", ["auto", "auto:2%", "auto:0.5%", "auto:10%"])
@pytest.mark.parametrize("length", [0.01, 0.7, 30.0, 100.0, 150.0, 180.0, 250.0, 3000.0])
@pytest.mark.parametrize("cost", [0.0001, 0.3, 2.0])
def test_the_share_is_kept(clock: Clock, every: str, length: float, cost: float) -> None:
    """Whatever the iterations take, over a long time, after the first snapshot."""
    count = int(max(40, min(2000, 2000 * cost / length)))
    _, share = saves(clock, iter([length] * count), lambda _: cost, every)
    first = cost / (count * length)
    assert share <= Every.parse(every).share + 2 * first


def test_no_more_than_one_a_second(clock: Clock) -> None:
    """However cheap they are, and however long the iterations: those of 0.8 s, too."""
    found, _ = saves(clock, iter([0.8] * 100), lambda _: 1e-5)
    assert all(later - before >= 1 for before, later in itertools.pairwise(found))
    assert len(found) == 50


def test_one_that_took_long_for_once_is_no_rule(clock: Clock) -> None:
    """It is paid back over several, and the share is kept."""
    found, share = saves(clock, iter([0.1] * 30_000), lambda number: 2.0 if number == 5 else 0.02)
    gaps = [later - before for before, later in itertools.pairwise(found)]
    assert max(gaps) < 110
    assert gaps[-1] < 2.5
    assert share < 0.0101


def test_it_saves_before_an_iteration_that_will_take_long(clock: Clock) -> None:
    """Rather than after it: a kill in it would lose what was done before."""
    # snapshots of 2 s are due every 200 s; iterations that take 180 s are not begun with 180 s at risk
    found, _ = saves(clock, iter([180.0] * 6), lambda _: 2.0)
    gaps = [later - before for before, later in itertools.pairwise(found)]
    assert gaps.count(182.0) >= 3
    # of one that is short, or where little is at risk, it is left until it is due
    found, _ = saves(clock, iter([30.0] * 40), lambda _: 2.0)
    gaps = [later - before for before, later in itertools.pairwise(found)]
    assert min(gaps[1:]) >= 180


def test_a_step_is_predicted_by_its_own_loop() -> None:
    """Not by another one's, nor by the snapshot in it."""
    plan = Pace(0.01)
    plan.stand("quick", 1, 0.0)
    plan.stand("quick", 101, 1.0)
    plan.stand("slow", 1, 2.0)
    plan.stand("slow", 2, 602.0)
    plan.stood_still(5.0)
    plan.stand("slow", 3, 1207.0)
    assert plan.steps == {"quick": 0.01, "slow": 600.0}
    assert plan.is_worth_it(300, 200)
    plan.stand("quick", 102, 1207.01)
    assert not plan.is_worth_it(300, 200)


def test_a_statement_after_an_inner_loop_that_takes_long(workplace: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The boundary before it is looked at from then on, and what it will take is known there."""
    runs: list[Any] = []
    close = Run.close

    def closing(run: Run) -> None:
        runs.append(run)
        close(run)

    monkeypatch.setattr(Run, "close", closing)
    with kernel() as book:
        cell = "import time\nfor i in range(2):\n    for j in range(3):\n        pass\n    time.sleep(1.5)\n"
        assert book.run(f"%%checkpointed prog --store store\n{cell}").success, book.shell.tracebacks
    (run,) = runs
    assert run.frame.slow == {"1.body.1"}
    assert run.schedule.pace.steps[(("before", "1.body.1"),)] > 1


def test_what_the_writer_takes_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processor time, as far as there are no processors to spare."""
    for processors, wait in ((1, 110.0), (10, 20.0)):
        monkeypatch.setattr(pace, "processors", lambda processors=processors: processors)
        plan = Pace(0.01)
        plan.stood_still(0.1)
        plan.wrote(1.0)
        assert plan.wait == pytest.approx(wait)


@pytest.mark.parametrize("told", [1.0, 15.0])
def test_what_the_writer_took_is_known_late(clock: Clock, monkeypatch: pytest.MonkeyPatch, told: float) -> None:
    """The snapshot that follows is put off for it, also where it was due already by what was known before."""
    monkeypatch.setattr(pace, "processors", lambda: 2)
    due = Schedule(Every())
    clock.now += SHORTEST
    due.saved(0.1)
    clock.now += told
    assert due.wants_snapshot(turn=True) == (told > 10)
    due.put_off()  # as a boundary does while the one before is on its way
    due.wrote(1.0)
    clock.now += 59.9 - told
    assert not due.wants_snapshot(turn=True)
    clock.now += 0.2
    assert due.wants_snapshot(turn=True)


def test_what_the_writer_took_may_be_known_before(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a snapshot that is waited for: it counts once, and what was asked for stays asked for."""
    monkeypatch.setattr(pace, "processors", lambda: 2)
    due = Schedule(Every())
    clock.now += SHORTEST
    due.wrote(1.0)
    due.saved(0.1)
    clock.now += 59.9
    assert not due.wants_snapshot(turn=True)
    due.soon()
    due.wrote(1.0)
    assert due.wants_snapshot(turn=True)


def test_the_first_snapshot_is_taken_within_a_minute(clock: Clock) -> None:
    """Soon where it is cheap, as far as can be told before."""
    for guess, wait in ((0.001, 1.0), (0.2, 20.0), (30.0, 60.0)):
        plan = Schedule(Every())
        plan.expect(guess)
        assert plan._wait == wait


def test_a_run_that_goes_on_knows_what_was_measured(workplace: object) -> None:
    """And `%checkpoints show` tells it, with the reason."""
    with kernel() as book:
        head = "%%checkpointed prog --store store --every auto:2%\n"
        cell = "import time\nseen = []\nfor k in range(3):\n    seen.append(k)\n    time.sleep(hold)\n"
        book.run("hold = 1.1\n")
        assert book.run(head + cell).success, book.shell.tracebacks
        repository = Repository.open("store", create=False)
        (last,) = repository.history("prog")
        told = last.description["pace"]
        assert told["share"] == 0.02
        assert told["stall"] > 0
        assert told["wait"] >= 1
        assert told["step"] == pytest.approx(1.1, abs=5)
        text = listing.details(repository, "prog").text
        assert "saved automatically, every " in text
        assert "the loop stands still for " in text
        assert "an iteration takes " in text
    plan = Schedule(Every())
    plan.take_over({"stall": 0.5, "taken": 0.1})
    assert plan._wait == pytest.approx(60)


@pytest.mark.parametrize("every", ["auto:0%", "auto:100%", "auto:two%", "auto:2", "auto:"])
def test_shares_that_make_no_sense(every: str) -> None:
    """They are refused, with how to say it."""
    with pytest.raises(OptionError, match="auto:2% for the share of the time"):
        Every.parse(every)
    assert str(Every.parse("auto:2.5%")) == "auto:2.5%"


# -- once the machine is known to go ---------------------------------------------------------------------------


@pytest.mark.parametrize("every", ["1h", "1000000it", "auto"])
@pytest.mark.parametrize("cost", [0.001, 2.0])
def test_once_the_machine_is_known_to_go(every: str, cost: float, clock: Clock) -> None:
    """One is due at once, and others as often as they take a tenth of the time, and no more than one a second."""
    due = Schedule(Every.parse(every))
    due.saved(100.0)
    clock.now += 3 * SHORTEST
    assert not due.wants_snapshot(turn=True)
    due.hurry()
    assert due.is_asked
    for _ in range(3):
        assert due.wants_snapshot(turn=True)
        due.saved(cost)
        pause = max(SHORTEST, cost / HURRIED_SHARE)
        clock.now += 0.9 * pause
        assert not due.wants_snapshot(turn=True)
        clock.now += 0.1 * pause


def test_hurry_makes_nothing_rarer(clock: Clock) -> None:
    """What was asked for more often than that stays as often."""
    due = Schedule(Every.parse("0.5s"))
    due.hurry()
    due.saved(1.0)
    clock.now += 0.5
    assert due.wants_snapshot(turn=True)
    counted = Schedule(Every.parse("2it"))
    counted.hurry()
    counted.saved(1.0)
    assert [counted.wants_snapshot(turn=True) for _ in range(2)] == [False, True]
