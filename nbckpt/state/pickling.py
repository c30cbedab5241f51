"""Objects to bytes: one graph, big buffers out of band, the notebook's own classes and functions by name."""

from __future__ import annotations

import functools
import io
import pickle
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from ..errors import UnpicklableError
from . import stand_ins
from .home import NOTHING, quiet, uncollected
from .picklers import PLAIN, DeepPickler, Pickler, Take


@dataclass(frozen=True, slots=True)
class Pickled:
    """One pickled graph. `buffers` are views of live memory: write or copy them before the loop goes on."""

    stream: memoryview
    buffers: list[memoryview]
    definitions: dict[str, Any]
    """The notebook's functions and classes that the graph refers to, by name."""
    pickler: Pickler | None
    """What has met the objects, and keeps them alive; None where nothing can be shared."""
    has_constants: bool = False
    """Whether there may be a constant in it that is not a number, for which a word stands."""

    stood_for: frozenset[int] = frozenset()
    """The ids of objects for which something else was pickled."""

    def identities(self) -> set[int]:
        """See `Pickler.identities`; they hold as long as what was pickled does."""
        return (self.pickler.identities() if self.pickler else set()) | self.stood_for

    @property
    def nbytes(self) -> int:
        return self.stream.nbytes + sum(buffer.nbytes for buffer in self.buffers)


def dump(root: Any, *, constants: bool = False, stood_for: frozenset[int] = frozenset()) -> Pickled:
    """Pickle a graph; `constants` says that such are to be expected as `Pickled.has_constants` tells of.

    `stood_for` are the identities of what the graph has something else for.

    Raises:
        UnpicklableError: something in it cannot be pickled; `culprit.culprit` finds out where.
    """
    words = stand_ins.constants() if constants else {}
    kept, pickler = _pickle(_Kept, root, whole=True, words=words)
    stream = kept.stream.getvalue()
    has_constants = bool(pickler.words) and stand_ins.has_constants(stream)
    return Pickled(memoryview(stream), kept.buffers, pickler.definitions, pickler, has_constants, stood_for)


def dump_plain(key: Any, value: Any) -> Pickled | None:
    """Pickle a value by a key as `dump` would, if it is one that can share nothing; there may be thousands of them."""
    is_plain = type(value) in PLAIN and value == value  # noqa: PLR0124 - what is no number has an identity
    if not is_plain and value is not NOTHING:
        return None
    return Pickled(memoryview(pickle.dumps(({key: value}, ()), 5) + _NO_POSTSCRIPT), [], {}, None)


_NO_POSTSCRIPT = pickle.dumps(None, 5)


def digest(root: Any) -> str | None:
    """A hash of a graph's pickle, for telling whether it changed within one process; None if it has no pickle."""
    try:
        hashed, _ = _pickle(_Hashed, root, watched=False)
    except UnpicklableError:
        return None
    return str(hashed.hasher.hexdigest())


def probe(root: Any) -> Pickler:
    """Pickle a graph into nothing; what the pickler has met tells about the graph.

    Raises:
        UnpicklableError: as `dump`.
    """
    return _pickle(Discarded, root)[1]


def look(root: Any) -> Pickler:
    """The same for a graph of which parts may be impossible to pickle: they are stepped over.

    Raises:
        UnpicklableError: it has no end.
    """
    return _pickle(Discarded, root, tolerant=True)[1]


