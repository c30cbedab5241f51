"""scikit-learn's trees: their nodes have unused bytes between the fields."""

from __future__ import annotations

from typing import Any


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """The form of a tree; everything else is told apart by its attributes."""
    if type(thing).__name__ != "Tree" or not hasattr(thing, "__getstate__"):
        return None
    state = thing.__getstate__()
    nodes = state.pop("nodes")
    return ({name: nodes[name].tolist() for name in nodes.dtype.names}, walk.form(state))
