"""Cursors: what was left is what is left."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st

from nbckpt.errors import ReplayError
from nbckpt.run import cursors
from nbckpt.state import pickling
from nbckpt.state.home import NOTHING, Home, load

PICKLED: dict[str, Callable[[list[int]], Any]] = {
    "range": lambda xs: range(3, 3 + 2 * len(xs), 2),
    "range backwards": lambda xs: range(len(xs), 0, -1),
    "list": list,
    "tuple": tuple,
    "str": lambda xs: "é".join(map(str, xs)),
    "bytes": lambda xs: bytes(x % 256 for x in xs),
    "set": set,
    "frozenset": frozenset,
    "dict": lambda xs: dict.fromkeys(xs, 1),
    "items": lambda xs: {x: str(x) for x in xs}.items(),
    "values": lambda xs: {x: str(x) for x in xs}.values(),
    "enumerate": lambda xs: enumerate(xs, 5),
    "zip": lambda xs: zip(xs, "abcdefgh", {9: 1, 8: 2, 7: 3}, strict=False),
    "map": lambda xs: map(str, xs),
    "filter": lambda xs: filter(None, xs),
    "reversed": reversed,
    "an iterator half used": lambda xs: _drawn(iter(xs), 1),
    "a map over an enumerate": lambda xs: map(repr, enumerate(xs)),
}
REPLAYED: dict[str, Callable[[list[int]], Any]] = {
    "generator": lambda xs: (x * 2 for x in xs),
    "zip with a generator": lambda xs: zip(xs, (str(x) for x in xs), strict=False),
    "map over a generator": lambda xs: map(str, (x for x in xs)),
}


def _drawn(iterator: Iterator[Any], count: int) -> Iterator[Any]:
    for _ in range(count):
        next(iterator, None)
    return iterator


def home() -> Home:
    return Home(vars(sys.modules["__main__"]))


@given(kind=st.sampled_from(sorted(PICKLED)), xs=st.lists(st.integers(0, 99), max_size=8), cut=st.integers(0, 9))
def test_an_iterator_comes_back_where_it_was(kind: str, xs: list[int], cut: int) -> None:
    """Saved after any number of items, an iterator yields the items it would have yielded, and only those."""
    cursor = cursors.open_cursor(PICKLED[kind](xs))
    assert cursor.kind == "iterator"
    for _ in range(cut):
        next(cursor.iterator, NOTHING)
    saved = pickling.dump(cursor.saved())
    left = list(cursor.iterator)
    again = cursors.reopen(load(saved.stream, saved.buffers, home())[0])
    assert list(again.iterator) == left


@given(kind=st.sampled_from(sorted(REPLAYED)), xs=st.lists(st.integers(0, 99), max_size=8), data=st.data())
def test_a_replay_drops_what_is_done(kind: str, xs: list[int], data: st.DataObject) -> None:
    """What cannot be pickled is evaluated again, and goes on after the finished items."""
    cut = data.draw(st.integers(0, len(xs)))
    cursor = cursors.open_cursor(REPLAYED[kind](xs))
    assert cursor.kind == "replay"
    for _ in range(cut):
        next(cursor.iterator)
    record = cursor.saved()
    left = list(cursor.iterator)
    again = cursors.advance(REPLAYED[kind](xs), record, cut, 1)
    assert list(again.iterator) == left


@given(
    xs=st.lists(st.integers(0, 9), min_size=1, max_size=8), ys=st.lists(st.integers(0, 9), max_size=8), data=st.data()
)
def test_a_replay_of_other_items_is_refused(xs: list[int], ys: list[int], data: st.DataObject) -> None:
    """If any finished item differs, or there are too few, the loop goes on only if told to trust it."""
    cut = data.draw(st.integers(1, len(xs)))
    cursor = cursors.open_cursor(x for x in xs)
    for _ in range(cut):
        next(cursor.iterator)
    record = cursor.saved()
    if ys[:cut] == xs[:cut]:
        assert list(cursors.advance((y for y in ys), record, cut, 1).iterator) == ys[cut:]
    else:
        with pytest.raises(ReplayError):
            cursors.advance((y for y in ys), record, cut, 1)
        if len(ys) >= cut:
            assert list(cursors.advance((y for y in ys), record, cut, 1, trust=True).iterator) == ys[cut:]


@given(
    xs=st.lists(st.integers(0, 9), min_size=1, max_size=8), ys=st.lists(st.integers(0, 9), max_size=8), data=st.data()
)
def test_an_edited_list_goes_on_only_if_its_beginning_stands(xs: list[int], ys: list[int], data: st.DataObject) -> None:
    """A header that was edited goes on at the same count if all finished items are the same."""
    cut = data.draw(st.integers(1, len(xs)))
    cursor = cursors.open_cursor(xs)
    for _ in range(cut):
        next(cursor.iterator)
    record = cursor.saved()
    extended = cursors.extend(ys, record, cut, 1)
    if ys[:cut] == xs[:cut]:
        assert extended is not None
        assert list(extended.iterator) == ys[cut:]
    else:
        assert extended is None


def test_map_never_calls_again() -> None:
    """The function of a `map` is not called for items that are done, nor by the saving."""
    calls: list[int] = []
    mapped = map(calls.append, [1, 2, 3])
    cursor = cursors.open_cursor(mapped)
    next(cursor.iterator)
    cursor.saved()
    assert calls == [1]


def test_totals_are_known_where_they_can_be() -> None:
    """`epoch 3 of 40` needs the 40, also through `enumerate` and `zip`; a generator has none."""
    assert cursors.open_cursor(enumerate(range(40))).total == 40
    assert cursors.open_cursor(zip(range(40), [1, 2], strict=False)).total == 2
    assert cursors.open_cursor(x for x in [1]).total is None


def test_items_changed_late_are_noticed() -> None:
    """Where fingerprints would cost too much, ever fewer items have one, but some always do."""
    cursor = cursors.open_cursor(x for x in range(1000))
    assert cursor.trail is not None
    cursor.trail.spent = 1e9  # as if fingerprints cost too much
    for _ in range(700):
        next(cursor.iterator)
    record = cursor.saved()
    assert (record["trail"]["length"], sorted(record["trail"]["marks"])) == (0, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512])
    assert list(cursors.advance((x for x in range(1000)), record, 700, 1).iterator) == list(range(700, 1000))
    with pytest.raises(ReplayError, match="among the first 512"):
        cursors.advance((x if x < 500 else -x for x in range(1000)), record, 700, 1)


def test_a_trail_with_gaps_goes_on_with_gaps() -> None:
    """Resumed twice, a loop whose fingerprints had become too dear is still recognised."""
    cursor = cursors.open_cursor(x for x in range(100))
    assert cursor.trail is not None
    for place in range(40):
        cursor.trail.spent = 1e9 if place > 10 else 0.0
        next(cursor.iterator)
    record = cursor.saved()
    assert record["trail"]["length"] in (10, 11)
    again = cursors.advance((x for x in range(100)), record, 40, 1)
    for _ in range(30):
        next(again.iterator)
    record = again.saved()
    assert (record["trail"]["length"] in (10, 11), max(record["trail"]["marks"])) == (True, 64)
    assert next(cursors.advance((x for x in range(100)), record, 70, 1).iterator) == 70
    with pytest.raises(ReplayError, match="among the first 64"):
        cursors.advance((x if x < 60 else 0 for x in range(100)), record, 70, 1)


def test_a_generator_whose_data_changed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a generator works on must be what it was: its arguments, and the variables that its code reads."""
    notebook = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    source = "data, other = [1, 2, 3], [4]\ndef over(xs):\n    for x in list(xs) + other: yield x\n"
    for change in ("data.append(9)", "other.append(9)", "other = [5]"):
        exec(source, vars(notebook))
        cursor = cursors.open_cursor(notebook.over(notebook.data))
        next(cursor.iterator)
        assert cursor.saved()["changed"] == []
        exec(change, vars(notebook))
        record = cursor.saved()
        with pytest.raises(ReplayError, match=r"(xs|other), which changed while it ran"):
            cursors.advance(notebook.over(notebook.data), record, 1, 1)
