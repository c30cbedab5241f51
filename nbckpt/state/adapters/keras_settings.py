"""How Keras is set: what layers compute in, how images lie, the small number, and whether `fit` shows a bar."""

from __future__ import annotations

from typing import Any

import keras
from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute

_POLICY = "dtype_policy"


def capture() -> dict[str, Any]:
    """The settings that a program makes for all of its process."""
    policy = get_global_attribute(_POLICY)  # unlike what is public, it tells one that was set from floatx
    return {
        "policy": keras.dtype_policies.serialize(policy) if policy is not None else None,
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "images": keras.config.image_data_format(),
        "bars": keras.config.is_interactive_logging_enabled(),
    }


def restore(settings: dict[str, Any]) -> None:
    """Make them again."""
    policy = settings["policy"]
    set_global_attribute(_POLICY, keras.dtype_policies.deserialize(policy) if policy is not None else None)
    keras.config.set_floatx(settings["floatx"])
    keras.config.set_epsilon(settings["epsilon"])
    keras.config.set_image_data_format(settings["images"])
    set_bars = keras.config.enable_interactive_logging if settings["bars"] else keras.config.disable_interactive_logging
    set_bars()
