"""What is left out of a snapshot because it cannot be saved, and why that is right."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UnpicklableError
from .adapters import live
from .culprit import culprit


@dataclass(frozen=True, slots=True)
class Omission:
    """A variable that is left out, while it holds a value of this kind."""

    kind: type
    why: str
    live: bool
    """Whether it is a thing of this process, like an open file, rather than data."""


class Omissions:
    """The variables that a run leaves out; `remade` are those that a `with` statement makes again by itself."""

    def __init__(self, remade: frozenset[str] = frozenset()) -> None:
        self.remade = remade
        self.known: dict[str, Omission] = {}

    def keep(self, data: Mapping[str, Any], needed: frozenset[str]) -> dict[str, Any]:
        """The variables that are not left out. What is needed by now, and is data, is tried again."""
        self.known = {
            name: omission
            for name, omission in self.known.items()
            if name in data and type(data[name]) is omission.kind and (omission.live or name not in needed)
        }
        return {name: value for name, value in data.items() if name not in self.known}

    def find(
        self,
        data: Mapping[str, Any],
        needed: frozenset[str],
        drawn_again: Iterable[Any],
        error: UnpicklableError,
        binds: Container[str] = (),
    ) -> list[str]:
        """Leave out what makes a state unpicklable, if that may be: live things, and what is not `needed`.

        `drawn_again` are the items that a resumed run has from its loops; what the cell `binds` no other cell makes
        again. Returns what a person should know.

        Raises:
            UnpicklableError: it is data that is needed; named with the path to the culprit.
        """
        notices = []
        before = len(self.known)
        at_hand = {id(item) for item in drawn_again}
        for name, value in self.keep(data, needed).items():
            if (found := culprit(value, name)) is None:
                continue
            path, reason = found
            resource = live.live_resource(type(value))
            # a function's own variable, which no other cell makes again either, has a name that is none
            begun = resource in live.UNDER_WAY and (name in binds or not name.isidentifier())
            if begun and name in needed:
                raise UnpicklableError(
                    f"{name} cannot be saved: {resource}, and no later run could go on with it. Nothing was lost: the "
                    "snapshots before it stand, and once its result is there the cell is saved again; await it where "
                    "it is begun",
                    name,
                ) from error
            if not resource and name in needed and id(value) not in at_hand:
                # a function's own variable has no name that the option could take
                out = f"leave it out with --exclude {name}, " if name.isidentifier() else ""
                raise UnpicklableError(
                    f"{path} cannot be saved: {reason}. Nothing was lost: {out}"
                    "give its class a __getstate__, or teach nbckpt with nbckpt.register",
                    path,
                ) from error
            self.known[name] = Omission(
                type(value), resource or reason, (bool(resource) and not begun) or id(value) in at_hand
            )
            if resource and name in needed - self.remade:
                notices.append(f"{name} is {resource} and is not saved; a resumed run needs it made again")
        if len(self.known) == before:
            raise UnpicklableError(
                f"what a loop goes over, has at hand or has made cannot be saved: {error}"
            ) from error
        return notices
