"""TensorFlow's variables, tensors and generators."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """The form of TensorFlow's own objects."""
    if isinstance(thing, tf.Variable):
        return (str(thing.dtype), str(thing.shape), thing.trainable, thing.numpy().tobytes())
    if isinstance(thing, tf.Tensor):
        return (str(thing.dtype), str(thing.shape), str(thing.numpy().tolist()))
    if isinstance(thing, (tf.RaggedTensor, tf.SparseTensor)):
        return (repr(thing),)
    if isinstance(thing, tf.random.Generator):
        return (walk.form(thing.state), str(thing.algorithm))
    if isinstance(thing, tf.data.Dataset):
        return (repr(thing.element_spec),)
    if isinstance(thing, (tf.DType, tf.TensorShape)):
        return (repr(thing),)
    return None if isinstance(thing, (type, tf.Module)) else (type(thing).__name__,)
