"""Tight loops stop between two iterations when the clock wants them to, and know how far they came."""

from __future__ import annotations

from typing import Any

import pytest

from nbckpt.run.cursors import open_cursor
from nbckpt.run.loops import Loop, turns
from nbckpt.run.schedule import Schedule
from nbckpt.settings import Every


class Keeper:
    """A run that remembers its boundaries, and stands still there."""

    def __init__(self, every: str = "1h") -> None:
        self.schedule = Schedule(Every.parse(every))
        self.tops: list[int] = []
        self.gone: list[Loop] = []

    def top(self, loop: Loop) -> None:
        self.tops.append(loop.count)
        self.schedule.wants_snapshot(turn=True)

    def left(self, loop: Loop) -> None:
        self.gone.append(loop)


SOURCES = [
    range,
    lambda n: list(range(n)),
    lambda n: tuple(range(n)),
    lambda n: enumerate(range(n)),
    lambda n: (k for k in range(n)),
]


@pytest.mark.parametrize("source", SOURCES, ids=["range", "list", "tuple", "enumerate", "generator"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_raised_flag_is_seen_at_the_very_next_iteration(source: Any, nested: bool) -> None:
    """However long the stretch, the boundary comes after the iteration in which somebody asked for it."""
    keeper = Keeper()
    loop = Loop("0", open_cursor(source(20_000)), nested=nested)
    done = 0
    for _ in turns(keeper, loop):
        done += 1
        if done in (1, 77, 5000, 5001, 19_999):
            keeper.schedule.ask()
    assert done == 20_000
    assert keeper.tops == [1, 77, 5000, 5001, 19_999]
    assert keeper.gone == [loop]


def test_every_iteration_is_a_boundary_if_asked_for() -> None:
    """`--every 1it` stands still after each iteration, the last one included."""
    keeper = Keeper("1it")
    list(turns(keeper, Loop("0", open_cursor(range(5)))))
    assert keeper.tops == [1, 2, 3, 4, 5]


def test_a_list_that_changes_under_way() -> None:
    """A tight loop over a list sees what a plain one sees: items appended, removed and put in front."""
    xs, plain = [1, 2, 3], [1, 2, 3]
    seen, expected = [], []
    for target, log, items in (
        (xs, seen, turns(Keeper("1it"), Loop("0", open_cursor(xs)))),
        (plain, expected, iter(plain)),
    ):
        for x in items:
            log.append(x)
            if x == 2:
                target.append(9)
            if x == 3:
                target.insert(0, 7)
                target.pop()
    assert seen == expected
    assert xs == plain


def test_leaving_early_forgets_the_loop() -> None:
    """After `break` the loop is not held on to, so that what it went over can be freed."""
    for nested in (False, True):
        keeper = Keeper()
        loop = Loop("0", open_cursor(range(9)), nested=nested)
        for x in turns(keeper, loop):
            if x == 3:
                break
        assert keeper.gone == [loop]


def test_iterations_are_counted_by_the_schedule() -> None:
    """`--every 3it` wants a snapshot at each third iteration of an innermost loop, and not at other boundaries."""
    schedule = Schedule(Every.parse("3it"))
    wanted = []
    for _ in range(7):
        wanted.append(schedule.wants_snapshot(turn=True))
        if wanted[-1]:
            schedule.saved(0.0)
    assert wanted == [False, False, True, False, False, True, False]
    assert not schedule.wants_snapshot(turn=False)


class Again:
    """Begins anew whenever it is asked for its iterator, as objects do that are their own."""

    def __iter__(self) -> Again:
        self.at = 0
        return self

    def __next__(self) -> int:
        if self.at == 5:
            raise StopIteration
        self.at += 1
        return self.at


class Bare:
    """What an iterable's `__iter__` may return: it need not be iterable itself."""

    def __init__(self) -> None:
        self.items = iter([1, 2, 3, 4, 5])

    def __next__(self) -> int:
        return next(self.items)


class Iterable:
    def __iter__(self) -> Any:
        return Bare()


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("source", [Again, Iterable])
def test_an_iterator_is_not_asked_for_one(source: Any, nested: bool) -> None:
    """A loop that is gone on with draws the items that are left."""
    cursor = open_cursor(source())
    assert [next(cursor.iterator), next(cursor.iterator)] == [1, 2]
    assert list(turns(Keeper(), Loop("0", cursor, count=2, nested=nested))) == [3, 4, 5]
