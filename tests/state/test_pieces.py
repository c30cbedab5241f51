"""What is not pickled again comes back as if it were: arrays of plain values, whatever is done to them meanwhile."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from nbckpt.state import pickling, pieces
from nbckpt.state.parts import Dumped, Sharing
from tests.state.test_parts import described, restored

OWN = float("nan")
ONE_TEXT = "one text"


VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, False, math.nan, np.nan, OWN, ONE_TEXT, "1", b"1"]),
)
ODD = st.one_of(VALUES, st.just([]), st.just({"a": 1}), st.just((1, 2)), st.builds(float, st.just("nan")))
STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 99), VALUES),
    st.tuples(st.just("put odd"), st.integers(0, 99), ODD),
    st.tuples(st.just("append"), st.integers(0, 99), VALUES),
    st.tuples(st.just("swap"), st.integers(0, 99), st.integers(0, 99)),
    st.tuples(st.just("copy"), st.none(), st.none()),
    st.tuples(st.just("cut"), st.integers(0, 99), st.none()),
    st.tuples(st.just("made anew"), st.none(), st.none()),
    st.tuples(st.just("laid out"), st.none(), st.none()),
    st.tuples(st.just("nothing"), st.none(), st.none()),
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have them used for arrays of a few elements."""
    monkeypatch.setattr(pieces, "LEAST", 2)
    monkeypatch.setattr(pieces, "STRETCH", 5)


def objects(values: list[Any]) -> Any:
    array = np.empty(len(values), object)
    for at, value in enumerate(values):
        array[at] = value
    return array


def step(array: Any, what: str, where: Any, value: Any) -> Any:
    """The array after something was done to it: the same one, or another."""
    at = where % array.size if isinstance(where, int) and array.size else None
    if what.startswith("put") and at is not None:
        array.reshape(-1)[at] = value
    elif what == "append":
        return objects([*array.ravel().tolist(), value])
    elif what == "swap" and at is not None:
        array.flat[at], array.flat[value % array.size] = array.flat[value % array.size], array.flat[at]
    elif what == "copy":
        return array.copy()
    elif what == "cut" and at is not None:
        return array.ravel()[at:].copy()
    elif what == "made anew":  # equal texts and numbers, which are other objects, perhaps where others were
        return objects([f"{one}" if isinstance(one, str) else one for one in array.ravel().tolist()])
    elif what == "laid out" and array.size:
        return np.array(objects(array.ravel().tolist() * 2).reshape(2, -1), order="F")
    return array


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(VALUES, max_size=20), st.lists(STEPS, max_size=8))
def test_an_array_comes_back_as_it_is_at_each_save(values: list[Any], steps: list[Any]) -> None:
    """Its layout, types, signs, and what is no number, after changes in place and without any."""
    array, sharing = objects(values), Sharing()
    kept = {"array": array, "table": [array, array[1:]], "other": {"constant": np.nan, "own": OWN}}
    for what in [("nothing", None, None), *steps, ("nothing", None, None)]:
        kept["array"] = array = step(array, *what)
        kept["table"] = [array, array[1:]]
        back = restored(sharing.dump({"variables": kept}))
        got = back["array"]
        assert (got.shape, got.dtype, got.flags.fnc) == (array.shape, array.dtype, array.flags.fnc)
        assert got.flags.owndata
        assert back["table"][0] is got
        assert not array.size or back["table"][1].base is got
        there = {"all": got.ravel().tolist(), "own": [back["other"]["own"]]}
        assert described(there) == described({"all": array.ravel().tolist(), "own": [OWN]})
        assert repr(got) == repr(array)


def test_what_did_not_change_is_the_same_piece() -> None:
    """After a change of one element, and after one was added, only its stretch is new."""
    texts, sharing = [f"text {number}" for number in range(23)], Sharing()
    sharing.dump({"variables": {"array": objects(texts)}})
    before = known(sharing)
    texts[7] = "another"
    sharing.dump({"variables": {"array": objects([*texts, "more"])}})
    after = known(sharing)
    assert len(before) == len(after) == 5
    assert len(before & after) == 3


def known(sharing: Sharing) -> set[bytes]:
    """What tells the pieces of the newest save."""
    return set(sharing._pieces._newest)


def test_values_are_held_until_the_next_save_at_most() -> None:
    """A text that is gone from the state is not kept alive by what was pickled of it, nor where nothing is saved."""
    text = f"a text of {STEPS}"
    plain = sys.getrefcount(text)
    array, sharing = objects([text] * 10), Sharing()
    pickling.dump(array)
    pickling.digest(array)
    assert sys.getrefcount(text) == plain + 10
    sharing.dump({"variables": {"array": array}})
    assert sys.getrefcount(text) > plain + 10
    del array
    sharing.dump({"variables": {}})
    assert sys.getrefcount(text) == plain


def test_a_save_that_fails_forgets_nothing() -> None:
    """What was known before it is known at the next one."""
    array, sharing = objects([f"text {number}" for number in range(20)]), Sharing()
    sharing.dump({"variables": {"array": array}})
    before = known(sharing)
    with pytest.raises(Exception, match="cannot pickle"):
        sharing.dump({"variables": {"a": (one for one in ()), "array": array}})
    assert pieces.in_use() is None
    sharing.dump({"variables": {"array": array}})
    assert known(sharing) == before


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound an array is saved all the same."""
    monkeypatch.setattr(pieces, "MOST", 200)
    array, sharing = objects([f"text {number}" for number in range(50)]), Sharing()
    for _ in range(2):
        assert restored(sharing.dump({"variables": {"array": array}}))["array"].tolist() == array.tolist()
        assert sum(len(piece) for _, piece in sharing._pieces._newest.values()) <= 200
    assert known(sharing)


@pytest.mark.parametrize("dtype", [object, "str"])
def test_tables_come_back(dtype: Any) -> None:
    """Columns of texts, with missing ones, changed in place between saves; and what shares their memory."""
    pd = pytest.importorskip("pandas", minversion="3")
    texts = [None if number % 7 == 0 else f"text {number % 5}" for number in range(60)]
    table = pd.DataFrame({"a": pd.Series(texts, dtype=dtype), "b": range(60), "c": pd.Series(texts, dtype=dtype)})
    sharing = Sharing()
    for number in range(4):
        done: Dumped = sharing.dump(
            {"variables": {"table": table, "column": table["a"], "index": table.set_index("a")}}
        )
        back = restored(done)
        pd.testing.assert_frame_equal(back["table"], table)
        pd.testing.assert_series_equal(back["column"], table["a"])
        pd.testing.assert_frame_equal(back["index"], table.set_index("a"))
        back["table"].loc[3, "a"] = "changed"  # it can be worked with, and changes nothing else
        assert back["column"][3] == table["a"][3]
        table.loc[number, "a"] = f"new {number}"
        if number == 2:
            table = pd.concat([table, table.iloc[:3]], ignore_index=True)


def test_lists_are_read_as_they_are() -> None:
    """Where this Python is known, what is read of a list are the addresses in it."""
    assert pieces.is_known() == (sys.implementation.name == "cpython")
