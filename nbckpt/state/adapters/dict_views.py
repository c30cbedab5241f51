"""Views of dicts, read-only ones and those of keys, values and items: they go on showing what is in the dict.

As cloudpickle makes them again, they look at a copy.
"""

from __future__ import annotations

import gc
import pickle
import types
from collections import OrderedDict
from typing import Any


def reduce(view: Any) -> Any:
    """Keep what is looked at, and how."""
    (source,) = gc.get_referents(view)
    if not isinstance(view, types.MappingProxyType):
        return _view, (source, type(view).__name__)
    if type(source) is dict and "__module__" in source and (owner := _owner(source)) is not None:
        return vars, (owner,)
    return types.MappingProxyType, (source,)


def _owner(attributes: dict[str, Any]) -> Any:
    """The class that a dict has the attributes of, if it is one's.

    Raises:
        pickle.PicklingError: it is, and does not tell whose.
    """
    own = [value for value in attributes.values() if getattr(value, "__objclass__", None) is not None]
    for kind in (value.__objclass__ for value in own):
        if gc.get_referents(vars(kind)) == [attributes]:
            return kind
    if "__doc__" in attributes and any(isinstance(value, types.FunctionType) for value in attributes.values()):
        raise pickle.PicklingError("the attributes of a class cannot be told from a dict")
    return None


def _view(source: dict[Any, Any], kind: str) -> Any:
    base: Any = OrderedDict if kind.startswith("odict") else dict
    return getattr(base, kind.partition("_")[2])(source)
