"""The blocks that pandas keeps its columns in, and indexes: where pandas copies on write, it knows who shares memory.

Tables that share memory cannot tell, since each copies before it writes. So a block of numbers comes back with memory
of its own, unless an array outside of tables looks into it, too. All others come back with what pandas knows of who
refers to their memory, or it would write through to the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import numpy_views, object_arrays


def reduce(block: Any) -> Any:
    """Keep a block's array as its own, or together with who else refers to it."""
    reduced = block.__reduce__()
    if not copies_on_write():
        return reduced
    make, (values, *rest), *_ = reduced
    if type(values) is np.ndarray and not numpy_views.is_known_outside(values):
        return make, (_Own(values), *rest)
    return make, (values, *rest), block.refs, None, None, _refer


def reduce_series(manager: Any) -> Any:
    """Keep the block of a series as a block, and not, as pandas does, as the array in it."""
    if not copies_on_write():
        return NotImplemented
    return type(manager), (manager.blocks[0], manager.axes[0])


def reduce_index(index: Any) -> Any:
    """The same for an index, which never changes."""
    reduced = index.__reduce__()
    make, arguments, *_ = reduced
    if not copies_on_write() or len(arguments) != _KIND_AND_PARTS or "data" not in arguments[1]:
        return reduced
    kind, parts = arguments
    if type(parts["data"]) is np.ndarray:
        return make, (kind, {**parts, "data": _Own(parts["data"])})
    references = index._references  # noqa: SLF001 - there is no public way to it
    return reduced if references is None else (make, arguments, references, None, None, _refer_index)


_KIND_AND_PARTS = 2


def reduce_text(dtype: Any) -> Any:
    """Keep a type of text with NumPy's constant for what is missing: said here, it is not looked for in the text."""
    if getattr(dtype, "na_value", None) is not np.nan:  # noqa: PLW0177 - whether it is this very one
        return NotImplemented
    return _text, (type(dtype), dtype.storage)


def _text(kind: Any, storage: str) -> Any:
    return kind(storage, na_value=np.nan)


def reduce_references(_: Any) -> Any:
    """Keep that it is one; who refers to the memory adds itself."""
    return _no_references, (None,)


def _no_references(_: None) -> Any:
    from pandas._libs.internals import BlockValuesRefs

    return BlockValuesRefs()


def _refer(block: Any, references: Any) -> None:
    block.refs = references
    references.add_reference(block)


def _refer_index(index: Any, references: Any) -> None:
    index._references = references  # noqa: SLF001
    references.add_index_reference(index)


def copies_on_write() -> bool:
    """Whether tables that share memory are copied before one of them is written to."""
    import pandas as pd

    return int(pd.__version__.split(".", maxsplit=1)[0]) >= 3 or pd.options.mode.copy_on_write is True


class _Own:
    """An array that is pickled with its own contents, whoever owns its memory; it comes back as the array."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __reduce_ex__(self, protocol: Any) -> Any:
        reduced = object_arrays.reduce(self.array)
        return self.array.__reduce_ex__(protocol) if reduced is NotImplemented else reduced
