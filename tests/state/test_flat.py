"""Lists and dicts of plain values and of rows come back as they are at each save, whatever is done meanwhile."""

from __future__ import annotations

import collections
import copy
import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from nbckpt.state import flat, pieces
from nbckpt.state.parts import Sharing
from tests.state.test_parts import restored
from tests.state.test_pieces import OWN, VALUES, known


class Text(str):  # noqa: SLOT000 - it has attributes
    """A text that is not plain."""


class Texts(list[Any]):
    """A list with attributes."""

    def __init__(self, given: Any = ()) -> None:
        super().__init__(given)
        self.name = "its name"


class Table(dict[Any, Any]):
    """A dict of a class of its own."""

    def __init__(self, given: Any = ()) -> None:
        super().__init__((one, one) for one in given)
        self.name = "its name"


class Owner:
    """Somebody whose attributes are a row."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have them used for a few values, of which some may be odd."""
    monkeypatch.setattr(pieces, "LEAST", 2)
    monkeypatch.setattr(pieces, "STRETCH", 5)
    monkeypatch.setattr(flat, "MOST", 3)


KEYS = st.one_of(
    st.integers(0, 30), st.text(max_size=3), st.sampled_from([True, 0.0, -0.0, 1.0, np.nan, OWN, (1, "a")])
)
ROWS = st.one_of(VALUES, st.tuples(VALUES, VALUES), st.just(()))
ODD_ROWS = st.one_of(
    *(ROWS, st.just([1]).map(list), st.just({"a": 1}).map(dict), st.just((1, [2])), st.builds(Text)),
    *(st.just({1}).map(set), st.just(frozenset({1})), st.builds(bytearray)),
)
DOINGS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, ROWS),
        st.tuples(st.just("put odd"), KEYS, ODD_ROWS),
        st.tuples(st.just("take out"), KEYS, st.none()),
        st.tuples(st.just("add"), KEYS, ROWS),
        st.tuples(st.just("empty"), st.none(), st.none()),
        st.tuples(st.just("share"), st.none(), st.none()),
        st.tuples(st.just("nest"), st.none(), st.none()),
        st.tuples(st.just("go over"), st.none(), st.none()),
        st.tuples(st.just("hold itself"), st.none(), st.none()),
        st.tuples(st.just("turn"), st.none(), st.none()),
        st.tuples(st.just("nothing"), st.none(), st.none()),
    ),
    max_size=7,
)


def do(variables: dict[str, Any], what: str, key: Any, value: Any) -> None:
    """Change the list and the dict, and what refers to them."""
    one, table = variables["one"], variables["table"]
    if what.startswith("put"):
        table[key] = value
        if one:
            one[hash(key) % len(one)] = value
    elif what == "take out":
        table.pop(key, None)
        del one[:1]
    elif what == "add":
        one.append(value)
        table.setdefault(key, value)
    elif what == "empty":
        one.clear()
        table.clear()
    elif what == "share":
        variables["again"] = one
        variables["holder"] = {"table": table}
    elif what == "nest":
        variables["deep"] = {"in": [one, (table, "b")]}
    elif what == "go over":
        variables["iterator"] = iter(one)
    elif what == "hold itself":
        one.append(one)
    elif what == "turn":
        variables["one"], variables["table"] = one[::-1], dict(reversed(table.items()))


def shape(thing: Any, seen: dict[int, int]) -> Any:
    """What a graph is: types, bits, order, and which of the things that can change are one."""
    if thing is np.nan or thing is math.nan:  # noqa: PLW0177
        return "constant", thing is np.nan  # noqa: PLW0177
    if isinstance(thing, float) and thing == thing:  # noqa: PLR0124
        return float, thing.hex()
    if isinstance(thing, tuple):
        return tuple, [shape(part, seen) for part in thing]
    if type(thing) in (type(None), bool, int, str, bytes):
        return type(thing), thing
    if isinstance(thing, (frozenset, np.generic)):
        return type(thing), repr(thing)
    if id(thing) in seen:
        return "known", seen[id(thing)]
    seen[id(thing)] = len(seen)
    if isinstance(thing, float):
        return float, "no number", seen[id(thing)]
    if isinstance(thing, dict):
        return type(thing), [(shape(key, seen), shape(value, seen)) for key, value in thing.items()]
    if isinstance(thing, list):
        return type(thing), [shape(part, seen) for part in thing]
    if isinstance(thing, (set, bytearray)):
        return type(thing), repr(thing)
    if isinstance(thing, Text):
        return Text, f"{thing}", vars(thing)
    if isinstance(thing, Owner):
        return Owner, shape(vars(thing), seen)
    return "iterator", [shape(part, seen) for part in copy.copy(thing)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(ROWS, max_size=20), st.dictionaries(KEYS, ROWS, max_size=20), DOINGS)
