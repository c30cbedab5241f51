"""How torch is set: what tensors are made of and where, whether autograd looks on, how exactly it computes."""

from __future__ import annotations

from typing import Any

import torch

from .torch_tensors import device_here


def capture() -> dict[str, Any]:
    """The settings that a program makes for all of its process."""
    made_on = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)  # noqa: SLF001 - unlike what is public,
    # it tells one that was set from one that a `with` is in force for
    return {
        "dtype": torch.get_default_dtype(),
        "device": str(made_on.device) if made_on is not None else None,
        "grad": torch.is_grad_enabled(),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "precision": torch.get_float32_matmul_precision(),
        "printing": torch._tensor_str.get_printoptions(),  # noqa: SLF001
    }


def restore(settings: dict[str, Any]) -> None:
    """Make them again, those that differ: a default device costs each call into torch some time."""
    now = capture()
    if settings["dtype"] != now["dtype"]:
        torch.set_default_dtype(settings["dtype"])
    if settings["device"] != now["device"]:
        torch.set_default_device(device_here(settings["device"]) if settings["device"] else None)
    if settings["grad"] != now["grad"]:
        torch.set_grad_enabled(settings["grad"])
    if settings["deterministic"] != now["deterministic"]:
        wanted, warn_only = settings["deterministic"]
        torch.use_deterministic_algorithms(wanted, warn_only=warn_only)
    if settings["cudnn"] != now["cudnn"]:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = settings["cudnn"]
    if settings["precision"] != now["precision"]:
        torch.set_float32_matmul_precision(settings["precision"])
    if settings["printing"] != now["printing"]:
        torch.set_printoptions(**settings["printing"])
