"""Resumable notebook cells: kill the kernel, run the cell again, and it goes on where it was.

%load_ext nbckpt

%%checkpointed train --every 10m
for epoch in range(100):
    train_one_epoch(model, optimizer)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import (
    CellChangedError,
    CheckpointConflict,
    DamagedSnapshot,
    MissingVariableError,
    NbckptError,
    OptionError,
    ReplayError,
    RestoreError,
    StoreError,
    UnknownCheckpoint,
    UnpicklableError,
    UnsupportedFormat,
    UntrustedSnapshot,
    VerificationError,
)

if TYPE_CHECKING:
    from .front.script import Checkpoint, checkpointed, load
    from .run.inner import loop
    from .run.metrics import log
    from .run.resumable import resumable
    from .state.adapters import register
    from .state.randomness import register_random_source
    from .storage.repository import Repository

__version__ = "0.1.0"

__all__ = [
    "CellChangedError",
    "Checkpoint",
    "CheckpointConflict",
    "DamagedSnapshot",
    "MissingVariableError",
    "NbckptError",
    "OptionError",
    "ReplayError",
    "Repository",
    "RestoreError",
    "StoreError",
    "UnknownCheckpoint",
    "UnpicklableError",
    "UnsupportedFormat",
    "UntrustedSnapshot",
    "VerificationError",
    "checkpointed",
    "load",
    "load_ipython_extension",
    "log",
    "loop",
    "register",
    "register_random_source",
    "resumable",
    "unload_ipython_extension",
]

_HOMES = {
    "Checkpoint": "front.script",
    "checkpointed": "front.script",
    "load": "front.script",
    "log": "run.metrics",
    "loop": "run.inner",
    "register": "state.adapters",
    "register_random_source": "state.randomness",
    "resumable": "run.resumable",
    "Repository": "storage.repository",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: `import nbckpt` costs next to nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nbckpt' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"nbckpt.{_HOMES[name]}"), name)


def load_ipython_extension(shell: Any) -> None:
    """Make `%%checkpointed` and `%checkpoints` known: what `%load_ext nbckpt` calls."""
    from .front.magics import load_extension

    load_extension(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Put everything back: what `%unload_ext nbckpt` calls."""
    from .front.magics import unload_extension

    unload_extension(shell)
