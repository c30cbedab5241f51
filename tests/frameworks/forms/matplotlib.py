"""matplotlib's figures: what they look like, what they are made of, and where pyplot has them."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """The form of figures and what is in them."""
    if isinstance(thing, Figure):
        at = plt.get_fignums().index(thing.number) if plt.fignum_exists(getattr(thing, "number", None)) else None
        own, canvas = thing.canvas, FigureCanvasAgg(thing)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba()).tobytes()
        thing.set_canvas(own)
        return (at, type(own).__name__, thing.get_label(), pixels, [walk.form(part) for part in thing.get_children()])
    if isinstance(thing, Artist):
        owners = [walk.form(owner) for owner in (thing.figure, getattr(thing, "axes", None))]
        data = repr(thing.get_data()) if hasattr(thing, "get_data") else ""
        return (thing.get_zorder(), thing.get_visible(), data, owners, [walk.form(p) for p in thing.get_children()])
    return None if isinstance(thing, type) else (type(thing).__name__,)
