"""Bytes back to objects: where restored functions and classes live, and what it takes to build them.

What is defined in the notebook (in `__main__`, under its own name) is a *definition*. The graph refers to a
definition by name only; its code is kept apart. On the way back the live definition of that name is used,
so that `isinstance` holds and an edited method takes effect, and the saved one only where there is none.
"""

from __future__ import annotations

import gc
import importlib
import io
import pickle
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import RestoreError
from . import caches, postscripts, stand_ins


class _Nothing:
    def __reduce__(self) -> str:
        return "NOTHING"

    def __repr__(self) -> str:
        return "<nothing>"


NOTHING: Any = _Nothing()
"""Stands for "no value" where None is a value like any other."""


DEFINITIONS = (types.FunctionType, type, caches.CACHED)
"""What a notebook defines under a name."""


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
    outdated: frozenset[str] = frozenset()
    """Saved definitions whose namesakes here are others."""
    reordered: list[Any] = field(default_factory=list)
    """Sets whose elements hash otherwise here than where they were saved, so that their order is another one."""

    def definition(self, qualname: str) -> Any:
        """The live definition of that name, or the saved one.

        Raises:
            RestoreError: there is neither.
        """
        first = qualname.partition(".")[0]
        live = None if first in self.outdated else _resolve(self.namespace, qualname)
        if isinstance(live, DEFINITIONS):
            return live
        if qualname in self.made:
            return self.made[qualname]
        outer, _, inner = qualname.rpartition(".")
        if first not in self.saved:
            raise RestoreError(
                f"the snapshot needs {qualname!r} as the notebook defined it, and it is not defined now. "
                "Nothing was touched: run the cell that defines it, then this one"
            )
        if outer:
            self.made[qualname] = getattr(self.definition(outer), inner)
        else:
            (self.made[qualname],) = load(self.saved[qualname], (), self)
        return self.made[qualname]

    @contextmanager
    def furnished(self, modules: Mapping[str, str]) -> Iterator[None]:
        """Have modules, by their aliases, and the saved definitions in the namespace, out again if the block fails.

        Methods look for them while objects are built: a `__setstate__` makes a new `threading.Lock()`.

        Raises:
            RestoreError: one cannot be built here.
        """
        before = dict(self.namespace)
        try:
            self.namespace.update({alias: find(name) for alias, name in modules.items() if alias not in before})
            with self.active():
                for name in self.saved:
                    self.definition(name)
            self.namespace.update({name: made for name, made in self.made.items() if "." not in name})
            yield
        except BaseException:
            for name in self.namespace.keys() - before.keys():
                del self.namespace[name]
            self.namespace.update(before)
            raise

    @contextmanager
    def active(self) -> Iterator[None]:
        token = _home.set(self)
        try:
            yield
        finally:
            _home.reset(token)


_home: ContextVar[Home] = ContextVar("nbckpt home")


def load(stream: Any, buffers: Iterable[Any], home: Home) -> list[Any]:
    """Build the graphs again that were pickled one after another. Nothing outside `home` is touched.

    Raises:
        RestoreError: a module, class or attribute that they need is not here, or is another than it was.
    """
    file, left = io.BytesIO(stream), iter(buffers)
    end = len(file.getbuffer())
    found = []
    with home.active(), quiet(), uncollected():
        try:
            while file.tell() < end:
                unpickler = _Unpickler(file, left, home.namespace)
                graph, late = unpickler.load()
                home.reordered += postscripts.heed(late, unpickler.load())
                found.append(graph)
        except RestoreError:
            raise
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        except Exception as error:
            raise RestoreError(
                f"a saved object cannot be rebuilt here ({type(error).__name__}: {error}). Nothing was touched: if "
                "packages or definitions are others than when it was saved, use those; if not, its class does not come "
                "back from a pickle: mend its __reduce__ or __setstate__ or teach nbckpt with nbckpt.register, and "
                "start over with --fresh; --verify tells at the start of a run whether it does"
            ) from error
    return found


