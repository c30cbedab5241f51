"""torch's DataLoaders: all of one but the workers it keeps between two loops, which are processes."""

from __future__ import annotations

from typing import Any

from . import remark


def reduce(loader: Any) -> Any:
    """Keep a loader with its dataset, sampler and generator; workers are started again by the next loop."""
    if loader.persistent_workers:
        remark(
            loader,
            "keeps its worker processes from epoch to epoch (persistent_workers), which no snapshot can: after a "
            "resume the random numbers that they draw begin anew",
        )
    state = {name: None if name == "_iterator" else value for name, value in loader.__dict__.items()}
    return _bare, (type(loader),), state, None, None, _fill


def _bare(kind: Any) -> Any:
    return object.__new__(kind)


def _fill(loader: Any, state: dict[str, Any]) -> None:
    loader.__dict__.update(state)
