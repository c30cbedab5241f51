"""What a pickle says by a word instead of by value, where the value would come back as something else.

A float that is not a number is told from others by its identity only; modules' dicts and what the interpreter goes by
are of this process, and come back as this process has them; and a set or dict whose keys hash by attributes that are
restored after it, because they refer to it, comes empty and is filled when all else is there.
"""

from __future__ import annotations

import functools
import gc
import importlib
import operator
import struct
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from itertools import compress, repeat
from typing import Any

_CONSTANTS = ("numpy", "math", "cmath")
"""Modules that have a `nan`."""
_CONSTANT = "constant"
_BY_NAME = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
_LATE = {dict, set}
"""Containers that can come empty."""


def words_for(
    things: list[Any], kinds: set[type], boxes: list[Any], floats: Mapping[int, str], known: Mapping[int, str]
) -> dict[int, str]:
    """Words for some things met, by identity, besides the `known` ones; `boxes` are those that are shared.

    `floats` has those that `not_numbers` found.
    """
    found = {**dict(_live(boxes)), **floats}
    if kinds & _LATE and (hashing := hashing_kinds(kinds)):
        found |= {id(thing): type(thing).__name__ for thing in _late(things, hashing)}
    new = [(key, word) for key, word in found.items() if key not in known]
    # a number, for two that are alike are not the same
    return {key: word if is_live(word) else f"{word} {index}" for index, (key, word) in enumerate(new, len(known))}


def is_shared(word: str) -> bool:
    """Whether a word stands for a thing of its own, of which there may be one only."""
    return word.startswith("float")


def is_live(word: str) -> bool:
    """Whether a word stands for what is there anyway, wherever it is restored."""
    return not is_shared(word) and not is_filled_late(word)


def is_filled_late(word: str) -> bool:
    """Whether what a word stands for comes empty."""
    return word.startswith(("dict", "set"))


def late(words: Mapping[int, str], things: Iterable[Any]) -> tuple[Any, ...]:
    """The things that come empty and are filled when all else is there."""
    filled = {key for key, word in words.items() if is_filled_late(word)}
    return tuple({id(thing): thing for thing in things if id(thing) in filled}.values()) if filled else ()


def contents(boxes: Iterable[Any]) -> tuple[Any, ...]:
    """What is to fill things that come empty, with the things."""
    return tuple((box, tuple(box.items() if isinstance(box, dict) else box)) for box in boxes)


def live_word(thing: Any) -> str:
    """The word for a thing that every process has; empty for all others."""
    return next((word for _, word in _live([thing])), "")


def find(word: str, namespace: dict[str, Any], found: dict[str, Any]) -> Any:
    """What a word stands for; `found` are those that were made so far."""
    kind, _, name = word.partition(" ")
    if kind == "module":
        return vars(importlib.import_module(name))
    if kind == "sys":
        return getattr(sys, name)
    if kind == _CONSTANT:
        return importlib.import_module(name).nan
    if kind == "namespace":
        return namespace
    if word not in found:
        found[word] = {"dict": dict, "set": set}[kind]() if kind != "float" else _float(name)
    return found[word]


# ---------------------------------------------------------------------------------------------------------
# of this process


def _live(boxes: list[Any]) -> Iterator[tuple[int, str]]:
    for name in ("modules", "path"):
        if any(map(operator.is_, boxes, repeat(getattr(sys, name)))):
            yield id(getattr(sys, name)), f"sys {name}"
    dicts = [box for box in boxes if type(box) is dict]
    for box in compress(dicts, map(dict.__contains__, dicts, repeat("__name__"))):
        name = box["__name__"]
        module = sys.modules.get(name) if isinstance(name, str) else None
        if module is not None and vars(module) is box:
            yield id(box), "namespace" if name == "__main__" else f"module {name}"


# ---------------------------------------------------------------------------------------------------------
# not a number


def may_hold_not_numbers(stream: bytes) -> bool:
    """Whether a pickle may have a float in it that is not a number, of the two forms that there are in practice."""
    return b"G\x7f\xf8" in stream or b"G\xff\xf8" in stream


