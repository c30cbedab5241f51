"""JAX's devices, and arrays that need more than jax's own pickles to be what they were.

What is committed to devices comes back on them, or on the default one where they are missing; what has 64 bits comes
back with all of them, although jax makes such arrays only where it was told to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from . import do_on_arrival, say

_WIDE = {"int64", "uint64", "float64", "complex128"}


def reduce(array: Any) -> Any:
    """Keep where a committed array lies, and the width of a wide one; others pickle as they always do."""
    place = array.sharding if getattr(array, "committed", False) else None
    wide = str(array.dtype) in _WIDE
    if place is None and not wide:
        return NotImplemented
    make, arguments = array.__reduce__()
    return _made, (make, arguments, place, wide, jax.config.values["jax_enable_x64"])


def reduce_device(device: Any) -> Any:
    """Keep a device by its name."""
    return _device, (device.platform, device.id)


def _made(make: Callable[..., Any], arguments: Any, place: Any, wide: bool, everywhere: bool) -> Any:  # noqa: FBT001
    if wide and everywhere:
        do_on_arrival(_make_all_wide)
    if place is not None and (mesh := getattr(place, "mesh", None)) and mesh.size > len(place.device_set):
        place = jax.devices()[0]  # some that it lay on are missing, and the same one stands for each of them
    with _wide(wide or jax.config.values["jax_enable_x64"]):
        made = make(*arguments)
        return made if place is None else jax.device_put(made, place)


def _wide(enabled: bool) -> Any:  # noqa: FBT001
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(enabled)
    from jax import experimental  # where older versions have it

    return experimental.enable_x64(enabled)


def _make_all_wide() -> None:
    jax.config.update("jax_enable_x64", True)  # noqa: FBT003


def _device(platform: str, number: int) -> Any:
    for device in jax.devices():
        if (device.platform, device.id) == (platform, number):
            return device
    here = jax.devices()[0]
    say(f"there is no device {platform}:{number} here, so what was on it is on {here}")
    return here
