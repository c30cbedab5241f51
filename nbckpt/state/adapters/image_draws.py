"""Pillow's pens: they draw on the restored image."""

from __future__ import annotations

from typing import Any


def reduce(draw: Any) -> Any:
    """Keep the image that a pen draws on, and how it draws."""
    state = {name: value for name, value in vars(draw).items() if name not in ("im", "draw", "_image")}
    return _pen, (type(draw), draw._image, draw.mode), state  # noqa: SLF001 - there is no public way to it


def _pen(kind: Any, image: Any, mode: str) -> Any:
    return kind(image, mode if mode != image.mode else None)
