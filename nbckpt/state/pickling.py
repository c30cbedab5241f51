"""Objects to bytes and back: one graph, big buffers out of band, the notebook's own classes and functions.

What is defined in the notebook (in `__main__`, under its own name) is a *definition*. The graph refers to a
definition by name only; its code is kept apart. On the way back the live definition of that name is used,
so that `isinstance` holds and an edited method takes effect, and the saved one only where there is none.
Functions without such a name (lambdas, closures) are data: they travel in the graph, and their globals are
the namespace itself, not a copy of it.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import cloudpickle

from ..errors import RestoreError, UnpicklableError
from . import adapters

OUT_OF_BAND = 1 << 14
"""Buffers of at least this many bytes leave the pickle stream."""


class _Nothing:
    def __reduce__(self) -> str:
        return "NOTHING"

    def __repr__(self) -> str:
        return "<nothing>"


NOTHING: Any = _Nothing()
"""Stands for "no value" where None is a value like any other."""


_Result = TypeVar("_Result")


class _Writable(Protocol):
    def write(self, data: Any, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Pickled:
    """One pickled graph. `buffers` are views of live memory: write or copy them before the loop goes on."""

    stream: memoryview
    buffers: list[memoryview]
    definitions: dict[str, Any]
    """The notebook's functions and classes that the graph refers to, by name."""

    @property
    def nbytes(self) -> int:
        return self.stream.nbytes + sum(buffer.nbytes for buffer in self.buffers)


def dump(root: Any) -> Pickled:
    """Pickle a graph.

    Raises:
        UnpicklableError: something in it cannot be pickled; `culprit` finds out where.
    """

    def work() -> Pickled:
        stream, buffers = io.BytesIO(), list[memoryview]()
        definitions = _pickle_into(stream, root, buffers.append)
        return Pickled(memoryview(stream.getvalue()), buffers, definitions)

    return _with_room(work)


def digest(root: Any) -> str | None:
    """A hash of a graph's pickle, for telling whether it changed within one process; None if it has no pickle."""
    import xxhash

    def work() -> str:
        hasher = xxhash.xxh3_128()
        _pickle_into(_Sink(hasher.update), root, hasher.update)
        return str(hasher.hexdigest())

    try:
        return _with_room(work)
    except UnpicklableError:
        return None


def probe(root: Any) -> dict[str, Any]:
    """Pickle a graph into nothing; return the definitions that it refers to, by name.

    Raises:
        UnpicklableError: as `dump`.
    """
    return _with_room(lambda: _pickle_into(_Sink(_discard), root, _discard))


def load(stream: Any, buffers: Iterable[Any], home: Home) -> Any:
    """Build the graph again. Nothing outside `home` is touched.

    Raises:
        RestoreError: a module, class or attribute that it needs is not here, or is another than it was.
    """
    with home.active(), quiet():
        try:
            return pickle.loads(stream, buffers=buffers)
        except RestoreError:
            raise
        except ModuleNotFoundError as error:
            raise RestoreError(
                f"the snapshot needs the package {error.name!r}, which is not installed here. "
                "Nothing was touched: install it and run the cell again"
            ) from error
        except Exception as error:
            raise RestoreError(
                f"a saved object cannot be rebuilt here ({type(error).__name__}: {error}). Nothing was touched: "
                "use the packages and definitions it was saved with, or start over with --fresh"
            ) from error


def build(state: Stored, definitions: Stored, home: Home) -> Any:
    """Build a saved graph, and the saved definitions that `home` lacks.

    Raises:
        RestoreError: as `load`.
    """
    home.saved = pickle.loads(definitions.stream)
    root = load(state.stream, state.buffers, home)
    with home.active():
        for name in home.saved:
            home.definition(name)
    return root


class Stored(Protocol):
    """A part of a snapshot as it comes out of a store."""

    @property
    def stream(self) -> Any: ...

    @property
    def buffers(self) -> Any: ...


