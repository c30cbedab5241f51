"""TensorFlow's random state: the seeds of its operations, and the global generator.

An operation that is given a seed of its own counts its draws out of sight; that count cannot be saved.
"""

from __future__ import annotations

import sys
from typing import Any


def capture() -> dict[str, Any]:
    """The state of what is in use. Draws nothing, and makes no generator."""
    context = sys.modules["tensorflow.python.eager.context"].context()
    drawn = getattr(context, "_rng", None)
    made = sys.modules["tensorflow.python.ops.stateful_random_ops"].global_generator
    return {
        "seed": context._seed,  # noqa: SLF001 - there is no public way to it
        "drawn": drawn.getstate() if drawn is not None else None,
        "global": (int(made.algorithm), made.state.numpy()) if made is not None else None,
    }


def restore(saved: dict[str, Any]) -> None:
    """Put it back."""
    import tensorflow as tf
    from tensorflow.python.eager.context import context as current

    if saved["seed"] is not None:
        tf.random.set_seed(saved["seed"])
        if saved["drawn"] is not None:
            current()._rng.setstate(saved["drawn"])  # noqa: SLF001
    if saved["global"] is not None:
        algorithm, state = saved["global"]
        tf.random.set_global_generator(tf.random.Generator.from_state(state, algorithm))
