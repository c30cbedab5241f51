"""What cannot be pickled is named by the way that leads to it."""

from __future__ import annotations

import functools
import threading
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from nbckpt.state.culprit import culprit


class Box:
    def __init__(self, content: Any) -> None:
        self.content = content

    def method(self) -> None:
        pass


class Slotted:
    __slots__ = ("content", "other")

    def __init__(self, content: Any) -> None:
        self.content = content


class Derived(Slotted):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Frozen:
    content: Any


class Listed(list[Any]):
    pass


class Said:
    """What it says of itself is made for the occasion."""

    def __init__(self, content: Any) -> None:
        self._hidden = content

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": [self._hidden]}


class Made:
    def __init__(self, content: Any) -> None:
        self._hidden = content

    def __reduce__(self) -> Any:
        return list, ([self._hidden],)


class Pair(NamedTuple):
    first: Any
    second: Any


def closure(content: Any) -> Callable[[], Any]:
    return lambda: content


def default(content: Any) -> Callable[..., Any]:
    return lambda x, y=content: y


PLACES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "attributes": (lambda it: Box(Box(it)), ".content.content"),
    "slots": (Derived, ".content"),
    "a frozen dataclass with slots": (Frozen, ".content"),
    "dict values": (lambda it: {"a": {1: it}}, "['a'][1]"),
    "tuple keys": (lambda it: {("a", 1): it}, "[('a', 1)]"),
    "keys": (lambda it: {it: 1}, ".<key generator>"),
    "lists and tuples": (lambda it: [1, (2, it)], "[1][1]"),
    "sets": (lambda it: {it}, ".<an element>"),
    "a deque": (lambda it: deque([1, it]), "[1]"),
    "a list of one's own": (lambda it: Listed([it]), "[0]"),
    "an ordered dict": (lambda it: OrderedDict(a=it), "['a']"),
    "a namedtuple": (lambda it: Pair(1, it), ".second"),
    "a closure": (closure, ".<content>"),
    "a default value": (default, ".__defaults__[0]"),
    "a bound method": (lambda it: Box(it).method, ".__self__.content"),
    "a partial": (lambda it: functools.partial(print, 1, it), ".args[1]"),
    "a partial's keywords": (lambda it: functools.partial(print, end=it), ".keywords['end']"),
    "a default factory": (lambda it: defaultdict(closure(it)), ".default_factory.<content>"),
    "an exception": (lambda it: ValueError(1, it), ".args[1]"),
    "an object array": (lambda it: np.array([[1, it], [2, 3]], dtype=object), "[0, 1]"),
    "a table": (lambda it: pd.DataFrame({"a": [1, 2], "b": ["x", it]}, index=["i", "j"]), "['b']['j']"),
    "a series": (lambda it: pd.Series(["x", it]), "[1]"),
    "a simple namespace": (lambda it: types.SimpleNamespace(x=it), ".x"),
    "what __getstate__ gives": (lambda it: [Said(it)], "[0].__getstate__()['parts'][0]"),
    "what __reduce__ gives": (lambda it: [Made(it)], "[0].__reduce__()[1][0][0]"),
}


@pytest.mark.parametrize("place", PLACES)
def test_each_place_is_named(place: str) -> None:
    """The path says how to get there, and the reason what is wrong with it."""
    make, path = PLACES[place]
    assert culprit(make(x for x in ()), "it") == (f"it{path}", "cannot pickle 'generator' object")
    assert culprit(make(1), "it") is None


def test_the_shortest_way_is_named_where_objects_refer_to_each_other() -> None:
    """A graph with circles is walked once."""
    box = Box(None)
    box.content = [{"parent": box}, Box(box), {"lock": threading.Lock()}]
    assert culprit(box, "box") == ("box.content[2]['lock']", "a lock belongs to this process")


def test_one_of_a_million_records_is_found_without_trying_each() -> None:
    """Neither in a list nor in a chain of lists is anything pickled twice."""
    tried: list[int] = []

    class Counted:
        def __reduce__(self) -> Any:
            tried.append(1)
            return Counted, ()

    records: list[Any] = [{"number": number} for number in range(200_000)]
    records[10]["counted"] = [Counted()]
    records[150_000]["bad"] = (x for x in ())
    assert culprit(records, "records") == ("records[150000]['bad']", "cannot pickle 'generator' object")
    assert len(tried) == 1


def test_deep_graphs_have_a_path_that_can_be_read() -> None:
    """Thousands of levels are walked, and their path is cut in the middle."""
    deep: list[Any] = [(x for x in ())]
    for _ in range(700):
        deep = [deep]
    path, reason = culprit(deep, "deep") or ("", "")
    assert path.startswith("deep[0][0]")
    assert "..." in path
    assert len(path) < 320
    assert reason == "cannot pickle 'generator' object"


@pytest.mark.parametrize("error", [KeyError("odd"), RuntimeError(), OSError(5, "disk"), AssertionError("no")])
def test_whatever_an_object_raises_is_its_reason(error: Exception) -> None:
    """The object is named, and what it said; an error without words is named itself."""

    class Odd:
        def __reduce__(self) -> Any:
            raise error

    path, reason = culprit({"odd": [Odd()]}, "it") or ("", "")
    assert path == "it['odd'][0]"
    named = {"KeyError": "KeyError: 'odd'", "RuntimeError": "RuntimeError"}
    assert reason == named.get(type(error).__name__, str(error))


def test_an_interrupt_is_not_a_reason() -> None:
    """Ctrl-C while a variable is looked at stops the cell."""

    class Slow:
        def __reduce__(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        culprit([Slow()], "it")


def test_what_never_ends_is_named_as_such() -> None:
    """An object that pickles into ever new ones does not take the process with it."""

    class Endless:
        def __reduce__(self) -> Any:
            return Box, (Endless(),)

    assert culprit(Endless(), "it") == ("it", "it is nested too deeply to be pickled")


def test_keys_of_classes_are_not_asked_for_their_words() -> None:
    """A `__repr__` that raises does not hide the culprit."""

    class Key:
        def __repr__(self) -> str:
            raise ValueError("no words")

    def items() -> Iterator[int]:
        yield 1

    assert culprit({Key(): items()}, "it") == ("it[<Key>]", "cannot pickle 'generator' object")
