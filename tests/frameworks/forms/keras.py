"""Keras's models, layers, optimizers and variables."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """The form of Keras's own objects."""
    if isinstance(thing, keras.Variable):
        return (thing.name, str(thing.dtype), np.asarray(thing.value).tobytes())
    if isinstance(thing, keras.Model):
        parts = [thing.layers, thing.variables, getattr(thing, "optimizer", None), thing.metrics]
        return (thing.name, str(thing.get_config()), [walk.form(part) for part in parts])
    if isinstance(thing, keras.Metric):
        return (thing.name, [walk.form(variable) for variable in thing.variables])
    if isinstance(thing, (keras.Layer, keras.Optimizer)):
        return (thing.name, str(thing.get_config()), [walk.form(variable) for variable in thing.variables])
    if isinstance(thing, keras.random.SeedGenerator):
        return (walk.form(thing.state),)
    return None if isinstance(thing, type) else (type(thing).__name__,)
