"""How each object is pickled: by name, by an adapter's rule, or as Python pickles it.

Functions of the notebook that have a name there are referred to by it. Those without (lambdas, closures) are
data: they travel in the graph, and their globals are the namespace itself, not a copy of it.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import importlib
import io
import pickle
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import compress
from typing import Any, Protocol

import cloudpickle

from . import adapters, caches, classes, postscripts, stand_ins
from .adapters import live
from .authors import is_users
from .home import NOTHING, definition, fill_cell, fill_function, is_definition, is_inner, make_class, make_function

OUT_OF_BAND = 1 << 14
"""Buffers of at least this many bytes leave the pickle stream."""

Take = Callable[[memoryview], Any]
"""Takes a buffer that leaves the stream."""


class Writable(Protocol):
    """What a pickle is written to."""

    def write(self, data: Any, /) -> object: ...


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles one graph, and knows afterwards what it met.

    `by_value` names a definition whose code is wanted, not its name; `tolerant` picklers step over what cannot
    be pickled: they are there to look. `watched` ones can tell the identities of what they met. `words` say what
    stands for some things, by identity.
    """

    def __init__(
        self,
        stream: Writable,
        take: Take | None,
        by_value: str = "",
        *,
        tolerant: bool = False,
        watched: bool = False,
        words: Mapping[int, str] = types.MappingProxyType({}),
    ) -> None:
        super().__init__(stream, protocol=5, buffer_callback=_callback(take))
        self.met: list[Any] = []
        """All objects met, once each time, if this pickler is watched."""
        self.words = words
        if words:
            self.persistent_id = _telling(self.met, words)
        elif watched:
            self.persistent_id = self.met.append  # called for each object, at the speed of C; None is its answer
        # flat, because cloudpickle's chain of tables is looked up in Python for each object
        self.dispatch_table: dict[Any, Any] = {}
        for table in reversed(cloudpickle.Pickler.dispatch_table.maps):
            self.dispatch_table |= table
        self.definitions: dict[str, Any] = {}
        """The notebook's functions and classes that were met, by name."""
        self._by_value = by_value
        self._tolerant = tolerant
        self._cells: set[int] = set()
        """The closure cells of functions that are pickled here rather than by cloudpickle."""
        self._rules: dict[type, adapters.Reduce | None] = {}
        self._code_as_data: set[int] = set()
        """Functions and classes that travel in the graph, and the globals of such functions."""
        self._by_name: set[int] = set()
        """Things of the process that an adapter refers to by name."""

    def identities(self) -> set[int]:
        """The ids of the objects met that can be told from an equal one, and that others may refer to.

        They hold as long as this pickler lives, since it keeps what it has met alive.
        """
        telling = {kind for kind in self.kinds if not _is_plain(kind)} - _BOXES
        found = set(map(id, _of(telling, self.things)))
        found |= set(map(id, self.boxes))
        found |= {id(attributes) for _, attributes in self.owners}
        found |= set(map(id, _held_by(_shared(_of(_HOLDERS & self.kinds, self.things)))))
        found |= {key for key, word in self.words.items() if stand_ins.is_shared(word)}
        found -= {key for key, word in self.words.items() if stand_ins.is_live(word)}
        return (found | self._code_as_data) - self._by_name

    @functools.cached_property
    def things(self) -> list[Any]:
        """What was met, without the plain values that there are most of: those refer to nothing."""
        return list(compress(self.met, map(_Telling().__getitem__, map(type, self.met))))

    @functools.cached_property
    def kinds(self) -> set[type]:
        """The classes of these things."""
        return set(map(type, self.things))

    @functools.cached_property
    def boxes(self) -> list[Any]:
        """The dicts and lists met that are referred to from more than one place."""
        return list(_shared(_of(_BOXES & self.kinds, self.things)))

    @functools.cached_property
    def owners(self) -> list[tuple[Any, Any]]:
        """The objects met whose `__dict__` others refer to, too, with it."""
        return postscripts.owners_of_shared_dicts(self.things, self.kinds, self.boxes)

    def words_to_use(self, stream: bytes) -> dict[int, str]:
        """More words that are to stand for some things met: with them the graph is to be pickled again."""
        floats = stand_ins.not_numbers(self.met) if stand_ins.may_hold_not_numbers(stream) else {}
        return stand_ins.words_for(self.things, self.kinds, self.boxes, floats, self.words)

    def postscript(self) -> postscripts.Postscript | None:
        """What is to follow the graph; what is met from here on is no part of it."""
        said = postscripts.write(self.things, self.kinds, self.owners)
        self.persistent_id = _telling(None, self.words)
        return said

    def reducer_override(self, thing: Any) -> Any:
        if self._tolerant:
            return self._reduce_what_can_be(thing)
        return self._reduce(thing)

    def _reduce(self, thing: Any) -> Any:
        kind = type(thing)
        if kind is types.FunctionType or issubclass(kind, (type, caches.CACHED)):
            return self._reduce_code(thing)
        if kind is types.CellType and id(thing) in self._cells:
            # its contents follow with the function that it belongs to, which they may refer to
            return types.CellType, ()
        if kind is types.CellType:
            return types.CellType, (), (contents(thing),), None, None, fill_cell
        return self._reduce_by_rule(thing)

    def _reduce_by_rule(self, thing: Any) -> Any:
        kind = type(thing)
        try:
            rule = self._rules[kind]
        except KeyError:
            rule = self._rules[kind] = adapters.rule_for(kind)
        if rule is None:
            return NotImplemented
        reduced = rule(thing)
        if reduced is not NotImplemented and len(reduced) == 2 and not reduced[1]:
            self._by_name.add(id(thing))
        return reduced

    def _reduce_code(self, thing: Any) -> Any:
        if is_definition(thing):
            outermost = thing.__qualname__.partition(".")[0]
            if outermost != self._by_value:
                self._note_definitions(thing)
                return definition, (thing.__qualname__,)
            if isinstance(thing, type) and isinstance(made := self._reduce_class(thing), tuple):
                make, arguments, *rest = made
                return (make_class, (thing.__qualname__, make, arguments), *rest)
        if isinstance(thing, types.FunctionType) and (rule := adapters.rule_for_function(thing)):
            self._code_as_data.add(id(thing))
            return rule(thing)
        if isinstance(thing, types.FunctionType):
            notebooks = thing.__globals__ is vars(sys.modules["__main__"])
            if notebooks or is_inner(thing):
                self._cells.update(map(id, thing.__closure__ or ()))
                self._code_as_data.add(id(thing))
                return reduce_function(thing, None if notebooks else thing.__module__)
        if isinstance(thing, caches.CACHED):
            # with a definition's code goes an empty cache: what it holds is the definition's state
            held = None if self._by_value else caches.contents(thing)
            made = (thing.__wrapped__, *thing.cache_parameters().values())
            return caches.rebuild, made, held, None, None, caches.fill
        if (reduced := self._reduce_by_rule(thing)) is not NotImplemented:
            return reduced
        _import_module_of(thing)
        reduced = self._reduce_class(thing) if isinstance(thing, type) else super().reducer_override(thing)
        if reduced is not NotImplemented:
            self._code_as_data |= {id(thing), id(getattr(thing, "__globals__", thing))}
        return reduced

    def _note_definitions(self, thing: Any) -> None:
        """Take note of what the graph refers to by name; of a class also what it is derived from, and made by."""
        kind: Any = type(thing)
        kinds = (*thing.__mro__, *kind.__mro__) if isinstance(thing, type) else ()
        for one in (thing, *kinds):
            outermost = one.__qualname__.partition(".")[0]
            if outermost not in self.definitions and is_definition(one):
                self.definitions[outermost] = vars(sys.modules["__main__"])[outermost]

    def _reduce_class(self, kind: type) -> Any:
        reduced = super().reducer_override(kind)
        return classes.completed(kind, reduced) if isinstance(reduced, tuple) else reduced

    def _reduce_what_can_be(self, thing: Any) -> Any:
        """The same, but where that fails, something that stands for the thing."""
        try:
            return self.completed(thing, self._reduce(thing))
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - whatever the objects' own code raises while it is pickled
            return type(NOTHING), ()

    def completed(self, thing: Any, reduced: Any) -> Any:
        """What an object consists of, also where there is no rule and pickle itself would ask it.

        NotImplemented for a class or function, which is then saved by name.
        """
        if reduced is not NotImplemented or isinstance(thing, (type, types.FunctionType)):
            return reduced
        rule = self.dispatch_table.get(type(thing))
        return rule(thing) if rule else thing.__reduce_ex__(5)


