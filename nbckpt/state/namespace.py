"""Which names a cell's state is made of: what it reads and binds, through the functions that it calls."""

from __future__ import annotations

import dis
import functools
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .caches import CACHED
from .home import DEFINITIONS, is_definition

_IPYTHONS = re.compile(
    r"_+|_i+|_i?\d+|In|Out|_[diso]h|_exit_code|get_ipython|exit|quit|open|__\w+__"
    r"|__(compiled_fn|resume_at|builtins_dict|import)_\w+"  # what torch.compile puts beside the code that it runs
)

_ANSWERS = re.compile(r"_{1,3}|_\d+|_i{1,3}|_i\d+")
"""Values of earlier cells, and their texts, that IPython gives names to."""
HISTORY = frozenset({"In", "Out", "_ih", "_oh", "_dh"})
"""What IPython goes on filling while the kernel lives."""

_READS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_NAME", "DELETE_GLOBAL"}
_BINDS_GLOBAL = {"STORE_GLOBAL", "DELETE_GLOBAL"}
_BINDS = _BINDS_GLOBAL | {"STORE_NAME", "DELETE_NAME"}
_READ_TEXT = frozenset(
    "exec eval globals locals vars query run_line_magic run_cell_magic system getoutput user_ns".split()
)
"""What is told in text which names to use: a call of `exec`, `%time`, `df.query`."""


@dataclass(frozen=True, slots=True)
class Names:
    """The global names that some code reads and binds."""

    reads: frozenset[str] = frozenset()
    binds: frozenset[str] = frozenset()

    def __or__(self, other: Names) -> Names:
        return Names(self.reads | other.reads, self.binds | other.binds)


@functools.lru_cache(maxsize=4096)
def names_in(code: types.CodeType, *, module: bool = False, inside: bool = True) -> Names:
    """The global names in a code object and, if `inside`, in the functions that it makes.

    `module` says that the names it binds itself are global, too. Where code is handed over as text, all words in such
    text are names that may be read.
    """
    instructions = [(step.opname, step.argval) for step in dis.get_instructions(code)]
    binding = _BINDS if module else _BINDS_GLOBAL
    names = Names(
        frozenset(name for operation, name in instructions if operation in _READS),
        frozenset(name for operation, name in instructions if operation in binding),
    )
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType) and inside:
            names |= names_in(inner)
        elif isinstance(inner, str) and not _READ_TEXT.isdisjoint(code.co_names):
            names |= Names(frozenset(re.findall(r"[^\W\d]\w*", inner)))
    return names


def names_read_by_calling(names: Iterable[str], namespace: Mapping[str, Any]) -> frozenset[str]:
    """The names read while the notebook's functions of these names are called, not those that what they make reads."""
    found = set(names)
    waiting = list(found)
    while waiting:
        function = namespace.get(waiting.pop())
        if isinstance(function, types.FunctionType) and function.__globals__ is namespace:
            more = names_in(function.__code__, inside=False).reads - found
            found |= more
            waiting += more
    return frozenset(found)


def names_of_code(code: types.CodeType, namespace: Mapping[str, Any]) -> Names:
    """The global names of a function's code, and of the notebook's functions that it calls."""
    own = names_in(code)
    return own | names_of_definitions((namespace.get(name) for name in own.reads), namespace)


def names_of_definitions(values: Iterable[Any], namespace: Mapping[str, Any]) -> Names:
    """The global names that the notebook's functions among some values use, and those that they call in turn."""
    found, seen = Names(), set[str]()
    waiting = list(values)
    while waiting:
        for function in _functions_of(waiting.pop(), namespace):
            names = names_in(function.__code__)
            found |= names
            waiting += [namespace.get(name) for name in names.reads - seen]
            seen |= names.reads
    return found