@dataclass(slots=True)
class Home:
    """Where restored functions and classes live: their namespace, and the saved definitions for what it lacks."""

    namespace: dict[str, Any]
    saved: Mapping[str, bytes] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    """Definitions that had to be built from the snapshot, by name."""

    def definition(self, qualname: str) -> Any:
        """The live definition of that name, or the saved one.

        Raises:
            RestoreError: there is neither.
        """
        live = _resolve(self.namespace, qualname)
        if isinstance(live, (types.FunctionType, type)):
            return live
        if qualname in self.made:
            return self.made[qualname]
        outer, _, inner = qualname.rpartition(".")
        if qualname.partition(".")[0] not in self.saved:
            raise RestoreError(
                f"the snapshot needs {qualname!r} as the notebook defined it, and it is not defined now. "
                "Nothing was touched: run the cell that defines it, then this one"
            )
        if outer:
            return getattr(self.definition(outer), inner)
        self.made[qualname] = load(self.saved[qualname], (), self)
        return self.made[qualname]

    @contextmanager
    def active(self) -> Iterator[None]:
        token = _home.set(self)
        try:
            yield
        finally:
            _home.reset(token)


_home: ContextVar[Home] = ContextVar("nbckpt home")


def pickle_definitions(definitions: Mapping[str, Any]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Pickle the code of definitions, and of those they refer to in turn, each by itself.

    Returns their pickles, and the reasons why some have none: those must be defined again to resume.
    """
    result: dict[str, bytes] = {}
    failed: dict[str, str] = {}
    waiting = dict(definitions)
    while waiting:
        name, definition = waiting.popitem()
        stream = io.BytesIO()
        try:
            found = _pickle_into(stream, definition, None, by_value=name)
        except UnpicklableError as error:
            failed[name] = str(error)
        else:
            result[name] = stream.getvalue()
            waiting |= {other: found[other] for other in found.keys() - result.keys() - failed.keys()}
    return result, failed


def is_definition(thing: Any) -> bool:
    """Whether this function or class can be found in the notebook under its own name."""
    if getattr(thing, "__module__", None) != "__main__":
        return False
    return _resolve(vars(sys.modules["__main__"]), thing.__qualname__) is thing


def culprit(value: Any, path: str) -> tuple[str, str]:
    """Find what in a value cannot be pickled: its path, like `trainer.logger.lock`, and the reason.

    Walks down from a value that is known to fail, to a part that fails though all of its own parts do not. It
    stops after 50 steps: each of them tries what is left.
    """
    seen: set[int] = set()
    reason = ""
    while id(value) not in seen and len(seen) < 50:
        seen.add(id(value))
        try:
            probe(value)
        except _TooDeepError as error:
            return path, str(error)
        except UnpicklableError as error:
            reason = str(error)
        for name, part in _parts(value):
            try:
                probe(part)
            except UnpicklableError as error:
                value, path, reason = part, path + name, str(error)
                break
    return path, reason


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", part) for key, part in list(value.items()))
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    if isinstance(value, types.FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if (contents := _contents(cell)) is not NOTHING:
                yield f".<{name}>", contents
    if isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    yield from ((f".{name}", part) for name, part in list(getattr(value, "__dict__", {}).items()))
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield f".{name}", getattr(value, name)


# ---------------------------------------------------------------------------------------------------------
# pickling


def _pickle_into(
    stream: _Writable, root: Any, take: Callable[[memoryview], Any] | None, by_value: str = ""
) -> dict[str, Any]:
    """Pickle, and return the definitions met; `by_value` names one whose code is wanted, not its name."""
    pickler = _Pickler(stream, take, by_value)
    try:
        with quiet():
            pickler.dump(root)
    except Exception as error:  # whatever the objects' own code raises while it is pickled
        if RecursionError in (type(error), type(error.__cause__)):  # cloudpickle wraps it
            raise _TooDeepError("it is nested too deeply to be pickled") from error
        raise UnpicklableError(f"{error}" or type(error).__name__) from error
    return pickler.definitions


class _TooDeepError(UnpicklableError):
    """The pickler ran out of stack."""


def _with_room(work: Callable[[], _Result]) -> _Result:
    """Do work that pickles, and where that runs out of stack, once more in a thread that has a big one.

    Raises:
        UnpicklableError: as the work does.
    """
    try:
        return work()
    except _TooDeepError as error:
        outcome: list[_Result] = []
        failure: list[UnpicklableError] = [error]

        def deep() -> None:
            try:
                outcome.append(work())
            except UnpicklableError as again:
                failure[0] = again

        _run_deep(deep)
        if outcome:
            return outcome[0]
        raise failure[0] from None


def _run_deep(work: Callable[[], None]) -> None:
    """Run in a thread of its own, with 10 KiB of stack for each level that it may go down."""
    size, limit = threading.stack_size(1 << 29), sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)
    try:
        thread = threading.Thread(target=work, name="nbckpt pickling")
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(limit)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, stream: _Writable, take: Callable[[memoryview], Any] | None, by_value: str) -> None:
        def callback(buffer: pickle.PickleBuffer) -> bool:
            """Tell the pickler whether to keep a buffer in its stream."""
            raw = buffer.raw()
            if raw.nbytes < OUT_OF_BAND:
                return True
            assert take is not None  # noqa: S101
            take(raw)
            return False

        super().__init__(stream, protocol=5, buffer_callback=callback if take else None)
        # flat, because cloudpickle's chain of tables is looked up in Python for each object
        self.dispatch_table: dict[Any, Any] = dict(cloudpickle.Pickler.dispatch_table)
        self.definitions: dict[str, Any] = {}
        self._by_value = by_value
        self._cells: set[int] = set()
        """The closure cells of functions that are pickled here rather than by cloudpickle."""
        self._rules: dict[type, adapters.Reduce | None] = {}

    def reducer_override(self, thing: Any) -> Any:
        kind = type(thing)
        if kind is types.FunctionType or issubclass(kind, type):
            return self._reduce_code(thing)
        if kind is types.CellType and id(thing) in self._cells:
            # its contents follow with the function that it belongs to, which they may refer to
            return types.CellType, ()
        if kind is types.CellType:
            return types.CellType, (), (_contents(thing),), None, None, _fill_cell
        try:
            rule = self._rules[kind]
        except KeyError:
            rule = self._rules[kind] = adapters.rule_for(kind)
        return rule(thing) if rule else NotImplemented

    def _reduce_code(self, thing: Any) -> Any:
        if is_definition(thing):
            outermost = thing.__qualname__.partition(".")[0]
            if outermost != self._by_value:
                self.definitions[outermost] = vars(sys.modules["__main__"])[outermost]
                return _definition, (thing.__qualname__,)
        if isinstance(thing, types.FunctionType) and thing.__globals__ is vars(sys.modules["__main__"]):
            self._cells.update(map(id, thing.__closure__ or ()))
            return _reduce_function(thing)
        if isinstance(thing, types.FunctionType) and _is_inner(thing):
            self._cells.update(map(id, thing.__closure__ or ()))
            return _reduce_function(thing, thing.__module__)
        return super().reducer_override(thing)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Python 3.12 and 3.13 from saying that 3.14 pickles no itertools; there they are replayed instead."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Pickle, copy, and deepcopy support", DeprecationWarning)
        yield


class _Sink:
    def __init__(self, take: Callable[[Any], Any]) -> None:
        self.write = take


def _discard(_: Any) -> None:
    pass


def _resolve(namespace: Mapping[str, Any], qualname: str) -> Any:
    first, *rest = qualname.split(".")
    found = namespace.get(first)
    for name in rest:
        found = getattr(found, name, None)
    return found


def _definition(qualname: str) -> Any:
    return _home.get().definition(qualname)


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return NOTHING


def _fill_cell(cell: types.CellType, contents: tuple[Any]) -> None:
    if contents[0] is not NOTHING:
        cell.cell_contents = contents[0]


def _is_inner(function: types.FunctionType) -> bool:
    """Whether a function belongs to a module, under no name by which it could be found there."""
    module = sys.modules.get(function.__module__ or "")
    return (
        module is not None
        and vars(module) is function.__globals__
        and _resolve(vars(module), function.__qualname__) is not function
        and "<" in function.__qualname__
    )


def _reduce_function(function: types.FunctionType, module: str | None = None) -> Any:
    cells = function.__closure__ or ()
    state = {
        "cells": [(cell, _contents(cell)) for cell in cells],
        "attributes": {
            name: getattr(function, name)
            for name in (
                "__defaults__",
                "__kwdefaults__",
                "__qualname__",
                "__module__",
                "__doc__",
                "__annotations__",
            )
        },
        "dict": function.__dict__,
    }
    made = (function.__code__, function.__name__, cells, module)
    return _make_function, made, state, None, None, _fill_function


def _make_function(
    code: types.CodeType, name: str, cells: tuple[types.CellType, ...], module: str | None = None
) -> types.FunctionType:
    """Make a function of the notebook, or of a module, over the namespace itself."""
    namespace = _home.get().namespace if module is None else vars(importlib.import_module(module))
    return types.FunctionType(code, namespace, name, None, cells)


def _fill_function(function: types.FunctionType, state: dict[str, Any]) -> None:
    for cell, contents in state["cells"]:
        if contents is not NOTHING:
            cell.cell_contents = contents
    for name, value in state["attributes"].items():
        setattr(function, name, value)
    function.__dict__.update(state["dict"])
