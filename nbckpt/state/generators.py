"""Objects that generate random numbers: `random.Random`, NumPy's, torch's; and where a value holds some."""

from __future__ import annotations

import functools
import random
import sys
import types
from collections.abc import Iterator
from typing import Any

_DEEP, _WIDE = 5, 64
"""How far down, and at how many parts of each thing, to look for generators."""


def state_of(value: Any) -> Any:
    """A generator's state, as something that pickles; None for anything else."""
    if isinstance(value, random.Random):
        return None if isinstance(value, random.SystemRandom) else value.getstate()
    if _is_numpy(value, "Generator"):
        return value.bit_generator.state
    if _is_numpy(value, "RandomState"):
        return value.get_state(legacy=False)
    if _is_torchs(value):
        return value.get_state().numpy().tobytes()
    return None


def put_state(generator: Any, state: Any) -> None:
    """Put a state back."""
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif _is_numpy(generator, "Generator"):
        generator.bit_generator.state = state
    elif _is_numpy(generator, "RandomState"):
        generator.set_state(state)
    elif _is_torchs(generator):
        torch = sys.modules["torch"]
        generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


def found_in(value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The generators in a value, like a loader's or a sampler's own, each once, with the way to it."""
    yield from _found_in(value, (), set())


def _found_in(value: Any, way: tuple[str, ...], seen: set[int]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, _NOTHING_INSIDE) or id(value) in seen:
        return
    seen.add(id(value))
    if state_of(value) is not None:
        yield way, value
    elif len(way) < _DEEP:
        for name, part in _parts(value):
            yield from _found_in(part, (*way, name), seen)


_NOTHING_INSIDE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    str,
    bytes,
    bytearray,
    int,
    float,
    complex,
    type(None),
)


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        parts = [(repr(key), part) for key, part in list(value.items())[:_WIDE] if isinstance(key, (str, int))]
    elif isinstance(value, (list, tuple)):
        parts = [(str(index), part) for index, part in enumerate(value[:_WIDE])]
    elif isinstance(value, functools.partial):
        # looking at its dict makes one, and one that has a dict is no longer merged with a partial around it
        return _parts(value.args) + _parts(value.keywords)
    elif isinstance(value, BaseException):  # the same
        return _parts(value.args)
    elif type(value).__module__ in ("_io", "functools"):
        return []  # the same
    else:
        parts = []
    attributes = getattr(value, "__dict__", None)
    return parts + (list(attributes.items())[:_WIDE] if isinstance(attributes, dict) else [])


def _is_numpy(value: Any, kind: str) -> bool:
    numpy_random = sys.modules.get("numpy.random")
    return numpy_random is not None and isinstance(value, getattr(numpy_random, kind))


def _is_torchs(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Generator)