def test_lists_and_dicts_come_back_as_they_are_at_each_save(one: Any, table: Any, doings: list[Any]) -> None:
    """Their order, their values' types and signs, what is no number, and whoever refers to them."""
    variables, sharing = {"one": one, "table": table, "own": OWN}, Sharing()
    for what in [("nothing", None, None), *doings, ("nothing", None, None)]:
        do(variables, *what)
        back = restored(sharing.dump({"variables": variables}))
        back = {name: back[name] for name in variables}
        assert shape(back, {}) == shape(variables, {})


@pytest.mark.parametrize("kind", [Texts, Table, collections.Counter, collections.OrderedDict])
def test_what_is_derived_from_them_is_what_it_was(kind: Any) -> None:
    """With its class and attributes."""
    thing = kind(f"key {number}" for number in range(9)) if kind is not collections.OrderedDict else kind(a=1, b=2)
    sharing = Sharing()
    for _ in range(2):
        back = restored(sharing.dump({"variables": {"thing": thing}}))["thing"]
        assert type(back) is kind
        assert (back, vars(back) if hasattr(back, "__dict__") else None) == (
            thing,
            vars(thing) if hasattr(thing, "__dict__") else None,
        )


@pytest.mark.parametrize("thing", [[f"text {n}" for n in range(40)], {f"key {n}": (n, n / 2) for n in range(40)}])
def test_what_is_only_added_to_keeps_its_pieces(thing: Any) -> None:
    """A later save pickles the stretch that was added to, and finds it shared when somebody else refers to it."""
    sharing = Sharing()
    sharing.dump({"variables": {"thing": thing}})
    before = known(sharing)
    add = thing.append if isinstance(thing, list) else lambda value: thing.setdefault(value, 1)
    add("more")
    done = sharing.dump({"variables": {"thing": thing}})
    assert before < known(sharing)
    assert id(thing) in done.met
    back = restored(sharing.dump({"variables": {"thing": thing, "other": [thing]}}))
    assert back["other"][0] is back["thing"]
    assert back["thing"] == thing


NAMES = st.one_of(KEYS, st.sampled_from("abc"))
BOXES = st.recursive(
    st.one_of(st.dictionaries(NAMES, ROWS, max_size=3), st.lists(ROWS, max_size=3)),
    lambda inner: st.one_of(
        st.dictionaries(NAMES, st.one_of(ROWS, inner), max_size=3), st.lists(st.one_of(ROWS, inner), max_size=3)
    ),
    max_leaves=4,
)
ALIKE = st.dictionaries(st.sampled_from("ab"), st.one_of(st.integers(0, 2), st.floats(0, 2)), min_size=2, max_size=2)
TABLES = st.lists(st.one_of(ALIKE, BOXES, ROWS), max_size=16)
PLACES = st.integers(0, 99)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *(
                    "put",
                    "put odd",
                    "put box",
                    "equal",
                    "rename",
                    "reorder",
                    "copy",
                    "add",
                    "take out",
                    "share",
                    "forget",
                ),
                *("twice", "share inside", "hold all", "attributes", "owned", "again", "go over", "nothing", "nothing"),
            ]
        ),
        PLACES,
        PLACES,
        ODD_ROWS,
        BOXES,
    ),
    max_size=8,
)
EQUAL: list[Any] = [0, 0.0, -0.0, False, 1, 1.0, True]


def change(variables: dict[str, Any], what: str, at: int, inside: int, value: Any, box: Any) -> None:
    """Change the rows of a list and a dict, and who refers to them."""
    rows, table = variables["rows"], variables["table"]
    row = rows[at % len(rows)] if rows else None
    keys = list(row) if type(row) is dict else list(range(len(row))) if type(row) is list else []
    key = keys[inside % len(keys)] if keys else None
    if what in ("put", "put odd", "put box") and keys:
        row[key] = {"put": inside / 2, "put odd": value, "put box": box}[what]
    elif what == "equal" and keys:
        row[key] = EQUAL[EQUAL.index(row[key]) - 1] if row[key] in EQUAL else copy.copy(row[key])
    elif what in ("rename", "reorder") and type(row) is dict and keys:
        row["another" if what == "rename" else key] = row.pop(key)
    elif what == "copy" and rows:
        rows[at % len(rows)] = copy.deepcopy(row)
    elif what == "add":
        rows.append(box)
        table[inside] = copy.deepcopy(box)
    elif what == "take out":
        del rows[at % (len(rows) + 1) :][:1]
        table.pop(inside, None)
    elif what == "share":
        variables["row"] = row
    elif what == "forget":
        for name in ("row", "inner", "again", "owner", "iterator"):
            variables.pop(name, None)
    elif what == "twice":
        table[inside] = row
        rows.append(row)
    elif what == "share inside" and keys:
        variables["inner"] = [row[key]]
        table[inside] = {"a": row[key]}
    elif what == "hold all" and keys:
        row[key] = table if inside % 2 else rows
    elif what in ("attributes", "owned"):
        owner = Owner()
        owner.b, owner.a = 1, inside  # type: ignore[attr-defined]
        rows.append(vars(owner))
        if what == "owned":
            variables["owner"] = owner
    elif what == "again":
        variables["again"] = rows if inside % 2 else list(rows)
    elif what == "go over":
        variables["iterator"] = iter(rows)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TABLES, st.dictionaries(KEYS, st.one_of(ALIKE, BOXES), max_size=12), CHANGES)
