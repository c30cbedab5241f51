"""Orbax, which comes from JAX, with NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..workloads import Variables
from .peer import ArraysPeer


def arrays_of(variables: Variables) -> dict[str, np.ndarray]:
    """Arrays or tensors as arrays, which share their memory; names as it allows them."""
    return {name: np.asarray(array) for name, array in variables.items()}


class Orbax(ArraysPeer):
    """`PyTreeCheckpointer`: the call returns when all is written."""

    imports = ("jax", "orbax.checkpoint")
    verifies = True  # the checksums of OCDBT's nodes

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._checkpointer: Any = None

    def _open(self) -> Any:
        import orbax.checkpoint as ocp

        return ocp.Checkpointer(ocp.PyTreeCheckpointHandler())

    def ready(self) -> None:
        super().ready()
        self._checkpointer = self._open()

    def save(self, variables: Variables, number: int) -> None:
        if self._checkpointer is None:
            self._checkpointer = self._open()
        self._checkpointer.save(self.place(number).absolute(), arrays_of(self.arrays(variables)))

    def restore(self, number: int) -> Variables:
        return self.put(self._checkpointer.restore(self.place(number).absolute()))


class OrbaxAsync(Orbax):
    """`AsyncCheckpointer`: the call returns when all is copied."""

    def _open(self) -> Any:
        import orbax.checkpoint as ocp

        return ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())

    def wait(self, number: int) -> None:
        self._checkpointer.wait_until_finished()
        super().wait(number)
