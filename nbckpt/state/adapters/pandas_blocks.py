"""The blocks that pandas keeps its columns in: where pandas copies on write, they share no memory.

A restored block does not know who else looks at its memory, so pandas would write through to them.
"""

from __future__ import annotations

from typing import Any


def reduce(block: Any) -> Any:
    """Keep a block's array as its own, also where it is a view of another one."""
    reduced = block.__reduce__()
    if not copies_on_write() or type(reduced[1][0]).__name__ != "ndarray":
        return reduced
    make, (values, *rest), *state = reduced
    return make, (_Own(values), *rest), *state


def copies_on_write() -> bool:
    """Whether tables that share memory are copied before one of them is written to."""
    import pandas as pd

    return int(pd.__version__.split(".", maxsplit=1)[0]) >= 3 or pd.options.mode.copy_on_write is True


class _Own:
    """An array that is pickled with its own contents, whoever owns its memory; it comes back as the array."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.array.__reduce_ex__(protocol)
