"""memoryviews of whole objects stay views of them; others cannot be told where they begin."""

from __future__ import annotations

import pickle
from typing import Any


def reduce(view: memoryview) -> Any:
    """Keep what is looked at, and how."""
    source = view.obj
    if not (isinstance(source, (bytes, bytearray)) and view.c_contiguous and view.nbytes == len(source)):
        raise pickle.PicklingError("a memoryview of a part of something cannot be saved as a view")
    return _view, (source, view.format, view.shape, view.readonly)


def _view(source: Any, form: Any, shape: Any, readonly: bool) -> memoryview:  # noqa: FBT001
    view = memoryview(source).cast(form, shape)
    return view.toreadonly() if readonly else view
