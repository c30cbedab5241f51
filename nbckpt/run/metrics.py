"""`nbckpt.log`: numbers of a checkpointed cell that are recorded with its snapshots."""

from __future__ import annotations

import builtins

from . import RUN
from .function import Caller


def log(**metrics: float) -> None:
    """Record numbers with the snapshots of the checkpointed cell from now on; elsewhere, do nothing.

    They are shown by `nbckpt show`, and `--keep-best loss:min` keeps the snapshot with the lowest `loss`. In a
    script, `ckpt.log` does the same.

    >>> import nbckpt
    >>> nbckpt.log(loss=0.3)

    Raises:
        OptionError: one of them is not a number.
    """
    frame = getattr(builtins, RUN, None)
    if isinstance(frame, Caller):
        frame.run.log(metrics)
