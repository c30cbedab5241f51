"""What in a value cannot be pickled: found by doing what pickling does, and named by the way to it."""

from __future__ import annotations

import pickle
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from .adapters import by_hand, live
from .home import NOTHING, quiet
from .picklers import DeepPickler, Pickler, contents
from .pickling import Discarded, TooDeepError, refusal, with_room

_LEAVES = {int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented)}
_PLAIN = {*_LEAVES, list, tuple, set, frozenset, dict, bytearray, pickle.PickleBuffer}
_CONTAINERS = {list, tuple, set, frozenset}
_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)

_NO_WORDS: Mapping[int, str] = MappingProxyType({})

_LONGEST = 300
"""Characters of a path that are shown whole."""

Reduced = tuple[Any, ...]
"""What `object.__reduce__` may return, its iterators as lists."""


def culprit(value: Any, path: str) -> tuple[str, str] | None:
    """Find what in a value cannot be pickled: its path, like `trainer.logger.lock`, and the reason; None if nothing.

    A value is pickled once, and then walked once along what the pickler was given, so it is named in linear time.
    """

    def work(*, deep: bool, words: Mapping[int, str] = _NO_WORDS) -> tuple[str, str] | None:
        recorder = Recorder(deep=deep, words=words)
        reason = recorder.try_to_pickle(value)
        if not reason:
            return None
        if more := recorder.words_to_use(b""):  # the culprit may be in what they stand for
            return work(deep=deep, words={**words, **more})
        way = _way(value, recorder.last, recorder.reduced)
        return path + (way if len(way) <= _LONGEST else f"{way[:100]}...{way[-80:]}"), reason

    try:
        return work(deep=False)
    except TooDeepError:
        pass
    try:
        return with_room(lambda: work(deep=True))
    except TooDeepError as error:
        return path, str(error)


class Recorder(Pickler):
    """A pickler that remembers what it was given last, and what each object said it consists of."""

    def __init__(self, *, deep: bool = False, words: Mapping[int, str] = _NO_WORDS) -> None:
        sink = Discarded()
        super().__init__(sink, sink.take, watched=True, words=words)
        self._deep = DeepPickler(sink, sink.take, self) if deep else None
        self.last: Any = NOTHING
        self.reduced: dict[int, tuple[Any, Reduced]] = {}
        """By the object's identity: the object, to keep it alive, and its parts."""

    def try_to_pickle(self, root: Any) -> str:
        """Pickle into nothing; return why that failed, or an empty text.

        Raises:
            TooDeepError: the stack does not reach.
        """
        self.last = root
        try:
            with quiet():
                (self._deep or self).dump(root)
        except Exception as error:
            why = refusal(error)
            if isinstance(why, TooDeepError):
                raise why from error
            return str(why)
        return ""

    def reducer_override(self, thing: Any) -> Any:
        if type(thing) in _PLAIN:  # only a deep pickler asks
            return NotImplemented
        self.last = thing
        reduced = reduce(self, thing)
        if not isinstance(reduced, tuple):
            return reduced
        function, arguments, *rest = reduced
        for index in (1, 2):  # its items, and its pairs of keys and values
            if rest[index:] and rest[index] is not None:
                rest[index] = list(rest[index])
        self.reduced[id(thing)] = thing, by_hand.usual((function, arguments, *rest))
        return function, arguments, *(iter(p) if i in (1, 2) and p is not None else p for i, p in enumerate(rest))


def reduce(pickler: Pickler, thing: Any) -> Any:
    """What a pickler makes of an object: a tuple of parts, a global name, or NotImplemented for a class or function."""
    return pickler.completed(thing, Pickler.reducer_override(pickler, thing))


# ---------------------------------------------------------------------------------------------------------
# the way to it


def _way(root: Any, target: Any, reduced: dict[int, tuple[Any, Reduced]]) -> str:
    """The shortest way from a graph's root to an object in it; empty if there is none."""
    came: dict[int, Any] = {id(root): None}
    waiting = deque([root])
    while waiting and id(target) not in came:
        owner = waiting.popleft()
        for part in _parts(owner, reduced):
            kind = type(part)
            if kind in _LEAVES or id(part) in came:
                continue
            if kind is dict and _LEAVES.issuperset(map(type, part.values())) and _LEAVES.issuperset(map(type, part)):
                continue  # said here, because a million records are to be passed over quickly
            if kind in _CONTAINERS and _LEAVES.issuperset(map(type, part)):
                continue
            came[id(part)] = owner
            waiting.append(part)
    way, part = "", target
    while (owner := came.get(id(part))) is not None:
        way, part = _name(owner, part, reduced) + way, owner
    return way


