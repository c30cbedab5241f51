"""Dataclasses of flax: a class that comes back from a snapshot is told to jax and flax as one that is defined is.

They are told of its fields when the class is made, which here has none before it is filled.
"""

from __future__ import annotations

import dataclasses
from typing import Any

MARK = "_flax_dataclass"
"""What flax puts into such a class."""


def fill(kind: Any, state: Any) -> Any:
    """Give a class what it holds, then make it known."""
    import jax
    from cloudpickle import cloudpickle
    from flax import serialization

    made = cloudpickle._class_setstate(kind, state)  # noqa: SLF001
    setattr(made, MARK, True)  # cloudpickle leaves out what a class could have inherited
    fields = dataclasses.fields(made)
    data = [field.name for field in fields if field.metadata.get("pytree_node", True)]
    jax.tree_util.register_dataclass(made, data, [field.name for field in fields if field.name not in data])

    def to_state(thing: Any) -> dict[str, Any]:
        return {name: serialization.to_state_dict(getattr(thing, name)) for name in data}

    def from_state(thing: Any, saved: dict[str, Any]) -> Any:
        if saved.keys() != set(data):
            raise ValueError(f"the state of a {made.__name__} has the fields {data}, and not {list(saved)}")
        new = {name: serialization.from_state_dict(getattr(thing, name), saved[name], name=name) for name in data}
        return thing.replace(**new)

    serialization.register_serialization_state(made, to_state, from_state)
    return made
