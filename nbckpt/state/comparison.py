"""Whether two processes hold the same objects: each describes its own, thing by thing, and the words are compared.

What a library's object is, is what it pickles. Of an object of the user's own classes every attribute counts that
its `__getstate__` does not leave out on purpose: so a `__setstate__` that forgets one is found.
"""

from __future__ import annotations

import enum
import pickle
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

import xxhash

from . import stand_ins
from .adapters import by_hand, live
from .authors import is_users
from .culprit import attributes, reduce, said
from .home import quiet
from .picklers import Pickler, _is_plain
from .pickling import Discarded

_LONGEST = 100
_VALUES = {"datetime", "decimal", "fractions", "ipaddress", "pathlib", "pathlib._local", "re", "uuid", "zoneinfo"}
"""Modules whose objects never change, so that nobody can tell one from an equal one."""

Parts = Iterable[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Line:
    """What is said of one thing: how one gets at it from the thing that has it, and what it is."""

    label: str
    words: str
    spared: tuple[str, ...] = ()
    """Attributes that its class leaves out when it is saved."""


class Description:
    """Goes over the objects that some names stand for, in an order that another process would go in, too."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._numbers: dict[Any, int] = {}
        self._alive: list[Any] = []
        """Everything that has a number, and what is made for the occasion: or its identity is another's soon."""
        self._sets: list[tuple[str, Any]] = []
        """Sets of things that have an identity: they come last, when most elements are known from elsewhere."""
        sink = Discarded()
        self._pickler = Pickler(sink, sink.take)
        self._way: list[str] = []
        self._apart: list[bool] = [False]
        """Whether arrays here share no memory with others, whatever they look into: pandas copies on write."""

    @property
    def path(self) -> str:
        """How one gets at the thing around the line that came last."""
        return "".join(self._way)

    def lines(self) -> Iterator[Line]:
        """One line a thing. Objects that have one already are only said to be the same."""
        yield from self._walk(iter(sorted(self._names.items())))
        while self._sets:
            way, elements = self._sets.pop(0)
            ordered = sorted(elements, key=lambda it: (self._numbers.get(id(it), len(self._numbers)), _summary(it)))
            self._way = [way]
            yield from self._walk((f".<element {index}>", it) for index, it in enumerate(ordered))

    def _walk(self, first: Iterator[tuple[str, Any]]) -> Iterator[Line]:
        """Depth first, without recursion: graphs may be thousands of levels deep."""
        stack = [first]
        while stack:
            for label, thing in stack[-1]:
                words, parts, spared = self._look(thing, label)
                yield Line(label, words, spared)
                if parts is not None:
                    stack.append(iter(parts))
                    self._way.append(label)
                    self._apart.append(self._apart[-1] or _package(type(thing)) == "pandas")
                    break
            else:
                stack.pop()
                self._apart.pop()
                if self._way and stack:
                    self._way.pop()
        self._apart = [False]

    # -- one thing -------------------------------------------------------------------------------------------

    def _look(self, thing: Any, label: str) -> tuple[str, Parts | None, tuple[str, ...]]:
        """What it is in words, and its parts."""
        kind = type(thing)
        if kind in _SAY:
            return cut(f"{kind.__name__} {_SAY[kind](thing)}"), None, ()
        if kind is tuple:  # who shares one means nothing
            return f"tuple of {len(thing)}", _items(thing), ()
        if isinstance(thing, enum.Enum):
            return f"{_named(kind)} {thing.name if thing.name is not None else thing!r}", None, ()
        if isinstance(thing, types.ModuleType):
            return f"module {thing.__name__}", None, ()
        if live.is_kind(kind, "numpy.generic") and not live.is_kind(kind, "numpy.void"):
            return cut(f"numpy {thing.dtype} {thing!r} {thing.tobytes().hex()}"), None, ()
        if kind in (dict, list) and (word := stand_ins.live_word(thing)):
            return f"what this process has for {word}", None, ()
        if (number := self._numbers.get(id(thing))) is not None:
            return f"what was met as number {number}", None, ()
        if isinstance(thing, (type, types.FunctionType)) or not _is_plain(kind):  # type: ignore[arg-type]
            self._number(thing)
        if kind in (set, frozenset):
            return self._set(thing, label)
        if kind is list:
            return f"list of {len(thing)}", _items(thing), ()
        if kind is dict:
            return f"dict of {len(thing)}", _pairs(thing.items()), ()
        if kind is bytearray:
            return f"bytearray of {len(thing)}: {_digest(thing)}", None, ()
        if kind is pickle.PickleBuffer:
            return f"bytes {_digest(thing.raw())}", None, ()
        if live.is_kind(kind, "numpy.ndarray"):
            return self._array(thing)
        return self._object(thing)

    def _number(self, thing: Any) -> None:
        self._numbers[id(thing)] = len(self._numbers)
        self._alive.append(thing)

    def _set(self, thing: Any, label: str) -> tuple[str, Parts | None, tuple[str, ...]]:
        words = f"{type(thing).__name__} of {len(thing)}"
        plain = [_plain(part) for part in thing]
        if None in plain:
            self._sets.append((self.path + label, thing))
            return words, None, ()
        return f"{words}: {_digest(repr(sorted(map(str, plain))).encode())}", None, ()

    def _array(self, array: Any) -> tuple[str, Parts | None, tuple[str, ...]]:
        import numpy as np

        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        start = owner.__array_interface__["data"][0]
        memory = ""
        if not self._apart[-1] and array.size:
            place = array.__array_interface__["data"][0] - start
            memory = f" in memory {self._numbers.setdefault(('memory', start), len(self._numbers))} at {place}"
            self._alive.append(owner)
        flags = "" if array.flags.writeable else " read-only"
        words = f"{_named(type(array))} {array.dtype} {array.shape}{memory}{flags}"
        if array.dtype == object:
            return words, _items(array.reshape(-1).tolist()), ()
        columns = [array[name] for name in array.dtype.names] if array.dtype.names else [array]
        whole = [np.ascontiguousarray(column) for column in columns]
        if any(column.dtype.hasobject for column in whole):
            return words, _items(array.reshape(-1).tolist()), ()
        return f"{words}: {_digest(*(column.reshape(-1).view(np.uint8).data for column in whole))}", None, ()

    def _object(self, thing: Any) -> tuple[str, Parts | None, tuple[str, ...]]:
        """Anything else: what it pickles and, of the user's own classes, its attributes."""
        kind = type(thing)
        if getattr(kind, "__length_hint__", None) and hasattr(kind, "__next__") and thing.__length_hint__() == 0:
            return "an iterator that has ended", None, ()
        try:
            with quiet():
                reduced = reduce(self._pickler, thing)
        except Exception as error:  # noqa: BLE001 - whatever the object's own code raises; it is told
            return cut(f"{_named(kind)} that cannot be pickled: {error}"), None, ()
        if not isinstance(reduced, tuple):
            name = reduced if isinstance(reduced, str) else _named(thing)
            return f"{name}", None, ()
        whole: tuple[Any, ...] = (*by_hand.usual(reduced), None, None, None)
        function, arguments, state, *rest = whole
        items: list[Any] = list(rest[0] or ())
        pairs: list[tuple[Any, Any]] = list(rest[1] or ())
        self._alive += [arguments, state, items, pairs]
        parts = [
            *((f".<part {index}>", part) for index, part in enumerate(arguments)),
            *_items(items),
            *_pairs(pairs),
        ]
        if not is_users(kind) or isinstance(thing, (type, types.FunctionType)):
            name = _named(kind if getattr(function, "__module__", "") == "copyreg" else function)
            return name, [*parts, *_pieces(state)], ()
        own = {name: value for name, value in attributes(thing) if not name.startswith("__")}
        kept = _keys(state)
        spared = tuple(sorted(own.keys() - kept)) if kept is not None else ()
        names = sorted(own.keys() - set(spared))
        parts += [(f".{name}", own[name]) for name in names]
        return cut(f"{_named(kind)}" + (f" with {', '.join(names)}" if names else "")), parts, spared


def differences(mine: Description, theirs: Iterable[Line]) -> tuple[str, list[str]]:
    """Compare one's own objects with what was said of others.

    Returns the first difference as a sentence's middle, or an empty text; and the paths of attributes that are not
    there because the user's own class left them out when it was saved.
    """
    left_out: list[str] = []
    for line, other in zip_longest(mine.lines(), theirs):
        path = mine.path + line.label if line is not None else "something"
        if line is None or other is None or (line.label, line.words) != (other.label, other.words):
            was = line.words if line else "nothing"
            return f"{path} was {was} and came back as {other.words if other else 'nothing'}", left_out
        left_out += [f"{path}.{name}" for name in line.spared if name not in other.spared]
    return "", left_out


def cut(text: str) -> str:
    """A text that differs where a longer one does."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 40]}... ({_digest(text.encode('utf-8', 'surrogatepass'))})"


_SAY: dict[type, Any] = {
    **dict.fromkeys((int, bool, str, bytes, type(None), type(...), type(NotImplemented), range, slice), repr),
    float: float.hex,
    complex: lambda number: f"{number.real.hex()} {number.imag.hex()}",
}


def _digest(*parts: Any) -> str:
    hasher = xxhash.xxh3_128()
    for part in parts:
        hasher.update(part)
    return str(hasher.hexdigest())


def _plain(thing: Any) -> str | None:
    """A text that says all of a thing without an identity; None if it has one, or may contain one that does."""
    kind = type(thing)
    if kind in _SAY:
        return f"{kind.__name__} {_SAY[kind](thing)}"
    if kind in (tuple, frozenset):
        parts = [_plain(part) for part in thing]
        ordered = parts if kind is tuple else sorted(map(str, parts))
        return None if None in parts else f"{kind.__name__} {ordered}"
    if kind.__module__ in _VALUES or isinstance(thing, enum.Enum):
        return f"{_named(kind)} {thing!r}"
    return _named(thing) if isinstance(thing, type) else None


def _summary(thing: Any) -> str:
    """Tells most elements of a set from one another."""
    return _digest(repr([(it.label, it.words) for it in islice(Description({"": thing}).lines(), 200)]).encode())


def _items(parts: Iterable[Any]) -> Parts:
    return ((f"[{index}]", part) for index, part in enumerate(parts))


def _pairs(pairs: Iterable[tuple[Any, Any]]) -> Parts:
    for key, value in pairs:
        text = said(key)
        if type(key) not in _SAY or len(text) >= 60:
            yield f".<key {text}>", key
        yield f"[{text}]", value


def _pieces(state: Any) -> Parts:
    """The parts of what `__getstate__` returned, by the attributes' names where it is the usual dict."""
    if isinstance(state, dict) and all(type(key) is str for key in state):
        return [(f".{name}", state[name]) for name in sorted(state)]
    return [] if state is None else [(".__getstate__()", state)]


def _keys(state: Any) -> set[str] | None:
    """The attributes that a state keeps, if it is one of the usual kind."""
    parts = [part for part in (state if type(state) is tuple and len(state) == 2 else (state,)) if part is not None]
    if parts and all(isinstance(part, dict) for part in parts):
        return {str(key) for part in parts for key in part}
    return None


def _named(thing: Any) -> str:
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None) or type(thing).__qualname__
    module = getattr(thing, "__module__", None)
    return str(name) if module in (None, "builtins", "__main__") else f"{module}.{name}"


def _package(kind: type) -> str:
    return str(kind.__module__).partition(".")[0]
