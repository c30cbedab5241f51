"""Tight loops stop between two iterations when the clock wants them to, and know how far they came."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from nbckpt.run import loops
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
    lambda n: range(5, 5 + 3 * n, 3),
    lambda n: range(1 << 70, (1 << 70) - n, -1),
]
NAMES = ["range", "list", "tuple", "enumerate", "generator", "steps", "large"]
TIGHT_NAMES = ["range", "list", "tuple", "steps", "large"]
TIGHT = [source for source, name in zip(SOURCES, NAMES, strict=True) if name in TIGHT_NAMES]


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
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


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_every_iteration_is_a_boundary_if_asked_for(source: Any) -> None:
    """`--every 1it` stands still after each iteration, the last one included."""
    keeper = Keeper("1it")
    assert list(turns(keeper, Loop("0", open_cursor(source(5))))) == list(source(5))
    assert keeper.tops == [1, 2, 3, 4, 5]


class Copying(Keeper):
    """A run that saves each loop at its boundaries, as a pickle would."""

    def __init__(self) -> None:
        super().__init__()
        self.left_at: list[list[Any]] = []

    def top(self, loop: Loop) -> None:
        assert loop.cursor is not None
        self.left_at.append(list(copy.deepcopy(loop.cursor.saved()["iterator"])))
        super().top(loop)


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize("source", TIGHT, ids=TIGHT_NAMES)
def test_at_a_boundary_what_is_left_is_left(source: Any, is_own: bool) -> None:
    """A snapshot has the items to come, the very next one too, whoever has the iterator and however far it came."""
    keeper = Copying()
    things = source(10_000)
    cursor = open_cursor(things if is_own else iter(things))
    seen = []
    for item in turns(keeper, Loop("0", cursor)):
        seen.append(item)
        if len(seen) in (1, 4095, 4096, 9_999, 10_000):
            keeper.schedule.ask()
    assert seen == list(things)
    assert keeper.left_at == [list(things[count:]) for count in (1, 4095, 4096, 9_999, 10_000)]


@pytest.mark.parametrize("source", TIGHT, ids=TIGHT_NAMES)
def test_an_iterator_that_others_draw_from_is_never_ahead(source: Any) -> None:
    """What the body draws itself is what comes next, as in a plain loop."""
    given = iter(source(20_000))
    keeper = Keeper()
    seen = []
    for item in turns(keeper, Loop("0", open_cursor(given))):
        seen += [item, next(given)]
        if len(seen) % 3000 == 0:
            keeper.schedule.ask()
    assert seen == list(source(20_000))


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
@pytest.mark.parametrize("nested", [False, True])
def test_it_knows_where_it_is_in_the_middle_of_an_iteration(source: Any, nested: bool) -> None:
    """The count and the item of the iteration that is running are found, from the one on that it goes on with."""
    loop = Loop("0", open_cursor(source(10_000)), nested=nested)
    keeper = Keeper()
    assert loop.cursor is not None
    current = next(loop.cursor.iterator)
    loop.count = 1
    for count, item in enumerate(turns(keeper, loop, current), 1):
        if count % 777 == 0:
            keeper.schedule.ask()
        if count % 333 == 0 or count in (1, 2, 9_999, 10_000):
            loop.look()
            assert loop.count == count
            assert loop.current == item


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
@pytest.mark.parametrize("nested", [False, True])
def test_it_knows_where_it_is_however_often_tokens_run_out(
    source: Any, nested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a Python of 32 bits there are not as many at a time as a loop may have iterations."""
    monkeypatch.setattr(loops, "_TOKENS", 3)
    loop, keeper = Loop("0", open_cursor(source(100)), nested=nested), Keeper("7it")
    for count, item in enumerate(turns(keeper, loop), 1):
        loop.look()
        assert (loop.count, loop.current) == (count, item)
    assert keeper.gone == [loop]
    assert loop.count == 100


@pytest.mark.parametrize("nested", [False, True])
def test_an_item_that_is_done_is_not_held_on_to(nested: bool) -> None:
    """Whatever looked at it: a batch of data may fill the memory."""

    class Thing:
        pass

    loop = Loop("0", open_cursor(Thing() for _ in range(4)), nested=nested)
    assert loop.cursor is not None
    known = []
    first = next(loop.cursor.iterator)
    for thing in turns(Keeper("1it"), loop, first):
        loop.look()
        loop.hold()
        assert loop.current is thing
        known.append(weakref.ref(thing))
        first = None
        assert [one() is None for one in known[:-1]] == [True] * (len(known) - 1)
    assert len(known) == 4


def test_a_list_that_shrinks_below_where_the_loop_is() -> None:
    """The loop ends there, whatever was asked for."""
    things = list(range(10_000))
    keeper = Keeper()
    seen = []
    for item in turns(keeper, Loop("0", open_cursor(things))):
        seen.append(item)
        if item == 5000:
            keeper.schedule.ask()
            del things[100:]
    assert seen == list(range(5001))


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


@pytest.mark.parametrize("nested", [False, True])
def test_what_a_loop_that_is_left_went_over_is_closed_at_once(nested: bool) -> None:
    """A generator cleans up when the loop is left, not when somebody collects garbage."""
    said: list[str] = []

    def drawn() -> Iterator[int]:
        try:
            yield from range(5)
        finally:
            said.append("closed")

    def work() -> None:
        loop = Loop("0", open_cursor(drawn()), nested=nested)
        for item in turns(Forgetful(), loop):
            if item == 3:
                break
        said.append("left")

    gc.disable()
    try:
        work()
        said.append("returned")
    finally:
        gc.enable()
    assert said == ["left", "closed", "returned"]  # the function itself knows the loop for longer


class Forgetful(Keeper):
    """A run that keeps no loop."""

    def left(self, loop: Loop) -> None:
        """Forget it."""
