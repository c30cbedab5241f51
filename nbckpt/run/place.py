"""Where a run is, and what of that a snapshot keeps.

Code in progress lies in layers: a cell or a script, a function that it called, one that that one called.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .position import Position

if TYPE_CHECKING:
    from .loops import Loop


class Layer(Protocol):
    """One piece of code in progress: a cell, a script, a function that it called."""

    loops: dict[str, Loop]
    way: Any
    """The way back to the saved boundary, until it is reached."""

    def loop_name(self, key: str) -> str:
        """How a person knows a loop."""

    def progress(self, position: Position) -> str:
        """Say where that is."""

    def needed(self, position: Position) -> frozenset[str]:
        """The names that the code from a position on may read."""

    def variables(self, place: Place) -> dict[str, Any]:
        """The variables of its own and of those around it, that no namespace has."""

    def captured(self) -> dict[str, Any]:
        """What a snapshot has to keep of code that was called, besides loops and variables."""

    def described(self) -> dict[str, Any]:
        """What a later run compares such code with."""


Place = Sequence[tuple[Layer, Position]]
"""Where a run is: each layer of code in progress, outermost first, and where in it."""


def progress(place: Place) -> str:
    """Say where that is."""
    words = [text for layer, position in place if (text := layer.progress(position))]
    return ", ".join(words if len(words) < 5 else [*words[:2], "...", *words[-2:]])


def saved_loops(layer: Layer, position: Position) -> dict[str, Any]:
    """What a snapshot keeps of a layer's loops in progress."""
    return {
        key: layer.loops[key].saved(at_top=position.where == "top" and key == position.key) for key in position.turns
    }


def standing(place: Place) -> tuple[Hashable, int]:
    """The place in the code, the same each time round, and how many iterations of the loop around it are done."""
    turns = [position.completed(loop) for _, position in place for loop in position.turns]
    return tuple((position.where, position.key) for _, position in place), turns[-1] if turns else 0


def outermost_loop(place: Place) -> tuple[str, int]:
    """The outermost loop in progress, and how many of its iterations were begun."""
    return next(((key, layer.loops[key].count) for layer, position in place for key in position.turns), ("", 0))


def described(calls: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """The code in progress that was called, each piece once, and where in which of them each call is."""
    functions: list[dict[str, Any]] = []
    for function, _ in calls:
        if function not in functions:
            functions.append(function)
    where = [{"function": functions.index(function), "position": position} for function, position in calls]
    return {"functions": functions, "calls": where}
