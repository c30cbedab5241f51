"""Keras's global state: the generator that layers without a seed draw from, and the numbers in names."""

from __future__ import annotations

import sys
from typing import Any

_SEEDS, _NAMES = "global_seed_generator", "object_name_uids"


def capture() -> dict[str, Any]:
    """The state of what is in use. Makes no generator."""
    known = sys.modules["keras.src.backend.common.global_state"].get_global_attribute
    seeds = known(_SEEDS)
    return {"seeds": _numbers(seeds.state) if seeds is not None else None, "names": dict(known(_NAMES) or {})}


def _numbers(variable: Any) -> Any:
    from keras import ops

    return ops.convert_to_numpy(variable)


def restore(saved: dict[str, Any]) -> None:
    """Put it back."""
    import collections

    from keras.src.backend.common.global_state import set_global_attribute
    from keras.src.random.seed_generator import global_seed_generator

    if saved["seeds"] is not None:
        global_seed_generator().state.assign(saved["seeds"])
    set_global_attribute(_NAMES, collections.defaultdict(int, saved["names"]))
