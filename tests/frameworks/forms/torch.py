"""torch's objects: tensors are told apart by what they look at and what hangs on them."""

from __future__ import annotations

from typing import Any


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    import torch

    if isinstance(thing, torch.Tensor):
        return _tensor(walk, thing)
    if isinstance(thing, torch.UntypedStorage):
        return ("storage", _memory(walk, thing), thing.nbytes())
    if isinstance(thing, torch.Generator):
        is_global = thing is torch.default_generator
        return ("generator", str(thing.device), is_global, thing.get_state().tolist())
    if type(thing) in (torch.dtype, torch.device, torch.layout, torch.memory_format):
        return (repr(thing),)
    if isinstance(thing, torch.utils.hooks.RemovableHandle):
        return ("handle", thing.id in (thing.hooks_dict_ref() or ()))
    if type(thing).__name__ == "OptimizedModule":
        return ("compiled", walk.form(thing._orig_mod))
    if type(thing).__name__ == "_WrappedHook":  # which has its function's name and module as attributes, or not
        return ("hook", walk.form(thing.hook))
    if isinstance(thing, type) or callable(getattr(thing, "__next__", None)):
        return None
    if hasattr(thing, "__dict__"):
        parts = sorted(thing.__dict__.items())
        return (
            walk.form(type(thing)),
            [(name, _part(walk, name, part)) for name, part in parts if name != "_iterator"],
        )
    return None


def _part(walk: Any, name: str, part: Any) -> Any:
    """Hooks are numbered as they come, across all of a process."""
    hooks = name.endswith(("_hooks", "_with_kwargs", "_always_called")) and isinstance(part, dict)
    return [walk.form(hook) for hook in part.values()] if hooks else walk.form(part)


def _memory(walk: Any, storage: Any) -> int | None:
    key = ("torch memory", storage.data_ptr())
    return walk.numbers.setdefault(key, len(walk.numbers)) if storage.nbytes() else None


def _tensor(walk: Any, tensor: Any) -> tuple[Any, ...]:
    import torch

    look: tuple[Any, ...] = (str(tensor.dtype), tuple(tensor.shape), str(tensor.device), str(tensor.layout))
    if tensor.layout is torch.strided and tensor.device.type != "meta" and not tensor.is_quantized:
        walk.alive.append(tensor.untyped_storage())
        raw = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage()).tolist()
        look += (tensor.stride(), tensor.storage_offset(), _memory(walk, tensor.untyped_storage()), raw)
        look += (tensor.is_conj(), tensor.is_neg())
    elif tensor.layout is not torch.strided or tensor.is_quantized:
        look += (repr(tensor.detach()),)
    grad = (walk.form(tensor.grad) if tensor.is_leaf else None, tensor.requires_grad, tensor.is_leaf)
    own = {name: part for name, part in tensor.__dict__.items() if not name.startswith("_dynamo")}
    hooks = ([walk.form(hook) for hook in (tensor._backward_hooks or {}).values()],)
    return (walk.form(type(tensor)), *look, *grad, *hooks, walk.form(own))