_PythonPickler: Any = pickle._Pickler  # noqa: SLF001 - there is no public one


class DeepPickler(_PythonPickler):  # type: ignore[misc]
    """Pickles as another pickler would, for structures deeper than the C stack allows: slowly, to any depth."""

    def __init__(self, stream: Writable, take: Take | None, like: Pickler) -> None:
        super().__init__(stream, protocol=5, buffer_callback=_callback(take))
        self.like = like
        self.dispatch_table = like.dispatch_table

    def persistent_id(self, thing: Any) -> str | None:
        """What stands for a thing, if anything does."""
        word: str | None = self.like.persistent_id(thing)
        return word

    def save(self, thing: Any, save_persistent_id: bool = True) -> None:  # noqa: FBT001, FBT002 - as inherited
        """Save one object; by calls that need no C stack, as those of the inherited method do for instances."""
        if id(thing) in self.memo:
            super().save(thing, save_persistent_id)
            return
        reduced = self.like.reducer_override(thing)
        if reduced is NotImplemented:
            if type(thing) in self.dispatch or isinstance(thing, type):
                super().save(thing, save_persistent_id)
                return
            reduced = self.like.completed(thing, reduced)
        if isinstance(reduced, str):
            self.save_global(thing, reduced)
            return
        self.persistent_id(thing)
        make, arguments, *more = reduced
        state, items, pairs, setter = [*more, None, None, None, None][:4]
        self.save_reduce(make, arguments, state, items, pairs, setter, obj=thing)