def pickle_definitions(definitions: Mapping[str, Any]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Pickle the code of definitions, and of those they refer to in turn, each by itself.

    Returns their pickles, and the reasons why some have none: those must be defined again to resume.
    """
    result: dict[str, bytes] = {}
    failed: dict[str, str] = {}
    waiting = dict(definitions)
    while waiting:
        name, definition = waiting.popitem()
        try:
            kept, pickler = _pickle(_InBand, definition, by_value=name, watched=False)
        except UnpicklableError as error:
            failed[name] = str(error)
        else:
            result[name] = kept.stream.getvalue()
            found = pickler.definitions
            waiting |= {other: found[other] for other in found.keys() - result.keys() - failed.keys()}
    return result, failed


# ---------------------------------------------------------------------------------------------------------
# pickling


class _Sink(Protocol):
    """Where a pickle goes; a new one for each attempt."""

    write: Callable[[Any], object]
    take: Take | None


class _Kept:
    def __init__(self) -> None:
        self.stream, self.buffers = io.BytesIO(), list[memoryview]()
        self.write: Callable[[Any], object] = self.stream.write
        self.take: Take | None = self.buffers.append


class _InBand(_Kept):
    def __init__(self) -> None:
        super().__init__()
        self.take = None


class _Hashed:
    def __init__(self) -> None:
        import xxhash

        self.hasher = xxhash.xxh3_128()
        self.write: Callable[[Any], object] = self.hasher.update
        self.take: Take | None = self.hasher.update


class Discarded:
    """Where a pickle goes that nobody wants: pickling tells what was to be known."""

    def __init__(self) -> None:
        self.write: Callable[[Any], object] = _discard
        self.take: Take | None = _discard


def _discard(_: Any) -> None:
    pass


_SinkKind = TypeVar("_SinkKind", bound=_Sink)


def _pickle(
    make: Callable[[], _SinkKind],
    root: Any,
    by_value: str = "",
    *,
    tolerant: bool = False,
    watched: bool = True,
    whole: bool = False,
    words: Mapping[int, str] = MappingProxyType({}),
) -> tuple[_SinkKind, Pickler]:
    """Pickle, with what is to be said besides if it is to be the `whole`; and again where words stand for things.

    A graph that is deeper than the C stack is done once more, by a pickler that does not need it.

    Raises:
        UnpicklableError: something in it cannot be pickled.
    """

    attempt = functools.partial(
        _attempt, make, root, by_value, tolerant=tolerant, watched=watched, whole=whole, words=words
    )
    try:
        return attempt()
    except TooDeepError:
        return with_room(lambda: attempt(deep=True))


def _attempt(
    make: Callable[[], _SinkKind],
    root: Any,
    by_value: str,
    *,
    tolerant: bool,
    watched: bool,
    whole: bool,
    words: Mapping[int, str],
    deep: bool = False,
) -> tuple[_SinkKind, Pickler]:
    late: tuple[Any, ...] = ()
    while True:
        sink = make()
        pickler = Pickler(sink, sink.take, by_value, tolerant=tolerant, watched=watched, words=words)
        failure: UnpicklableError | None = None
        try:
            with quiet(), uncollected():
                writer = DeepPickler(sink, sink.take, pickler) if deep else pickler
                writer.dump((root, stand_ins.contents(late)))
                writer.dump(pickler.postscript() if whole else None)
        except Exception as error:  # noqa: BLE001 - whatever the objects' own code raises while it is pickled
            failure = refusal(error)
            failure.__cause__ = error
        found: Mapping[int, str] = {}
        if watched and not isinstance(failure, TooDeepError):
            found = pickler.words_to_use(sink.stream.getvalue() if isinstance(sink, _Kept) else b"")
        if found:
            words, late = {**words, **found}, late + stand_ins.late(found, pickler.things)
        elif failure is not None:
            try:
                raise failure
            finally:
                failure = None  # it knows this frame, and the frame what was pickled
        else:
            return sink, pickler


class TooDeepError(UnpicklableError):
    """The pickler ran out of stack."""


def refusal(error: Exception) -> UnpicklableError:
    """What an error that was raised while pickling says: what cannot be pickled, or that the stack does not reach."""
    if RecursionError in (type(error), type(error.__cause__)):  # cloudpickle wraps it
        return TooDeepError("it is nested too deeply to be pickled")
    text = str(error).rstrip(".")
    if len(error.args) > 1 and "{}" in str(error.args[0]):  # an author's slip: the words beside their places
        text = str(error.args[0]).format(*error.args[1:])
    if not text or isinstance(error, KeyError):
        text = ": ".join(filter(None, (type(error).__name__, text)))
    return UnpicklableError(text)


_Result = TypeVar("_Result")


def with_room(work: Callable[[], _Result]) -> _Result:
    """Do work in a thread that has room for structures of a hundred thousand levels."""
    outcome: list[_Result] = []
    failure: list[BaseException] = []

    def deep() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again where it belongs
            failure.append(error)

    size, limit = threading.stack_size(1 << 30), sys.getrecursionlimit()
    sys.setrecursionlimit(600_000)
    try:
        thread = threading.Thread(target=deep, name="nbckpt pickling")
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(limit)
    if failure:
        raise failure.pop()
    return outcome[0]
