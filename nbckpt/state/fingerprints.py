"""Whether a value equals one that another process had."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any


def stable_digest(value: Any, *, sample: bool = False) -> str | None:
    """A hash that another process finds too for an equal value; None for values that have none.

    Of big arrays it can be a hash of a `sample`: some thousand elements all over them.

    A pickle will not do: its bytes tell equal strings that are one object from those that are two.
    """
    import xxhash

    hasher = xxhash.xxh3_128()
    return str(hasher.hexdigest()) if _update(hasher.update, value, 8, sample=sample) else None


def _update(update: Callable[[Any], Any], value: Any, depth: int, *, sample: bool) -> bool:
    """Hash plain values, arrays, tables, and containers of them; return False for anything else."""
    kind = type(value)
    update(f"{kind.__qualname__}:".encode())
    if value is None or kind in (bool, int, float, complex, range):
        update(f"{value!r};".encode())
    elif kind in (str, bytes, bytearray):
        update(f"{len(value)}:".encode())
        update(value.encode("utf-8", "surrogatepass") if kind is str else value)
    elif isinstance(value, (list, tuple, dict, set, frozenset, deque)) and kind.__module__ in _PLAIN_MODULES:
        if not depth or len(value) > 10_000:
            return False
        parts: Iterable[Any] = value
        if isinstance(value, dict):
            parts = [part for pair in value.items() for part in pair]
        elif isinstance(value, (set, frozenset)):  # whose order is another one in each process
            parts = sorted(map(stable_digest, value), key=str)
        update(f"{len(value)}:".encode())
        return all(_update(update, part, depth - 1, sample=sample) for part in parts)
    elif kind.__module__ in _SAID_BY_REPR:
        update(f"{value!r};".encode())
    elif kind.__module__ == "numpy" and hasattr(value, "tobytes") and not value.dtype.hasobject:
        update(f"{value.dtype.str}{value.shape}".encode())
        if sample and value.size > 1 << 14:
            flat = value.reshape(-1) if value.flags.c_contiguous else value.flat
            value = flat[:: value.size >> 12]
        update(value.tobytes())
    elif str(kind.__module__).partition(".")[0] == "torch" and hasattr(value, "untyped_storage"):
        return _update_torch(update, value, sample=sample)
    elif str(kind.__module__).partition(".")[0] == "pandas" and kind.__name__ in ("DataFrame", "Series"):
        return _update_pandas(update, value)
    else:
        return False
    return True


_PLAIN_MODULES = {"builtins", "collections"}
_SAID_BY_REPR = {"datetime", "decimal", "fractions", "pathlib", "pathlib._local", "uuid"}


def _update_pandas(update: Callable[[Any], Any], value: Any) -> bool:
    from pandas.util import hash_pandas_object

    try:
        update(hash_pandas_object(value).to_numpy().tobytes())
    except TypeError:  # a column of things that have no hash
        return False
    update(str([value.dtypes if value.ndim == 1 else [*value.columns, *value.dtypes], value.shape]).encode())
    return True


def _update_torch(update: Callable[[Any], Any], tensor: Any, *, sample: bool) -> bool:
    import torch

    if tensor.layout is not torch.strided or tensor.device.type == "meta" or tensor.is_quantized or tensor.is_nested:
        return False
    update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    flat = tensor.detach().resolve_conj().resolve_neg().reshape(-1)
    if sample and flat.numel() > 1 << 14:
        flat = flat[:: flat.numel() >> 12]
    update(flat.contiguous().view(torch.uint8).cpu().numpy().tobytes())
    return True
