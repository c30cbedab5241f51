"""JAX's own objects, the typed keys among them."""

from __future__ import annotations

from typing import Any

from frameworks.forms import jaxlib


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """The form of keys, and of what JAX compiled, of which only the kind counts."""
    return jaxlib.form(walk, thing)
