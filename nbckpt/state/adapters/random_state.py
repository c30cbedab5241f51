"""The global random generators: what refers to them, like `from random import randint`, refers to the live ones."""

from __future__ import annotations

import random
import sys
from typing import Any

from . import by_hand


def reduce(generator: Any) -> Any:
    """Keep a global generator by name; its state is saved by itself. Others pickle as they always do, or by hand."""
    if generator is random._inst:  # noqa: SLF001 - the only way to it
        return _standard, ()
    numpy_random = sys.modules.get("numpy.random.mtrand")
    if numpy_random is not None and generator is numpy_random._rand:  # noqa: SLF001
        return _numpy, ()
    return by_hand.reduce_derived(generator)


def _standard() -> Any:
    return random._inst  # noqa: SLF001


def _numpy() -> Any:
    from numpy.random import mtrand

    return mtrand._rand  # noqa: SLF001
