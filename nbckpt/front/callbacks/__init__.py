"""Checkpoints for loops that run inside a library: one callback a library, each with its own file.

Importing this imports none of the libraries: a callback's module is loaded when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Keras": "keras",
    "LightGBM": "lightgbm",
    "Lightning": "lightning",
    "Transformers": "transformers",
    "XGBoost": "xgboost",
}
"""Which module a callback is in."""


def __getattr__(name: str) -> Any:
    """Import a callback, and with it its library."""
    if name not in _HOMES:
        raise AttributeError(f"nbckpt.callbacks has no {name!r}: it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
