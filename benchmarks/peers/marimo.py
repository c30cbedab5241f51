"""marimo's persistent cache: what a function returns is kept, and returned without calling it the next time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .. import watch
from ..workloads import Variables
from .peer import Peer, saved

state: Variables = {}
"""What the cached function returns; it finds it by the module's name, so that the cache does not hash it."""


class Marimo(Peer):
    """`persistent_cache` of a function of the save's number, with its default loader."""

    imports = ("marimo",)
    verifies = True  # the signature

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._cached: Any = None

    def ready(self) -> None:
        import marimo

        def keep(number: int) -> Variables:  # the cache is by it
            return sys.modules["benchmarks.peers.marimo"].state  # type: ignore[no-any-return]

        self._cached = marimo.persistent_cache(keep, save_path=str(self.folder))

    def save(self, variables: Variables, number: int) -> None:
        if self._cached is None:
            self.ready()
        state.clear()
        state.update(saved(variables))
        self._cached(number)

    def wait(self, number: int) -> None:
        watch.settle(Path(self.folder))

    def restore(self, number: int) -> Variables:
        found: Variables = self._cached(number)
        return found
