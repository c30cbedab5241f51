"""What follows a graph in its stream: what pickle's own way to build it would lose, and is put right afterwards.

That is whose `__dict__` is an object that others have, too, and the order of sets. The postscript is pickled by the
pickler of the graph, so it refers to the very objects of it.
"""

from __future__ import annotations

import functools
import sys
import types
from collections import Counter
from itertools import compress, repeat
from operator import is_
from typing import Any

from . import set_order, stand_ins

Postscript = tuple[tuple[Any, ...], tuple[Any, ...]]
"""Owners of dicts with their dicts, notes of sets."""


def write(things: list[Any], kinds: set[type], owners: list[tuple[Any, Any]]) -> Postscript | None:
    """What is to be said of the things met in a graph; `owners` of dicts are those that share them."""
    sets = {kind for kind in kinds if issubclass(kind, (set, frozenset))}
    notes: tuple[set_order.Note, ...] = ()
    if sets:
        found = [thing for thing in things if type(thing) in sets]
        notes = set_order.notes(found, hashing=bool(stand_ins.hashing_kinds(kinds)))
    dicts = _linked(things, owners) if owners else ()
    return (dicts, notes) if dicts or notes else None


def _linked(things: list[Any], owners: list[tuple[Any, Any]]) -> tuple[tuple[Any, Any], ...]:
    """The owners whose dict is in more than one place in this very graph.

    A class with a `__setstate__` makes of its state what it likes, so its objects keep what that has made.
    """
    candidates = {id(attributes) for _, attributes in owners}
    places = Counter(compress(map(id, things), map(candidates.__contains__, map(id, things))))
    # pickle does not ask for one that is empty, so it is met elsewhere only
    places.update(id(attributes) for _, attributes in owners if not attributes)
    return tuple(
        (owner, attributes)
        for owner, attributes in owners
        if type(attributes) is not dict or (places[id(attributes)] > 1 and not hasattr(type(owner), "__setstate__"))
    )


def heed(late: tuple[Any, ...], postscript: Postscript | None) -> list[Any]:
    """Fill what came empty and put right what is not as it was; return the sets whose order is another one still."""
    dicts, notes = postscript or ((), ())
    for owner, attributes in dicts:
        _descriptor(type(owner)).__set__(owner, attributes)
    for box, contents in late:
        box.update(contents)
    return set_order.put_back(notes)


def owners_of_shared_dicts(things: list[Any], kinds: set[type], boxes: list[Any]) -> list[tuple[Any, Any]]:
    """The objects whose `__dict__` others refer to, too, with it; `boxes` are the dicts met of which that is known."""
    shared = {id(box) for box in boxes if type(box) is dict}
    found: list[tuple[Any, Any]] = []
    for kind in kinds:
        if (descriptor := _descriptor(kind)) is None:
            continue
        owners = list(compress(things, map(is_, map(type, things), repeat(kind))))
        dicts = list(map(descriptor.__get__, owners))
        if all(dicts) and shared.isdisjoint(map(id, dicts)) and {dict}.issuperset(map(type, dicts)):
            continue  # said by C, for there may be millions of them
        dicts.clear()
        owners = list({id(owner): owner for owner in owners}.values())
        for owner, attributes in zip(owners, map(descriptor.__get__, owners), strict=True):
            if id(attributes) in shared or type(attributes) is not dict or not (attributes or _is_own(attributes)):
                found.append((owner, attributes))
    return found


def _is_own(attributes: dict[str, Any]) -> bool:
    """Whether an empty `__dict__`, which pickling does not meet, belongs to one object only."""
    return sys.getrefcount(attributes) <= _counted_once()


@functools.cache
def _counted_once() -> int:
    class Owner:
        pass

    counts: list[int] = []
    owners = [Owner()]
    for _, attributes in zip(owners, map(vars, owners), strict=True):
        counts.append(_count(attributes))
    return counts[0]


def _count(attributes: dict[str, Any]) -> int:
    return sys.getrefcount(attributes)


def _descriptor(kind: type) -> Any:
    """What gives objects of a class written in Python their `__dict__`.

    Others make one when they are asked for it, and behave otherwise when they have one: `functools.partial` does.
    """
    for base in kind.__mro__:
        if isinstance(found := vars(base).get("__dict__"), types.GetSetDescriptorType):
            ours = found.__doc__ == _INSTANCES.__doc__ and not issubclass(kind, (type, types.ModuleType))
            return found if ours else None
    return None


class _Instance:
    pass


_INSTANCES = vars(_Instance)["__dict__"]
"""What a class statement makes."""
