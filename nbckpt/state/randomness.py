"""Random state: the global generators of `random` and NumPy, and the generators that variables hold."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from typing import Any


def capture() -> dict[str, Any]:
    """The state of the global generators in use. Draws from none of them."""
    states: dict[str, Any] = {"random": random.getstate()}
    if numpy_random := sys.modules.get("numpy.random"):
        states["numpy"] = numpy_random.get_state(legacy=False)
    return states


def restore(states: Mapping[str, Any]) -> None:
    """Put captured state back."""
    random.setstate(states["random"])
    if "numpy" in states:
        import numpy as np

        np.random.set_state(states["numpy"])


def capture_held(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The state of each generator that a variable holds, by the variable's name."""
    return {name: state for name, value in list(namespace.items()) if (state := _state_of(value)) is not None}


def restore_held(namespace: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    """Put such states back into the generators themselves, which others may hold too."""
    for name, state in states.items():
        generator: Any = namespace.get(name)
        if isinstance(generator, random.Random):
            generator.setstate(state)
        elif _is_numpy(generator, "Generator"):
            generator.bit_generator.state = state
        elif _is_numpy(generator, "RandomState"):
            generator.set_state(state)


def is_generator(value: Any) -> bool:
    """Whether a value is a generator of random numbers."""
    return _state_of(value) is not None


def _state_of(value: Any) -> Any:
    if isinstance(value, random.Random):
        return value.getstate()
    if _is_numpy(value, "Generator"):
        return value.bit_generator.state
    if _is_numpy(value, "RandomState"):
        return value.get_state(legacy=False)
    return None


def _is_numpy(value: Any, kind: str) -> bool:
    numpy_random = sys.modules.get("numpy.random")
    return numpy_random is not None and isinstance(value, getattr(numpy_random, kind))