def _parts(owner: Any, reduced: dict[int, tuple[Any, Reduced]]) -> Iterable[Any]:
    """What the pickler was given for an object, and before it what a person knows better by another name."""
    kind = type(owner)
    if kind in _CONTAINERS:
        return owner  # type: ignore[no-any-return]
    if kind is dict:
        return [*owner.values(), *owner]
    found = [part for _, part in _well_known(owner)]
    if id(owner) in reduced:
        found += [part for _, part in _saved(reduced[id(owner)][1])]
    return found


def _name(owner: Any, part: Any, reduced: dict[int, tuple[Any, Reduced]]) -> str:
    """What a person writes after an object to get at a part of it, as far as there is such a thing."""
    kind = type(owner)
    if kind in (list, tuple):
        return f"[{next(index for index, item in enumerate(owner) if item is part)}]"
    if kind in (set, frozenset):
        return ".<an element>"
    if kind is dict:
        return _key(owner.items(), part)
    for name, known in _well_known(owner):
        if known is part:
            return name
    held = list(attributes(owner))
    for name, known in held:
        if known is part:
            return f".{name}"
    for name, known in held:
        if type(known) in (list, tuple, dict) and any(part is p for p in _parts(known, reduced)):
            return f".{name}{_name(known, part, reduced)}"
    if (fields := getattr(kind, "_fields", None)) and isinstance(owner, tuple) and len(fields) == len(owner):
        return next((f".{name}" for name, known in zip(fields, owner, strict=True) if known is part), "")
    return next((name for name, known in _saved(reduced[id(owner)][1]) if known is part), "")


def _well_known(owner: Any) -> Iterator[tuple[str, Any]]:
    """Parts that a person knows by another name than pickling does."""
    kind = type(owner)
    if kind is types.FunctionType:
        for name, cell in zip(owner.__code__.co_freevars, owner.__closure__ or (), strict=True):
            if (inside := contents(cell)) is not NOTHING:
                yield f".<{name}>", inside
        for index, default in enumerate(owner.__defaults__ or ()):
            yield f".__defaults__[{index}]", default
    elif live.is_kind(kind, "numpy.ndarray") and owner.dtype == object:
        import numpy as np

        for index, item in enumerate(owner.reshape(-1).tolist()):
            place = ", ".join(str(number) for number in np.unravel_index(index, owner.shape))
            yield f"[{place}]", item
    elif kind.__module__.partition(".")[0] == "pandas" and kind.__name__ == "DataFrame":
        for position, column in enumerate(owner.columns):
            yield from _cells(f"[{said(column)}]", owner.iloc[:, position])
    elif kind.__module__.partition(".")[0] == "pandas" and kind.__name__ == "Series":
        yield from _cells("", owner)


def _cells(column: str, series: Any) -> Iterator[tuple[str, Any]]:
    if series.dtype != object:
        return
    for label, item in zip(series.index, series.array, strict=True):
        if type(item) not in _LEAVES:
            yield f"{column}[{said(label)}]", item


def attributes(owner: Any) -> Iterator[tuple[str, Any]]:
    """An object's attributes, without running code of its class: those in its dict, its slots and a built-in's own."""
    yield from list(getattr(owner, "__dict__", {}).items())
    for base in type(owner).__mro__[:-1]:
        for name, descriptor in list(vars(base).items()):
            if isinstance(descriptor, _DESCRIPTORS) and name not in ("__dict__", "__weakref__"):
                try:
                    yield name, descriptor.__get__(owner)
                except Exception:  # noqa: BLE001, S112 - an empty slot, or what a library's own code raises
                    continue


def _saved(reduced: Reduced) -> Iterator[tuple[str, Any]]:
    """The parts that an object was said to consist of; what has no better name is called by the method that said it."""
    function, arguments, state, items, pairs, *more = (*reduced, None, None, None, None)[:6]
    yield ".__reduce__()[0]", function
    for index, part in enumerate(arguments):
        yield f".__reduce__()[1][{index}]", part
    for part in state if type(state) in (tuple, list) else (state,):
        if type(part) is dict:
            yield from ((f".__getstate__()[{said(key)}]", value) for key, value in part.items())
            yield from ((f".__getstate__().<key {said(key)}>", key) for key in part)
        else:
            yield ".__getstate__()", part
    yield from ((f"[{index}]", part) for index, part in enumerate(items or ()))
    for key, value in pairs or ():
        yield f"[{said(key)}]", value
        yield f".<key {said(key)}>", key
    yield from ((".__reduce__()[5]", part) for part in more)


def _key(pairs: Iterable[tuple[Any, Any]], part: Any) -> str:
    for key, value in pairs:
        if value is part:
            return f"[{said(key)}]"
    return f".<key {said(part).strip('<>')}>"


def said(key: Any) -> str:
    """A key as it is written, where that runs no code of a class's own."""
    if (type(key) is tuple and all(type(part) in _LEAVES for part in key)) or type(key) in _LEAVES:
        text = repr(key)
        return text if len(text) <= 60 else f"{text[:57]}..."
    return f"<{type(key).__name__}>"
