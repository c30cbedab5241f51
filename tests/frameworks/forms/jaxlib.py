"""JAX's arrays: by type, weakness, place and values."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """The form of arrays."""
    if isinstance(thing, jax.Array):
        if jax.dtypes.issubdtype(thing.dtype, jax.dtypes.prng_key):
            return (str(thing.dtype), np.asarray(jax.random.key_data(thing)).tobytes())
        flags = (thing.weak_type, thing.committed, str(thing.sharding))
        return (str(thing.dtype), thing.shape, flags, np.asarray(thing).tobytes())
    return None if isinstance(thing, type) else (type(thing).__name__,)