def test_rows_come_back_as_they_are_at_each_save(rows: Any, table: Any, changes: Any) -> None:
    """Their keys' order, their values' types and signs, and whoever refers to a row, or to what is in it."""
    variables, sharing = {"rows": rows, "table": table, "own": OWN}, Sharing()
    # what the search has made is kept by nobody but the variables
    rows, table = None, None
    still: Any = ("nothing", 0, 0, None, None)
    for what in [still, *copy.deepcopy(changes), still]:
        change(variables, *what)
        back = restored(sharing.dump({"variables": variables}))
        back = {name: back[name] for name in variables}
        assert shape(back, {}) == shape(variables, {})


def table_of(count: int) -> dict[str, Any]:
    return {f"item {number}": {"number": number, "scores": [number / 2, None], "name": "x"} for number in range(count)}


def test_a_changed_row_is_pickled_again_with_its_stretch_only() -> None:
    """After a change deep in one row, and after one was added."""
    table, sharing = table_of(24), Sharing()
    sharing.dump({"variables": {"table": table}})
    before = known(sharing)
    sharing.dump({"variables": {"table": table}})
    assert known(sharing) == before
    table["item 7"]["scores"][1] = 0.5
    sharing.dump({"variables": {"table": table}})
    assert len(known(sharing)) == len(before) == 10
    assert len(known(sharing) - before) == 1


def test_a_row_that_others_refer_to_keeps_no_other_from_its_piece() -> None:
    """It is beside the pieces, and one with what refers to it; nor does a second name for the whole."""
    table, sharing = table_of(24), Sharing()
    sharing.dump({"variables": {"table": table}})
    before = known(sharing)
    inner = table["item 11"]["scores"]
    variables = {"table": table, "row": table["item 3"], "inner": inner, "again": table}
    for _ in range(3):
        back = restored(sharing.dump({"variables": variables}))
        assert back["table"] == table
        assert list(back["table"]) == list(table)
        assert back["row"] is back["table"]["item 3"]
        assert back["inner"] is back["table"]["item 11"]["scores"]
        assert back["again"] is back["table"]
        assert len(known(sharing) & before) >= 8


def test_a_table_that_something_goes_over_is_pickled_again_until_it_is_left() -> None:
    """While an iterator, or a row, refers to it the two are one; afterwards its pieces are made again."""
    rows, sharing = list(table_of(24).values()), Sharing()
    for _ in range(3):
        variables = {"rows": rows, "iterator": iter(rows)}
        back = restored(sharing.dump({"variables": variables}))
        next(back["iterator"])["number"] = "changed"
        assert back["rows"][0]["number"] == "changed"
    assert not known(sharing)
    for _ in range(2):
        variables = {"rows": rows, "iterator": iter(())}
        assert restored(sharing.dump({"variables": variables}))["rows"] == rows
    assert len(known(sharing)) == 5


def test_rows_are_held_by_nobody_after_a_save() -> None:
    """What tells them are the values in them: a row that is taken out of the state is gone."""
    table, sharing = table_of(24), Sharing()
    plain = sys.getrefcount(table["item 5"]), sys.getrefcount(table["item 5"]["scores"])
    sharing.dump({"variables": {"table": table}})
    assert (sys.getrefcount(table["item 5"]), sys.getrefcount(table["item 5"]["scores"])) == plain


def test_keys_that_all_rows_have_are_kept_once() -> None:
    """A thousand rows of the same keys are not much more than their values."""
    rows = [{"a rather long name": number, "another one of these": number % 7} for number in range(250)]
    known = pieces.Pieces()
    with known.in_use():
        stands = flat.flat(rows)
        assert stands is not None
        make, (found, odd) = stands.made
        assert odd == {}
        assert make(found, odd) == rows
    assert all(bytes(piece).count(b"a rather long name") == 1 for piece in found)
    assert all(held == [] for held, _ in known._newest.values())