def _telling(met: list[Any] | None, words: Mapping[int, str]) -> Callable[[Any], str | None]:
    """What tells a pickler the word for a thing; it does not know the pickler, which would keep itself alive."""

    def word(thing: Any) -> str | None:
        if met is not None:
            met.append(thing)
        return words.get(id(thing))

    return word


def _callback(take: Take | None) -> Callable[[pickle.PickleBuffer], bool] | None:
    if take is None:
        return None

    def keep(buffer: pickle.PickleBuffer) -> bool:
        """Tell the pickler whether to keep a buffer in its stream."""
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND:
            return True
        take(raw)
        return False

    return keep


def reduce_function(function: types.FunctionType, module: str | None = None) -> Any:
    """What a function without a name is made of: one of the notebook, or of a module."""
    cells = function.__closure__ or ()
    state = {
        "cells": [(cell, contents(cell)) for cell in cells],
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
    return make_function, made, state, None, None, fill_function


def _import_module_of(thing: Any) -> None:
    """Have the module there that a class or function says it is in, as `numpy.rec`, or it is taken for the user's."""
    module = thing.__module__
    if isinstance(module, str) and module not in sys.modules and module.rpartition(".")[0] in sys.modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def contents(cell: types.CellType) -> Any:
    """What a closure's cell holds, or `NOTHING`."""
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return NOTHING


# ---------------------------------------------------------------------------------------------------------
# whose identity means nothing

_BY_NAME = (
    type,  # unless it is data, and so are functions
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
    enum.Enum,
    type(NOTHING),
)
_VALUES = (
    tuple,  # what it holds counts by itself
    frozenset,
    str,
    bytes,
    int,
    float,
    complex,
    range,
    slice,
    types.CodeType,
    types.NoneType,
    types.EllipsisType,
    types.NotImplementedType,
    types.MethodType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    pickle.PickleBuffer,
)
_PLAIN_NAMES = frozenset(
    """
    datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone zoneinfo.ZoneInfo
    decimal.Decimal fractions.Fraction uuid.UUID re.Pattern logging.Logger logging.RootLogger
    pathlib.PurePath pathlib._local.PurePath numpy.dtype numpy.generic numpy.ufunc
    torch.device torch.dtype torch.layout torch.memory_format torch.Size
    pandas._libs.tslibs.timestamps._Timestamp pandas._libs.tslibs.timedeltas._Timedelta
    pandas._libs.missing.NAType pandas._libs.tslibs.nattype._NaT
    pandas.core.dtypes.base.ExtensionDtype pandas._libs.tslibs.offsets.BaseOffset
    """.split()
)


PLAIN: frozenset[type] = frozenset({str, int, float, bool, bytes, types.NoneType})
"""Kinds of which there are most: they refer to nothing, and an equal one is as good, unless it is no number."""

_BOXES: set[type] = {dict, list}
"""Kinds of which there are many, most of them in one place only: those are no sharing, as a look at their count tells.

Only kinds that nobody can refer to without being counted."""


_HOLDERS: set[type] = {tuple, frozenset, types.MethodType, types.BuiltinFunctionType}
"""Kinds that are no sharing by themselves, but what such a thing holds is where the thing is."""


class _Telling(dict[type, bool]):
    """Whether things of a class are to be looked at; one pass of C asks it of millions."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(PLAIN, False))

    def __missing__(self, kind: type) -> bool:
        self[kind] = True
        return True


def _held_by(holders: Iterable[Any]) -> Iterator[Any]:
    """The boxes that some things hold, through others of their kind."""
    for holder in holders:
        held = holder if isinstance(holder, (tuple, frozenset)) else (holder.__self__,)
        yield from _of(_BOXES, list(held))
        yield from _held_by(_of(_HOLDERS, list(held)))


def _of(kinds: set[type], things: list[Any]) -> list[Any]:
    """The things of some kinds; all by C, for there may be millions of them."""
    if not kinds:
        return []
    return list(compress(things, map(kinds.__contains__, map(type, things))))


def _shared(boxes: list[Any]) -> Iterator[Any]:
    """Those that are referred to from more than one place."""
    return compress(boxes, map(_counted_once().__lt__, list(map(sys.getrefcount, boxes))))


@functools.cache
def _counted_once() -> int:
    """What Python counts for a box that is in one place, was met by a pickler, and is asked for as above."""
    pickler = Pickler(io.BytesIO(), None, watched=True)
    pickler.dump([[]])
    return list(map(sys.getrefcount, _of(_BOXES, pickler.things)))[1]


def _has_slots(kind: type) -> bool:
    return is_users(kind) and any(isinstance(part, types.MemberDescriptorType) for part in vars(kind).values())


@functools.lru_cache(maxsize=4096)
def _is_plain(kind: type) -> bool:
    """Whether one of two equal objects of a class is as good as the other."""
    if issubclass(kind, _BY_NAME):
        return True
    if is_users(kind) and (kind.__dictoffset__ or any(map(_has_slots, kind.__mro__[:-1]))):
        return False
    if issubclass(kind, _VALUES) and not kind.__dictoffset__:
        return True
    if kind.__name__ in ("cython_function_or_method", "fused_cython_function"):  # a class in each library
        return True
    if live.is_kind(kind, "numpy.void"):  # it looks into the memory of an array
        return False
    return any(f"{base.__module__}.{base.__qualname__}" in _PLAIN_NAMES for base in kind.__mro__)
