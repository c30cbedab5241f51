"""The results as pictures, small enough to lie beside the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .curves import TITLES
from .peers import OURS, PEERS
from .rounds import FLOORS, Row
from .targets import stall_floor

_SHOWN = {"stall": "stall", "effective": "effective stall", "durable": "until durable", "restore": "restore"}
_OURS, _THEIRS, _FLOOR = "#1f6f8b", "#c9c9c9", "#b00020"


def _floor(name: str, what: str, floors: Row) -> float | None:
    if what == "stall":
        found = stall_floor(name, floors)
        return found and found[1]
    return floors.median({"durable": "fsync", "restore": "read fresh"}.get(what, ""))


def _open() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    # text stays text: the file is small, and the page's reader can find words in it
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "nbckpt", "font.size": 8})
    import matplotlib.pyplot as plt

    return plt


def speed(workloads: Mapping[str, Mapping[str, Row]], path: Path) -> None:
    """Bars for each state and measure; a red line is the floor."""
    plt = _open()
    size = (3.1 * len(_SHOWN), 2.1 * len(workloads))
    figure, axes = plt.subplots(len(workloads), len(_SHOWN), figsize=size, squeeze=False, layout="constrained")
    for (name, rows), line in zip(workloads.items(), axes, strict=True):
        for (what, title), place in zip(_SHOWN.items(), line, strict=True):
            known = [(peer, rows[peer].median(what)) for peer in reversed(PEERS) if peer in rows]
            bars = [(peer, value) for peer, value in known if value]
            place.barh(
                [peer for peer, _ in bars],
                [value for _, value in bars],
                color=[_OURS if peer == OURS else _THEIRS for peer, _ in bars],
            )
            floor = _floor(name, what, rows[FLOORS])
            if floor:
                place.axvline(floor, color=_FLOOR, linewidth=1)
            place.set_xscale("log")
            place.set_title(f"{name}, {title} (s)")
            place.tick_params(length=0)
            place.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
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
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """All pictures for which there are results."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    if results["workloads"]:
        speed(results["workloads"], folder / "speed.svg")
        drawn.append(folder / "speed.svg")
    if results.get("curves"):
        scale(results["curves"], folder / "scale.svg")
        drawn.append(folder / "scale.svg")
    return drawn
