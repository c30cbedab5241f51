"""matplotlib's figures, and which of them pyplot knows.

A figure comes back with a canvas to draw on, and outside of pyplot: to which figures it goes, under which numbers and
in which order, is a state of its own.
"""

from __future__ import annotations

import sys
from typing import Any

_CANVASES = {f"matplotlib.backends.backend_{name}" for name in ("agg", "cairo", "pdf", "pgf", "ps", "svg")}
_CANVASES.add("matplotlib.backend_bases")  # what a closed figure has
"""Where canvases are that need no window."""


def reduce(figure: Any) -> Any:
    """Keep a figure, and the kind of its canvas if that needs no window."""
    import numpy as np

    canvas = type(figure.canvas)
    state = figure.__getstate__()
    state.pop("_restore_to_pylab", None)
    kept = canvas if canvas.__module__ in _CANVASES else None
    drawn = np.array(figure.canvas.buffer_rgba()) if hasattr(figure.canvas, "renderer") else None
    return _new, (type(figure),), (state, kept, drawn), None, None, _fill


def _new(kind: Any) -> Any:
    return kind.__new__(kind)


def _fill(figure: Any, saved: tuple[dict[str, Any], Any, Any]) -> None:
    import numpy as np

    state, canvas, drawn = saved
    stale = state.get("_stale", True)
    figure.__setstate__(state)
    if canvas is None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg
    canvas(figure)
    if drawn is not None and hasattr(figure.canvas, "get_renderer"):
        figure.canvas.get_renderer()
        np.asarray(figure.canvas.buffer_rgba())[:] = drawn
    figure._stale = stale  # noqa: SLF001


def capture() -> list[tuple[Any, Any]]:
    """The figures that pyplot knows, with their numbers; the current one is the last."""
    return [(number, manager.canvas.figure) for number, manager in _registry().figs.items()]


def restore(figures: list[tuple[Any, Any]]) -> None:
    """Let pyplot know these figures, and no others."""
    import matplotlib.pyplot as plt

    registry = _registry()
    kept = [manager.canvas.figure for manager in registry.figs.values()]
    if [(number, id(figure)) for number, figure in figures] == [*zip(registry.figs, map(id, kept), strict=True)]:
        return
    registry.destroy_all()
    for number, figure in figures:
        drawn = {name: value for name, value in vars(figure.canvas).items() if name in ("renderer", "_lastKey")}
        manager = plt._get_backend_mod().new_figure_manager_given_figure(number, figure)  # noqa: SLF001 - as pickle does
        registry._set_new_active_manager(manager)  # noqa: SLF001
        vars(figure.canvas).update(drawn)
    plt.draw_if_interactive()


def _registry() -> Any:
    return sys.modules["matplotlib._pylab_helpers"].Gcf
