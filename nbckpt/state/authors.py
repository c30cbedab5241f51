"""Who wrote a class: the user, or somebody whose library is installed."""

from __future__ import annotations

import functools
import sys
import sysconfig


def is_users(kind: type) -> bool:
    """Whether a class was written by the user rather than installed: its methods may have mistakes."""
    return kind.__module__ == "__main__" or _is_users_module(kind.__module__)


@functools.lru_cache(maxsize=4096)
def _is_users_module(name: str) -> bool:
    place = getattr(sys.modules.get(name), "__file__", None)
    installed = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return place is not None and "site-packages" not in place and not place.startswith(tuple(installed))
