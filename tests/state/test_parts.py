"""Parts: what shares something mutable is together, what does not is apart, and a change moves only its own bytes."""

from __future__ import annotations

import math
import struct
import sys
import types
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nbckpt.state import pickling
from nbckpt.state.home import NOTHING, Home
from nbckpt.state.parts import KINDS, STATE, Dumped, Outsiders, Sharing, build


class Stored:
    def __init__(self, stream: bytes, buffers: list[bytes]) -> None:
        self.stream, self.buffers = stream, buffers


def dumped(sharing: Sharing, **variables: Any) -> dict[str, Any]:
    """Parts by name."""
    return {part.name: part for part in sharing.dump({"variables": variables}).parts}


def together(**variables: Any) -> list[set[str]]:
    """The groups that variables fall into, of those that are big enough for parts of their own."""
    return [{name for _, name in part.keys} for part in dumped(Sharing(), **variables).values()]


BIG = 30_000


def test_what_shares_an_object_that_can_change_is_one_part() -> None:
    """Through containers, objects, views and iterators."""
    inner = list(range(BIG))
    base = np.arange(float(BIG))
    box = types.SimpleNamespace(inside={"deep": inner})
    groups = together(
        one=[inner], two=box, three=iter(inner), four=base[5:], five={"v": base[::2]}, six=list(range(BIG))
    )
    assert sorted(map(sorted, groups)) == [["five", "four"], ["one", "three", "two"], ["six"]]


def test_what_cannot_change_is_no_sharing() -> None:
    """Equal strings, dtypes, modules, functions and types that are one object keep nothing together."""
    word, when = "w" * BIG, np.dtype("f8")
    left = {"w": word, "t": when, "f": len, "c": dict, "x": list(range(BIG))}
    right = {"w": word, "t": when, "f": len, "c": dict, "x": list(range(BIG))}
    assert together(left=left, right=right) == [{"left"}, {"right"}]


def test_a_change_moves_no_other_bytes() -> None:
    """After an append to one variable, the parts of all others have the bytes that they had."""
    sharing = Sharing()
    variables = {f"v{k}": {"rows": [[k, j] for j in range(BIG)]} for k in range(3)}
    before = {name: bytes(part.stream) for name, part in dumped(sharing, **variables).items()}
    variables["v1"]["rows"].append([1, 2])
    after = {name: bytes(part.stream) for name, part in dumped(sharing, **variables).items()}
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == [f"{STATE}/variables:v1"]


def test_small_ones_travel_in_bundles() -> None:
    """Ten thousand small variables are some parts, not ten thousand."""
    parts = dumped(Sharing(), **{f"v{k}": [k] * 10 for k in range(10_000)})
    assert 1 < len(parts) < 20


def test_together_once_together_for_good() -> None:
    """Variables that shared something are kept together when they no longer do, and come back apart."""
    sharing = Sharing()
    inner: list[int] = []
    one, two = [inner], [inner]
    sharing.dump({"variables": {"one": one, "two": two}})
    two[0] = []
    done = sharing.dump({"variables": {"one": one, "two": two}, "loops": {"0": {"item": inner}}})
    stored = {p.name: Stored(bytes(p.stream), [bytes(b) for b in p.buffers]) for p in done.parts}
    root = build(stored, Stored(b"\x80\x04}.", []), Home(vars(sys.modules["__main__"])), {})
    variables = root["variables"]
    assert variables["one"][0] is root["loops"]["0"]["item"]
    assert variables["two"][0] is not variables["one"][0]
    assert root.keys() == set(KINDS)


def test_outsiders_are_found_exactly() -> None:
    """Only names that share something are found, also when the ids of objects that are gone are in use again."""
    outsiders = Outsiders()
    inner = [[]]  # type: ignore[var-annotated]
    others = {"holder": {"x": inner[0]}, "plain": {"x": [1]}, "stuck": [inner, (k for k in ())], "word": "inner"}
    done = Sharing().dump({"variables": {"inner": inner}})
    for _ in range(3):
        assert outsiders.sharing(others, done.met) == {"holder", "stuck"}
        again = Sharing().dump({"variables": {"new": [{} for _ in range(5000)]}})
        assert outsiders.sharing(others, again.met) == set()


def test_outsiders_are_looked_at_again_when_they_are_bound_to_something_else() -> None:
    """Also when that has got the identity of what they were bound to."""
    outsiders = Outsiders()
    inner: list[Any] = [[]]
    others: dict[str, Any] = {"x": [[1]]}
    for _ in range(100):
        others["x"] = None
        others["x"] = [[2]]
        done = Sharing().dump({"variables": {"inner": inner}})
        assert outsiders.sharing(others, done.met) == set()
        others["x"] = None
        others["x"] = [inner[0]]
        done = Sharing().dump({"variables": {"inner": inner}})
        assert outsiders.sharing(others, done.met) == {"x"}


