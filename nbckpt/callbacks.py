"""Callbacks that make a library's own training loop resumable: `nbckpt.callbacks.Lightning`, and the others."""

from __future__ import annotations

from typing import Any

from .front import callbacks


def __getattr__(name: str) -> Any:
    return getattr(callbacks, name)


def __dir__() -> list[str]:
    return dir(callbacks)
