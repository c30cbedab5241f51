"""When a snapshot is due, on a clock that the test sets."""

from __future__ import annotations

import pytest

from nbckpt.run import schedule
from nbckpt.run.schedule import HURRIED_SHARE, SHORTEST, Schedule
from nbckpt.settings import Every


class Clock:
    """Stands for the module `time`."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(schedule, "time", one)
    return one


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
