"""Keras's global state: the generator that layers without a seed draw from, and the numbers in names."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

_GENERATOR, _SEED, _NAMES = "global_seed_generator", "global_random_seed", "object_name_uids"


def capture() -> dict[str, Any]:
    """The state of what is in use. Makes no generator."""
    known = sys.modules["keras.src.backend.common.global_state"].get_global_attribute
    made = known(_GENERATOR)
    state = np.asarray(made.state.value) if made is not None else None
    return {"state": state, "seed": known(_SEED), "names": dict(known(_NAMES) or {})}


def restore(saved: dict[str, Any]) -> None:
    """Put it back."""
    import collections

    from keras.src.backend.common.global_state import set_global_attribute
    from keras.src.random.seed_generator import SeedGenerator

    made = None
    if saved["state"] is not None:
        made = SeedGenerator(0)  # with a seed: to find one it would draw
        made.state.assign(saved["state"])
    set_global_attribute(_GENERATOR, made)
    set_global_attribute(_SEED, saved["seed"])
    set_global_attribute(_NAMES, collections.defaultdict(int, saved["names"]))