def not_numbers(met: list[Any]) -> dict[int, str]:
    """Words for the floats met that are no numbers, and that others may refer to."""
    found = _floats(met)
    counts = list(map(sys.getrefcount, found))
    own = {id(value): value for value, count in zip(found, counts, strict=True) if count > _counted_once()}
    known = constants()
    return {key: known.get(key) or f"float {struct.pack('>d', value).hex()}" for key, value in own.items()}


def constants() -> dict[int, str]:
    """Words for those that modules have by a name."""
    there = [name for name in _CONSTANTS if hasattr(sys.modules.get(name), "nan")]
    return {id(sys.modules[name].nan): f"{_CONSTANT} {name}" for name in there}


def has_constants(stream: bytes) -> bool:
    """Whether a pickle may have a word for one of them in it."""
    return _CONSTANT.encode() in stream


def _floats(met: list[Any]) -> list[float]:
    floats = list(compress(met, map(operator.is_, map(type, met), repeat(float))))
    return list(compress(floats, map(operator.ne, floats, floats)))


@functools.cache
def _counted_once() -> int:
    """What Python counts for such a float that is in one place, was met, and is asked for as above."""
    place = [float("nan")]
    met = [place[0]]
    (count,) = list(map(sys.getrefcount, _floats(met)))
    return count


def _float(name: str) -> float:
    (value,) = struct.unpack(">d", bytes.fromhex(name.partition(" ")[0]))
    return float(value)


# ---------------------------------------------------------------------------------------------------------
# keys that refer to where they are keys


def hashing_kinds(kinds: Iterable[type]) -> set[type]:
    """The classes whose objects are hashed by a method written in Python, which looks at their attributes."""
    return {kind for kind in kinds if isinstance(kind.__hash__, types.FunctionType)}


def _late(things: list[Any], hashing: set[type]) -> list[Any]:
    """The sets and dicts that their own keys refer to, in some way, and that hash by their attributes."""
    boxes = {id(thing): thing for thing in things if type(thing) in _LATE and _hashes_of(thing, hashing)}
    if not boxes:
        return []
    there = set(map(id, things))
    return [boxes[key] for ring in _rings(boxes.values(), there) for key in ring if key in boxes]


def _hashes_of(box: Iterable[Any], hashing: set[type]) -> bool:
    """Whether hashing what is in a box, or in tuples in it, asks one of some classes."""
    if not hashing.isdisjoint(map(type, box)):
        return True
    return any(_hashes_of(part, hashing) for part in box if type(part) in (tuple, frozenset))


def _rings(first: Iterable[Any], there: set[int]) -> list[list[int]]:
    """The things that refer to each other, in groups, by identity; after Tarjan, without recursion."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    open_: list[int] = []
    closed: set[int] = set()
    rings: list[list[int]] = []

    def begin(thing: Any) -> tuple[Any, Iterator[Any]]:
        number[id(thing)] = low[id(thing)] = len(number)
        open_.append(id(thing))
        return thing, iter(_held(thing, there))

    for root in first:
        stack = [] if id(root) in number else [begin(root)]
        while stack:
            thing, parts = stack[-1]
            for part in parts:
                if id(part) not in number:
                    stack.append(begin(part))
                    break
                if id(part) not in closed:
                    low[id(thing)] = min(low[id(thing)], number[id(part)])
            else:
                stack.pop()
                if stack:
                    above = id(stack[-1][0])
                    low[above] = min(low[above], low[id(thing)])
                if low[id(thing)] == number[id(thing)]:
                    at = open_.index(id(thing), -len(open_)) if open_[-1] != id(thing) else len(open_) - 1
                    ring = open_[at:]
                    del open_[at:]
                    closed.update(ring)
                    rings += [ring] if len(ring) > 1 else []
    return rings


def _held(thing: Any, there: set[int]) -> list[Any]:
    """What a thing refers to, of what was met or belongs to it alone, like its dict."""
    if isinstance(thing, _BY_NAME):
        return []
    return [part for part in gc.get_referents(thing) if id(part) in there or type(part) is dict]