@pytest.mark.parametrize("depth", [10_000, 40_000])
def test_depth_has_no_limit_that_anybody_meets(depth: int) -> None:
    """A list in a list, ten thousand times."""
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    (part,) = dumped(Sharing(), nested=nested).values()
    root = build({part.name: part}, Stored(b"\x80\x04}.", []), Home(vars(sys.modules["__main__"])), {})
    at, count = root["variables"]["nested"], 0
    while at:
        at, count = at[0], count + 1
    assert count == depth


def restored(done: Dumped) -> dict[str, Any]:
    """The variables that come back."""
    stored = {p.name: Stored(bytes(p.stream), [bytes(b) for b in p.buffers]) for p in done.parts}
    return build(stored, Stored(b"\x80\x04}.", []), Home(vars(sys.modules["__main__"])), {})["variables"]


PLAIN_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.sampled_from([0.0, -0.0, math.nan])
)


@given(st.lists(PLAIN_VALUES, max_size=8), st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=6))
def test_plain_variables_come_back_as_they_are(values: list[Any], again: list[tuple[int, int]]) -> None:
    """Their types, signs and bits, and which of those that are no numbers are one; other things may refer to them."""
    variables = {f"v{at}": value for at, value in enumerate(values)}
    for number, pair in enumerate(again):
        variables[f"w{number}"] = [variables.get(f"v{at}") for at in pair]
        variables[f"u{number}"] = variables.get(f"v{pair[0]}")
    sharing = Sharing()
    for _ in range(3):  # the later ones know what the first has found
        back = restored(sharing.dump({"variables": variables}))
        back = {name: back[name] for name in variables}
        assert repr(back) == repr(variables)
        assert described(back) == described(variables)


def test_no_value_comes_back_as_that() -> None:
    """What stands for it is one thing in each process."""
    for _ in range(2):
        assert restored(Sharing().dump({"variables": {"result": NOTHING, "one": [NOTHING]}})) == {
            "result": NOTHING,
            "one": [NOTHING],
        }


def described(variables: dict[str, Any]) -> list[Any]:
    """Types and bits, and for what is no number the first place it is in, or the constant that it is."""
    flat = [one for value in variables.values() for one in (value if isinstance(value, list) else [value])]
    nans = [one for one in flat if one != one]  # noqa: PLR0124
    return [
        (type(one), struct.pack("d", one), one is math.nan, [it is one for it in nans])  # noqa: PLW0177
        if isinstance(one, float)
        else (type(one), one)
        for one in flat
    ]


def test_constants_that_are_no_numbers_are_themselves_at_every_save() -> None:
    """Also when a save expects them, finds them gone, finds others, or finds them back."""
    own = float("nan")
    sharing = Sharing()
    for column in ([np.nan, "a", own, own], [1, 2, 3], [own, own, -own], [math.nan, np.nan, own, [np.nan]], [np.nan]):
        for _ in range(2):
            back = restored(sharing.dump({"variables": {"column": column}}))["column"]
            assert [one is np.nan for one in back] == [one is np.nan for one in column]  # noqa: PLW0177
            assert [one is math.nan for one in back] == [one is math.nan for one in column]  # noqa: PLW0177
            mine = [there for there, one in zip(back, column, strict=True) if one is own]
            assert all(one is mine[0] for one in mine)
            assert str(back) == str(column)


def test_text_of_pandas_has_its_constant() -> None:
    """Its type comes back with what marks a missing text."""
    pd = pytest.importorskip("pandas", minversion="3")
    frame = pd.DataFrame({"text": pd.array(["a", None, "b"] * BIG, dtype="str"), "other": pd.array(["a"] * 3 * BIG)})
    done = Sharing().dump({"variables": {"frame": frame}})
    back = restored(done)["frame"]
    assert back["text"].dtype.na_value is np.nan  # noqa: PLW0177
    assert back["other"].dtype.na_value is frame["other"].dtype.na_value
    pd.testing.assert_frame_equal(back, frame)


def test_a_type_of_text_needs_no_words() -> None:
    """It is said by a name of its own, so that what holds it is pickled once."""
    pd = pytest.importorskip("pandas", minversion="3")
    assert not pickling.dump(pd.Series(["a", "b"], dtype="str")).pickler.words
