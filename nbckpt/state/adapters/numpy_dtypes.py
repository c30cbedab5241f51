"""NumPy's types of elements: those that exist once in a process do so after a resume, too.

As NumPy pickles them they come back as copies, and `np.asarray` then makes views where it gave back its argument.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def reduce(dtype: Any) -> Any:
    """Keep a built-in type by its name."""
    return (np.dtype, (dtype.str,)) if dtype.isbuiltin == 1 and np.dtype(dtype.str) is dtype else NotImplemented
