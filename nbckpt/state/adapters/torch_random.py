"""torch's random generators: the global ones of each device, and those that variables hold.

States are bytes here, so that they are the same whatever device they come from.
"""

from __future__ import annotations

from typing import Any

import torch

_ACCELERATORS = ("cuda", "xpu")
"""Devices of which there may be several, each with a generator of its own."""


def capture() -> dict[str, Any]:
    """The state of the global generators. A device that is not in use yet is not woken up for it."""
    states: dict[str, Any] = {"cpu": _bytes(torch.get_rng_state()), "seed": torch.initial_seed()}
    for kind in _ACCELERATORS:
        module = getattr(torch, kind, None)
        if module is not None and module.is_initialized():
            states[kind] = [_bytes(state) for state in module.get_rng_state_all()]
    if torch.backends.mps.is_available():
        states["mps"] = _bytes(torch.mps.get_rng_state())
    return states


def restore(states: dict[str, Any]) -> str:
    """Put them back, for the devices that are here; return what a person should know."""
    notices = []
    for kind in _ACCELERATORS:
        module: Any = getattr(torch, kind, None)
        if module is None or not module.is_available():
            here = 0
        elif kind not in states:
            # it was not in use yet, so what it is going to draw comes from the seed alone
            module.manual_seed_all(states["seed"])
            continue
        else:
            here = module.device_count()
        saved = states.get(kind, [])
        for index, state in enumerate(saved[:here]):
            module.set_rng_state(_tensor(state), index)
        if here != len(saved) and saved:
            notices.append(
                f"the random state of {len(saved)} {kind.upper()} devices was saved, and there are {here}: "
                "what is drawn on the others is not what it would have been"
            )
    if "mps" in states:
        if torch.backends.mps.is_available():
            torch.mps.set_rng_state(_tensor(states["mps"]))
        else:
            notices.append("the random state of an MPS device was saved, and there is none here")
    torch.set_rng_state(_tensor(states["cpu"]))
    return "; ".join(notices)


def reduce(generator: Any) -> Any:
    """Keep a global generator by its device, whose state is saved by itself, and any other with its state."""
    index = _index_of_global(generator)
    if index is not None:
        return _global, (generator.device.type, index)
    return _generator, (str(generator.device), _bytes(generator.get_state()))


def _index_of_global(generator: Any) -> int | None:
    if generator is torch.default_generator:
        return 0
    for kind in _ACCELERATORS:
        for index, known in enumerate(getattr(getattr(torch, kind, None), "default_generators", ())):
            if known is generator:
                return index
    return None


def _global(kind: str, index: int) -> Any:
    if kind == "cpu":
        return torch.default_generator
    module = getattr(torch, kind)
    if not module.is_available():
        return torch.default_generator
    module.init()
    return module.default_generators[min(index, module.device_count() - 1)]


def _generator(device: str, state: bytes) -> Any:
    from .torch_tensors import device_here

    generator = torch.Generator(device_here(device))
    if generator.device.type == torch.device(device).type:
        generator.set_state(_tensor(state))
    return generator


def _bytes(state: Any) -> bytes:
    return bytes(state.cpu().numpy().tobytes())


def _tensor(state: bytes) -> Any:
    return torch.frombuffer(bytearray(state), dtype=torch.uint8)
