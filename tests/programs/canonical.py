"""A namespace in a form that can be compared: its values, and which of them are one and the same object.

Objects that can change are numbered in the order in which a walk over the sorted names meets them. Two
namespaces have equal forms if and only if they hold equal values that share their parts in the same way.
"""

from __future__ import annotations

import enum
import functools
import importlib
import importlib.util
import io
import itertools
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from nbckpt.run.resumable import MARK

_LEAVES = (int, float, complex, str, bytes, bool, type(None), type(...), range, slice)
_VALUES = {"datetime", "decimal", "fractions", "pathlib", "pathlib._local", "uuid", "zoneinfo"}
"""Modules whose objects cannot change: who shares one means nothing."""
_SEQUENCES = (list, tuple)
_SETS = (set, frozenset)


def canonical(names: Mapping[str, Any], namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The form of some names; functions are asked whether their globals are `namespace`."""
    walk = _Walk(namespace)
    return {name: walk.form(names[name]) for name in sorted(names)}


@functools.lru_cache
def _form_of(package: str) -> Callable[[Any, Any], tuple[Any, ...] | None] | None:
    """How the objects of a library are told apart: `form(walk, thing)` in `frameworks/forms/<package>.py`."""
    name = f"frameworks.forms.{package}"
    if not package.isidentifier() or importlib.util.find_spec(name) is None:
        return None
    form: Callable[[Any, Any], tuple[Any, ...] | None] = importlib.import_module(name).form
    return form


class _Walk:
    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self.namespace = namespace
        self.numbers: dict[Any, int] = {}
        self.alive: list[Any] = []

    def form(self, thing: Any) -> Any:
        kind = type(thing)
        if kind in _LEAVES:
            return (kind.__name__, repr(thing))
        if isinstance(thing, types.ModuleType):
            return ("module", thing.__name__)
        if (numpy := sys.modules.get("numpy")) and isinstance(thing, numpy.generic) and kind is not numpy.void:
            return (kind.__name__, repr(thing))
        if kind is tuple:  # made anew at will by the compiler and by itertools: who shares one means nothing
            return ("tuple", [self.form(part) for part in thing])
        if kind is frozenset:
            return ("frozenset", sorted((self.form(part) for part in thing), key=repr))
        if kind.__module__ in _VALUES:
            return (kind.__name__, repr(thing))
        if isinstance(thing, enum.Enum):
            return ("enum", repr(thing), thing is type(thing)(thing.value), self.form(type(thing)))
        if id(thing) in self.numbers:
            return ("again", self.numbers[id(thing)])
        number = self.numbers[id(thing)] = len(self.numbers)
        self.alive.append(thing)
        return (number, *self._contents(thing, kind))

    def _contents(self, thing: Any, kind: type) -> tuple[Any, ...]:
        packages = dict.fromkeys(str(base.__module__).partition(".")[0] for base in kind.__mro__)
        for form in filter(None, map(_form_of, packages)):
            if (found := form(self, thing)) is not None:
                return (kind.__name__, *found)
        if isinstance(thing, type):
            return self._class(thing)
        if kind is types.FunctionType:
            return self._function(thing)
        if kind is types.MethodType:
            return ("method", self.form(thing.__func__), self.form(thing.__self__))
        if kind is types.CellType:
            return ("cell", self._cell(thing))
        if kind in (types.BuiltinFunctionType, types.GeneratorType, types.AsyncGeneratorType, types.CodeType):
            return (kind.__name__, thing.__name__ if hasattr(thing, "__name__") else thing.co_name)
        if isinstance(thing, io.IOBase) and hasattr(thing, "name"):
            return ("file", str(thing.name), thing.closed)
        if str(kind.__module__).startswith("tqdm"):
            return (kind.__name__, thing.n, thing.total, getattr(thing, "desc", None), self.form(thing.iterable))
        if str(kind.__module__).partition(".")[0] == "numpy" and kind.__name__ == "ndarray":
            return self._array(thing)
        if str(kind.__module__).partition(".")[0] == "pandas" and hasattr(thing, "to_dict"):
            return (kind.__name__, self.form(thing.to_dict()), self.form(list(thing.index)))
        if str(kind.__module__).partition(".")[0] == "numpy" and not hasattr(thing, "__dict__"):
            return (kind.__name__, *self._numpy(thing))
        return (self.form(kind), *self._inside(thing))

    def _inside(self, thing: Any) -> tuple[Any, ...]:
        found: list[Any] = []
        if isinstance(thing, dict):
            found.append([(self.form(key), self.form(value)) for key, value in thing.items()])
        elif isinstance(thing, _SEQUENCES):
            found.append([self.form(part) for part in thing])
        elif isinstance(thing, _SETS):
            found.append(sorted((self.form(part) for part in thing), key=repr))
        elif isinstance(thing, (functools.partial, bytearray)) or type(thing).__module__ != "__main__":
            found.append(self._reduced(thing))
            return tuple(found)
        attributes = dict(getattr(thing, "__dict__", {}))
        for base in type(thing).__mro__:
            slots = vars(base).get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else slots:
                if slot not in ("__dict__", "__weakref__") and hasattr(thing, slot):
                    attributes[slot] = getattr(thing, slot)
        found.append([(name, self.form(attributes[name])) for name in sorted(attributes)])
        return tuple(found)

    def _reduced(self, thing: Any) -> Any:
        if isinstance(thing, (itertools.count, itertools.cycle)) or type(thing).__module__ == "itertools":
            return repr(thing) if isinstance(thing, itertools.count) else type(thing).__name__
        if hasattr(thing, "__length_hint__") and hasattr(thing, "__next__") and thing.__length_hint__() == 0:
            return "exhausted"
        try:
            reduced = thing.__reduce_ex__(4)
        except (TypeError, RuntimeError):
            return "unpicklable"
        if isinstance(reduced, str):
            return reduced
        parts = [list(part) if hasattr(part, "__next__") and part is not thing else part for part in reduced[1:]]
        return (getattr(reduced[0], "__name__", "?"), [self.form(part) for part in parts])

    def _class(self, kind: type) -> tuple[Any, ...]:
        if kind.__module__ != "__main__":
            return ("class", f"{kind.__module__}.{kind.__qualname__}")
        looked_up = {"_value2member_map_"} if issubclass(kind, enum.Enum) else set()  # combined flags, once asked for
        own = {
            name: value
            for name, value in vars(kind).items()
            if name not in looked_up
            and not (name.startswith("__") and name.endswith("__"))
            and not isinstance(value, types.MemberDescriptorType)
        }
        at_home = self.namespace.get(kind.__qualname__) is kind
        inside = [(name, self._attribute(own[name])) for name in sorted(own) if not name.startswith("_abc")]
        layout = (kind.__basicsize__, kind.__dictoffset__ != 0, kind.__weakrefoffset__ != 0, type(kind).__name__)
        return ("class", kind.__qualname__, at_home, layout, [self.form(base) for base in kind.__bases__], inside)

    def _attribute(self, value: Any) -> Any:
        if isinstance(value, (staticmethod, classmethod)):
            return (type(value).__name__, self.form(value.__func__))
        if isinstance(value, property):
            return ("property", self.form(value.fget), self.form(value.fset))
        if type(value).__module__ == "builtins" or type(value).__module__ == "__main__":
            return self.form(value)
        return type(value).__name__

    def _function(self, function: types.FunctionType) -> tuple[Any, ...]:
        if function.__module__ != "__main__":
            return ("function", f"{function.__module__}.{function.__qualname__}")
        return (
            "function",
            function.__qualname__,
            function.__code__.co_code,
            function.__globals__ is self.namespace,
            [self.form(cell) for cell in function.__closure__ or ()],
            self.form(function.__defaults__),
            self.form(function.__kwdefaults__),
            # but for where the source of a resumable function is
            [(name, self.form(value)) for name, value in sorted(function.__dict__.items()) if name != MARK],
        )

    def _cell(self, cell: types.CellType) -> Any:
        try:
            return self.form(cell.cell_contents)
        except ValueError:
            return "empty"

    def _array(self, array: Any) -> tuple[Any, ...]:
        owner = array
        while isinstance(owner.base, (type(array), sys.modules["numpy"].void)):
            owner = owner.base
        # arrays share their memory, whatever objects stand between them and it
        start = owner.__array_interface__["data"][0]
        memory = self.numbers.setdefault(("memory", start), len(self.numbers)) if array.size else None
        values = self.form(array.tolist()) if array.dtype == object else array.tobytes()
        offset = array.__array_interface__["data"][0] - start
        return (str(array.dtype), array.shape, values, memory, offset, array.strides, array.flags.writeable)

    def _numpy(self, thing: Any) -> tuple[Any, ...]:
        if hasattr(thing, "bit_generator"):
            return (self.form(thing.bit_generator.state), self.form(thing.bit_generator))
        if hasattr(thing, "get_state"):  # a RandomState
            return (repr(thing.get_state(legacy=False)),)
        return (repr(thing.state),) if hasattr(thing, "state") else (repr(thing),)