HELD: list[Any] = [1, 1.5, "text"]
EXCHANGES: list[tuple[Any, Any]] = [
    *((1, True), (1, 1.0), (0.0, -0.0), (0, False), ("1", b"1"), (None, 0), (10**30, 10**30 + 1), ("a", Text("a"))),
    *((math.nan, np.nan), (1.0, math.nan), (1.0, float("nan")), (1.0, np.float64(1)), (1, np.int64(1)), ((1,), [1])),
    *(((1, 2), (1, True)), ((1,), (1, HELD)), (1, HELD), (1, {1}), (1, frozenset({1})), (1, bytearray(b"1")), ({}, [])),
    *(([1], [True]), ({"a": 1}, {"a": 1.0}), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([], ()), ([[1]], [[HELD]])),
]


@pytest.mark.parametrize(("one", "other"), EXCHANGES)
@pytest.mark.parametrize("back_and_forth", [1, 2])
def test_a_value_that_took_the_place_of_another_is_what_comes_back(one: Any, other: Any, back_and_forth: int) -> None:
    """Equal ones of other types among them, and such as others refer to; also when the first one is there again."""
    variables: dict[str, Any] = {"rows": [{"at": at, "value": 0} for at in range(20)], "held": HELD}
    sharing = Sharing()
    for value in [one, other] * back_and_forth:
        variables["rows"][7]["value"] = copy.deepcopy(value, {id(HELD): HELD})
        for _ in range(2):
            back = restored(sharing.dump({"variables": variables}))
            assert shape({name: back[name] for name in variables}, {}) == shape(variables, {})


def by_another_key(row: dict[Any, Any]) -> None:
    row[True] = row.pop(1)


@pytest.mark.parametrize(
    "act",
    [
        lambda row: row.update(b=row.pop("b"), a=row.pop("a")),
        lambda row: row.update(c=row.pop("b")),
        lambda row: row.pop("a"),
        lambda row: row.update(c=1),
        lambda row: row.clear(),
        by_another_key,
    ],
)
def test_other_keys_or_another_order_of_keys_come_back(act: Any) -> None:
    """Of one row of many."""
    rows = [{"a": at, "b": at / 2, 1: None} for at in range(20)]
    sharing = Sharing()
    sharing.dump({"variables": {"rows": rows}})
    act(rows[7])
    for _ in range(2):
        assert shape(restored(sharing.dump({"variables": {"rows": rows}}))["rows"], {}) == shape(rows, {})


def test_whoever_refers_to_a_row_of_what_did_not_change_has_the_very_same() -> None:
    """Though its bytes are what they were: a row is held by a variable, is in two places, or holds what is held."""
    rows: list[Any] = [{"at": at, "value": 1.5} for at in range(20)]
    deep: list[Any] = [{"at": at, "inner": [at]} for at in range(20)]
    variables: dict[str, Any] = {"rows": rows, "deep": deep}
    sharing = Sharing()

    def back() -> dict[str, Any]:
        found: dict[str, Any] = restored(sharing.dump({"variables": variables}))
        assert found == variables
        return found

    for _ in range(2):
        back()
    variables |= {"row": rows[3], "inner": [deep[4]["inner"]]}
    for _ in range(2):
        found = back()
        assert found["row"] is found["rows"][3]
        assert found["inner"][0] is found["deep"][4]["inner"]
    del variables["row"], variables["inner"]
    assert found["rows"] == back()["rows"]
    rows[5] = rows[6] = {"at": 5, "value": 1.5}
    deep[5]["inner"] = deep[6]["inner"] = [5]
    found = back()
    assert found["rows"][5] is found["rows"][6]
    assert found["deep"][5]["inner"] is found["deep"][6]["inner"]


def test_only_what_changed_is_looked_into_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rows of plain values whose bytes are known nothing but the references to them is seen."""
    rows = [{"at": at, "value": at / 2} for at in range(20)]
    sharing = Sharing()
    sharing.dump({"variables": {"rows": rows}})
    seen: list[int] = []
    numbers = pieces.not_numbers
    monkeypatch.setattr(pieces, "not_numbers", lambda values: seen.append(len(values)) or numbers(values))
    sharing.dump({"variables": {"rows": rows}})
    assert seen == []
    rows[7]["value"] = -1.0
    sharing.dump({"variables": {"rows": rows}})
    assert seen == [2 * pieces.STRETCH]


def test_what_many_rows_share_is_not_pickled_to_find_that_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be large: it is pickled once with all the rest, and not again with each group of rows that is tried."""
    shared = [1.5]
    rows = [{"at": at, "all": shared} for at in range(20)]
    tried: list[int] = []
    pickled = flat._pickled
    monkeypatch.setattr(flat, "_pickled", lambda values, *rows: tried.append(len(values)) or pickled(values, *rows))
    back = restored(Sharing().dump({"variables": {"rows": rows, "shared": shared}}))
    assert tried == []
    assert all(row["all"] is back["shared"] for row in back["rows"])