def find(module: str) -> types.ModuleType:
    """Import a module that a snapshot needs.

    Raises:
        RestoreError: it is not here.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise _missing(error) from error


def _missing(error: ModuleNotFoundError) -> RestoreError:
    return RestoreError(
        f"the snapshot needs the package {error.name!r}, which is not installed here. Nothing was touched: install it "
        "and run the cell again"
    )


class _Unpickler(pickle.Unpickler):
    """Builds one graph, and knows what words in it stand for."""

    def __init__(self, file: io.BytesIO, buffers: Iterator[Any], namespace: dict[str, Any]) -> None:
        super().__init__(file, buffers=buffers)
        self._namespace = namespace
        self._found: dict[str, Any] = {}

    def persistent_load(self, word: str) -> Any:
        return stand_ins.find(word, self._namespace, self._found)


def is_inner(function: types.FunctionType) -> bool:
    """Whether a function belongs to a module, under no name by which it could be found there."""
    module = sys.modules.get(function.__module__ or "")
    return (
        module is not None
        and vars(module) is function.__globals__
        and _resolve(vars(module), function.__qualname__) is not function
        and "<" in function.__qualname__
    )


def is_definition(thing: Any) -> bool:
    """Whether this function or class can be found in the notebook under its own name."""
    if getattr(thing, "__module__", None) != "__main__":
        return False
    return _resolve(vars(sys.modules["__main__"]), thing.__qualname__) is thing


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Python 3.12 and 3.13 from saying that 3.14 pickles no itertools; there they are replayed instead."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Pickle, copy, and deepcopy support", DeprecationWarning)
        yield


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector away while many objects are pickled or built: it would go through them all, again and
    again, and finalizers of the user's would run in the middle."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _resolve(namespace: Mapping[str, Any], qualname: str) -> Any:
    first, *rest = qualname.split(".")
    found = namespace.get(first)
    for name in rest:
        found = getattr(found, name, None)
    return found


# ---------------------------------------------------------------------------------------------------------
# what pickles call


def definition(qualname: str) -> Any:
    """The notebook's own function or class of that name."""
    return _home.get().definition(qualname)


def make_class(name: str, make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """A class of the notebook, known before it is filled: what it holds may be derived from it, or hold it too.

    `__init_subclass__` is not called, nor is what a metaclass of the notebook does: what they did when the class
    was defined is part of what was saved.
    """
    given = [types.resolve_bases(part) for part in arguments if isinstance(part, tuple)]  # one may be `Generic[T]`
    bases = [kind for part in given for base in part if isinstance(base, type) for kind in base.__mro__]
    metaclasses = [kind for part in arguments[:1] if isinstance(part, type) for kind in part.__mro__]
    wanted = [(kind, "__init_subclass__") for kind in bases]
    wanted += [(kind, hook) for kind in metaclasses for hook in ("__new__", "__init__", "__prepare__")]
    hooks = {
        (kind, hook): vars(kind)[hook]
        for kind, hook in wanted
        if hook in vars(kind) and (kind.__module__ == "__main__" or f"{kind.__module__}.{kind.__qualname__}" in _TOLD)
    }
    for kind, hook in hooks:
        delattr(kind, hook)
    try:
        made = _home.get().made[name] = make(*arguments)
    finally:
        for (kind, hook), found in hooks.items():
            setattr(kind, hook, found)  # as it was found, not as it is called
    return made


_TOLD = {"flax.struct.PyTreeNode"}
"""Classes of libraries that are told of a derived class once it is filled."""


def make_function(
    code: types.CodeType, name: str, cells: tuple[types.CellType, ...], module: str | None = None
) -> types.FunctionType:
    """A function of the notebook, or of a module, that has no name there; its globals are the namespace itself."""
    namespace = _home.get().namespace if module is None else vars(importlib.import_module(module))
    return types.FunctionType(code, namespace, name, None, cells)


def fill_function(function: types.FunctionType, state: dict[str, Any]) -> None:
    """Give such a function what it closes over, and its attributes."""
    for cell, contents in state["cells"]:
        if contents is not NOTHING:
            cell.cell_contents = contents
    for name, value in state["attributes"].items():
        setattr(function, name, value)
    function.__dict__.update(state["dict"])


def fill_cell(cell: types.CellType, contents: tuple[Any]) -> None:
    """Give a closure's cell, that is known for itself, what it holds."""
    if contents[0] is not NOTHING:
        cell.cell_contents = contents[0]