def _functions_of(value: Any, namespace: Mapping[str, Any], depth: int = 4) -> Iterator[types.FunctionType]:
    """The notebook's functions that using a value may call."""
    if depth == 0:
        return
    parts: list[Any] = []
    if isinstance(value, types.FunctionType):
        if value.__globals__ is namespace:
            yield value
        parts = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        parts.append(getattr(value, "__wrapped__", None))
        parts += getattr(value, "registry", {}).values()  # of functools.singledispatch
    elif isinstance(value, CACHED):
        parts = [value.__wrapped__]
    elif isinstance(value, types.MethodType):
        parts = [value.__func__, value.__self__]
    elif isinstance(value, functools.partial):
        parts = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, (staticmethod, classmethod)):
        parts = [value.__func__]
    elif isinstance(value, property):
        parts = [value.fget, value.fset, value.fdel]
    elif isinstance(value, type):
        maker: Any = type(value)
        kinds = (*value.__mro__, *maker.__mro__)
        if any(getattr(base, "__module__", None) == "__main__" for base in kinds):
            parts = [part for base in kinds for part in vars(base).values()]
            parts = [part for part in parts if callable(part) or hasattr(type(part), "__get__")]
    elif type(value).__module__ == "__main__":
        parts = [type(value)]
    for part in parts:
        yield from _functions_of(part, namespace, depth - 1)


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asking raises when there is nothing
    except ValueError:
        return False
    return True


@dataclass(slots=True)
class Selection:
    """The names that belong to a run's state; it only grows while the run goes on.

    `only` narrows what the analysis found, `exclude` is never saved.
    """

    names: set[str]
    binds: set[str]
    only: frozenset[str] | None = None
    exclude: frozenset[str] = frozenset()
    joined: set[str] = field(default_factory=set)
    """Other names that share objects with these."""
    before: dict[str, int] = field(default_factory=dict)
    """What each user name was bound to when the run began, by identity."""
    _alive: list[Any] = field(default_factory=list)
    """The functions and classes among that: nothing that is defined later gets the identity of one."""

    def start(self, namespace: Mapping[str, Any]) -> None:
        self.before = {name: id(value) for name, value in list(namespace.items())}
        self._alive = [value for value in list(namespace.values()) if isinstance(value, DEFINITIONS)]

    def follow(self, earlier: Selection) -> None:
        """Take what names were bound to before the run from an attempt that failed."""
        self.before, self._alive = earlier.before, earlier._alive

    def is_new(self, name: str, value: Any) -> bool:
        """Whether a name was bound to this since the run began."""
        return self.before.get(name) != id(value)

    def grow(self, names: Names) -> bool:
        """Add what else was found to be used; return whether that was anything."""
        known = len(self.names)
        self.names |= names.reads | names.binds
        self.binds |= names.binds
        return len(self.names) > known

    def held(self, namespace: Mapping[str, Any]) -> dict[str, Any]:
        """The variables that the analysis found."""
        return {name: namespace[name] for name in self.names if name in namespace}

    def chosen(self, namespace: Mapping[str, Any]) -> set[str]:
        """The names to save now: what the analysis found, and what was bound since the run began."""
        if self.only is not None:
            names = set(self.only)
        else:
            rebound = {name for name, value in list(namespace.items()) if self.is_new(name, value)}
            names = {name for name in self.names | rebound if name in self.binds or not is_ipythons(name)}
            names |= {name for name in self.names if _ANSWERS.fullmatch(name)}
        return (names | self.joined) - self.exclude

    def others(self, namespace: Mapping[str, Any]) -> set[str]:
        """The user's names that are not to be saved now, and may be."""
        names = {name for name in list(namespace) if not is_ipythons(name)}
        return names - self.chosen(namespace) - self.exclude


def is_ipythons(name: str) -> bool:
    """Whether a name belongs to IPython or the interpreter rather than to the user."""
    return _IPYTHONS.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Contents:
    """A namespace's chosen names, by what a snapshot does with each."""

    data: dict[str, Any]
    modules: dict[str, str]
    definitions: dict[str, Any]
    missing: list[str]


def sort_names(names: Iterable[str], namespace: Mapping[str, Any]) -> Contents:
    """Tell data from modules and from the notebook's own functions and classes."""
    contents = Contents({}, {}, {}, [])
    for name in sorted(names):
        if name not in namespace:
            contents.missing.append(name)
        elif isinstance(value := namespace[name], types.ModuleType):
            contents.modules[name] = value.__name__
        elif isinstance(value, DEFINITIONS) and value.__qualname__ == name and is_definition(value):
            contents.definitions[name] = value
        elif value is not namespace:
            contents.data[name] = value
    return contents
