"""Random state: the sources that a program draws from, and the generators that variables hold.

A source is what code draws from without naming an object: `random`, NumPy's and torch's global generators, and
what `register_random_source` adds. A library's source is looked at only if the library is imported already, and
nothing here ever draws.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import OptionError, RestoreError, UnpicklableError
from . import adapters, generators
from .culprit import culprit


@dataclass(frozen=True, slots=True)
class Source:
    """Something random numbers come from; of a `library`, if that has a name.

    `capture()` returns its state, which pickles; `restore(state)` puts it back and may return what a person
    should know.
    """

    capture: Callable[[], Any]
    restore: Callable[[Any], Any]
    library: str = ""


def capture() -> dict[str, Any]:
    """The state of the sources in use. Draws from none of them.

    Raises:
        UnpicklableError: a registered one does not tell it, or tells what cannot be saved.
    """
    known = {
        name: source.capture()
        for name, source in _SOURCES.items()
        if not source.library or source.library in sys.modules
    }
    return known | {name: _captured(name, source) for name, source in _registered.items()}


def _captured(name: str, source: Source) -> Any:
    mend = "Nothing was lost: mend the capture function that nbckpt.register_random_source was given"
    try:
        state = source.capture()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UnpicklableError(f"the state of the random source {name!r} cannot be had ({reason}). {mend}") from error
    if found := culprit(state, "it"):
        raise UnpicklableError(f"the state of the random source {name!r} cannot be saved ({found[1]}). {mend}")
    return state


def check(states: Mapping[str, Any]) -> None:
    """Make sure that captured state can be put back.

    Raises:
        RestoreError: it is of a source that is not known here.
    """
    if unknown := sorted(states.keys() - _SOURCES.keys() - _registered.keys()):
        raise RestoreError(
            f"the snapshot holds the state of the random source {unknown[0]!r}, which is not registered here. Nothing "
            "was touched: call nbckpt.register_random_source in a cell before this one, and run the cell again"
        )


def restore(states: Mapping[str, Any]) -> list[str]:
    """Put captured state back; return what a person should know.

    A library that was in use is imported: what it does on import may draw, so this comes before anything else.

    Raises:
        RestoreError: as `check`.
    """
    check(states)
    notices, found = [], {}
    for name in states:
        source = {**_SOURCES, **_registered}[name]
        try:
            if source.library:
                importlib.import_module(source.library)
            found[name] = source
        except ModuleNotFoundError:
            notices.append(f"the random state of {name} was saved, and {name} is not installed here")
    for name, source in found.items():
        if notice := _put_back(name, source, states[name]):
            notices.append(str(notice))
    return notices


def _put_back(name: str, source: Source, state: Any) -> Any:
    try:
        return source.restore(state)
    except Exception as error:
        if name not in _registered:
            raise
        raise RestoreError(
            f"the state of the random source {name!r} cannot be put back ({type(error).__name__}: {error}). Nothing "
            "was lost: mend the restore function that nbckpt.register_random_source was given, and run the cell again"
        ) from error


def register_random_source(name: str, capture: Callable[[], Any], restore: Callable[[Any], Any]) -> None:
    """Make the state of another global random generator part of every snapshot.

    `capture()` returns its state as something that pickles, and must not draw; `restore(state)` puts it back.
    Call it in a cell of its own, before the checkpointed one: a resumed run whose snapshot has the state of a
    source that is not registered is refused, by the source's name.

    >>> import nbckpt, random
    >>> mine = random.Random(3)
    >>> nbckpt.register_random_source("mine", mine.getstate, mine.setstate)

    Raises:
        OptionError: the name is taken by a source that nbckpt knows itself, or these are not functions.
    """
    if name in _SOURCES:
        raise OptionError(f"nbckpt.register_random_source: the state of {name!r} is saved already; choose another name")
    if not isinstance(name, str) or not name or not callable(capture) or not callable(restore):
        raise OptionError(
            "nbckpt.register_random_source takes a name and two functions: "
            "register_random_source('name', capture=..., restore=...)"
        )
    _registered[name] = Source(capture, restore)


# ---------------------------------------------------------------------------------------------------------
# the sources


def _capture_numpy() -> Any:
    return sys.modules["numpy"].random.get_state(legacy=False)


def _restore_numpy(state: Any) -> None:
    sys.modules["numpy"].random.set_state(state)


def _capture_torch() -> Any:
    from .adapters import torch_random

    return torch_random.capture()


def _restore_torch(state: Any) -> str:
    from .adapters import torch_random

    return torch_random.restore(state)


def _of_adapter(module: str, library: str) -> Source:
    """A library's source, whose two functions are an adapter's."""

    def adapter() -> Any:
        return importlib.import_module(f"{adapters.__name__}.{module}")

    return Source(lambda: adapter().capture(), lambda state: adapter().restore(state), library)


_SOURCES = {
    "random": Source(random.getstate, random.setstate),
    "numpy": Source(_capture_numpy, _restore_numpy, "numpy.random"),
    "torch": Source(_capture_torch, _restore_torch, "torch"),
    "tensorflow": _of_adapter("tensorflow_random", "tensorflow"),
    "keras": _of_adapter("keras_random", "keras"),
}
_registered: dict[str, Source] = {}


# ---------------------------------------------------------------------------------------------------------
# generators that variables hold


def capture_held(namespace: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """The state of each generator that variables hold, themselves or a few steps down, by the way to it."""
    held = {}
    for name, value in list(namespace.items()):
        for way, generator in generators.found_in(value):
            key = (name, *way)
            held[key] = generators.state_of(generator)
    return held


def restore_held(namespace: Mapping[str, Any], states: Mapping[tuple[str, ...], Any]) -> None:
    """Put such states back into the generators themselves, which others may hold too."""
    for (name, *way), state in states.items():
        for found, generator in generators.found_in(namespace.get(name)):
            if found == tuple(way):
                generators.put_state(generator, state)


def is_generator(value: Any) -> bool:
    """Whether a value is a generator of random numbers."""
    return generators.state_of(value) is not None
