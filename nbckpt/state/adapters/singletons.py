"""Things that there is one of, which code asks for with `is`: a module's sentinels, the environment."""

from __future__ import annotations

import sys
from typing import Any


def reduce(thing: Any) -> Any:
    """Keep where it is to be found; what is no module's own is an object like any other."""
    kind = type(thing)
    names = [kind.__module__] if kind is not object else [name for name in list(sys.modules) if name != "__main__"]
    for module in names:
        for name, value in list(vars(sys.modules.get(module, object)).items()):
            if value is thing and module != "builtins":
                return found, (module, name)
    return NotImplemented


def found(module: str, name: str) -> Any:
    """What a module calls by a name."""
    import importlib

    return getattr(importlib.import_module(module), name)
