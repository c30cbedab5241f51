"""matplotlib: a figure is what it looks like; what belongs to one is told apart by the figure and its class."""

from __future__ import annotations

import io
from typing import Any


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """A figure's pixels; of an artist, its class and its figure; of a library's own class, its name."""
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

    if isinstance(thing, Figure):
        pixels = io.BytesIO()
        thing.savefig(pixels, format="rgba")
        return (tuple(thing.get_size_inches()), pixels.getvalue())
    if isinstance(thing, Artist):
        return (walk.form(thing.figure),)
    return None
