"""The results as pictures, small enough to lie beside the page."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .curves import TITLES
from .peers import FORKED, OURS, PEERS
from .rounds import FLOORS, Row
from .targets import stall_floor

_SHOWN = {"stall": "stall", "effective": "effective stall", "durable": "until durable", "restore": "restore"}
_OURS, _THEIRS, _FLOOR = "#1f6f8b", "#8a8a8a", "#b00020"


def _floor(name: str, what: str, floors: Row) -> float | None:
    if what == "stall":
        found = stall_floor(name, floors)
        return found and found[1]
    return floors.median({"durable": "fsync", "restore": "read fresh"}.get(what, ""))


def _open() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 8, "savefig.dpi": 80})
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> None:
    """With as few colours as it takes: a quarter of the bytes."""
    from PIL import Image

    raw = io.BytesIO()
    figure.savefig(raw)
    Image.open(raw).convert("RGB").quantize(32).save(path, optimize=True)


def speed(workloads: Mapping[str, Mapping[str, Row]], path: Path) -> None:
    """For each state and measure the medians of all peers, with the lowest and highest; a red line is the floor."""
    plt = _open()
    size = (3.1 * len(_SHOWN), 2.1 * len(workloads))
    figure, axes = plt.subplots(len(workloads), len(_SHOWN), figsize=size, squeeze=False, layout="constrained")
    for (name, rows), line in zip(workloads.items(), axes, strict=True):
        peers = [peer for peer in reversed(PEERS) if peer in rows]
        for (what, title), place in zip(_SHOWN.items(), line, strict=True):
            for at, peer in enumerate(peers):
                middle, colour = rows[peer].median(what), _OURS if peer in (OURS, FORKED) else _THEIRS
                if middle:
                    values = [value for value in rows[peer].values[what] if value > 0]
                    place.plot([min(values), max(values)], [at, at], color=colour, linewidth=1)
                    place.plot([middle], [at], "o", color=colour, markersize=5)
            place.set_yticks(range(len(peers)), peers)
            floor = _floor(name, what, rows[FLOORS])
            if floor:
                place.axvline(floor, color=_FLOOR, linewidth=1)
            place.set_xscale("log")
            place.minorticks_off()
            place.set_title(f"{name}, {title} (s)")
            place.tick_params(length=0)
            place.grid(visible=True, linewidth=0.3)
            place.spines[["top", "right"]].set_visible(False)
    _save(figure, path)
    plt.close(figure)


def scale(curves: Mapping[str, list[dict[str, float]]], path: Path) -> None:
    """Lines for each curve, both axes logarithmic: a straight line that climbs as fast as it goes is linear."""
    plt = _open()
    figure, axes = plt.subplots(1, len(curves), figsize=(3.1 * len(curves), 2.8), squeeze=False, layout="constrained")
    for (name, curve), place in zip(curves.items(), axes[0], strict=True):
        lines = ("plain", "tracked") if name == "loop" else ("stall", "durable", "restore")
        for what in lines:
            known = [(point["at"], point[what]) for point in curve if what in point]
            if known:
                place.plot([at for at, _ in known], [value for _, value in known], marker="o", markersize=3, label=what)
        place.set(xscale="log", yscale="log", title=TITLES[name], ylabel="ns an iteration" if name == "loop" else "s")
        place.grid(visible=True, linewidth=0.3)
        if curve:
            place.legend(frameon=False)
    _save(figure, path)
    plt.close(figure)


def draw(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """All pictures for which there are results."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    if results["workloads"]:
        speed(results["workloads"], folder / "speed.png")
        drawn.append(folder / "speed.png")
    if results.get("curves"):
        scale(results["curves"], folder / "scale.png")
        drawn.append(folder / "scale.png")
    return drawn
