"""Random state: what is saved of it, what is put back, and that looking never draws."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import nbckpt
from nbckpt.state import generators, randomness


@pytest.fixture
def dice() -> random.Random:
    """Another global generator, as a library may have one."""
    own = random.Random(5)
    nbckpt.register_random_source("dice", own.getstate, own.setstate)
    return own


def test_a_registered_source_is_saved_and_put_back(dice: random.Random) -> None:
    np.random.seed(3)
    states = randomness.capture()
    expected = dice.random(), random.random(), np.random.random()
    assert randomness.restore(states) == []
    assert (dice.random(), random.random(), np.random.random()) == expected


def test_looking_never_draws(dice: random.Random) -> None:
    assert repr(randomness.capture()) == repr(randomness.capture())


def test_a_source_that_is_not_registered_is_named(dice: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is put back then: half of the random state would be none."""
    states = randomness.capture()
    monkeypatch.setattr(randomness, "_registered", {})
    before = random.getstate()
    random.random()
    with pytest.raises(nbckpt.RestoreError, match="'dice', which is not registered here"):
        randomness.restore(states)
    assert random.getstate() != before


def test_a_known_source_cannot_be_replaced() -> None:
    with pytest.raises(nbckpt.OptionError, match="'numpy' is saved already"):
        nbckpt.register_random_source("numpy", lambda: None, lambda _: None)
    with pytest.raises(nbckpt.OptionError, match="a name and two functions"):
        nbckpt.register_random_source("mine", None, None)  # type: ignore[arg-type]


def test_a_missing_library_is_said() -> None:
    """A snapshot with the random state of a library that is not installed here draws nothing from it."""
    source = randomness.Source(dict, lambda _: None, "no_such_library")
    randomness._registered["gone"] = source
    assert "gone is not installed here" in randomness.restore({"gone": {}})[0]


class Holder:
    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


def test_generators_are_found_where_variables_hold_them() -> None:
    """A dataset's, a loader's, one in a list: each is put back to what it was, itself."""
    own, other = random.Random(1), np.random.default_rng(2)
    names = {"rng": own, "data": Holder(rows=[1, 2], inner=Holder(generators=[other, own])), "plain": [1, "a"]}
    held = randomness.capture_held(names)
    expected = own.random(), other.random()
    randomness.restore_held(names, held)
    assert (own.random(), other.random()) == expected
    assert {way[0] for way in held} == {"rng", "data"}


def test_what_refers_to_itself_is_looked_at_once() -> None:
    loop: list[Any] = [np.random.default_rng(1)]
    loop.append(loop)
    assert len(list(generators.found_in(loop))) == 1
    assert not randomness.is_generator(random.SystemRandom())


def test_a_cell_is_refused_before_it_runs_where_a_source_is_missing(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = random.Random(5)
    nbckpt.register_random_source("dice", own.getstate, own.setstate)
    cell = "x = []\nfor i in range(3):\n    x.append(i)\n"
    store = lab.killed(cell, "len(x) == 2")
    monkeypatch.setattr(randomness, "_registered", {})
    outcome, kernel = lab.again(store, cell)
    assert "'dice', which is not registered here" in outcome.error
    assert "x" not in kernel.names
    nbckpt.register_random_source("dice", own.getstate, own.setstate)
    outcome, kernel = lab.again(store, cell)
    assert kernel.names["x"] == [0, 1, 2]
