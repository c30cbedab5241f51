"""torch's tensors and the memory they look at: one storage is saved once, whoever looks at it.

torch's own pickles copy a tensor's storage into the stream, apart for each tensor that is pickled by itself. Here a
tensor is its storage and its place in it. A storage is one Python object for as long as it lives, so pickle's memo
knows it again, and its bytes leave the stream without being copied.
"""

from __future__ import annotations

import ctypes
import mmap
import pickle
import warnings
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from . import say, torch_arrays

_GRAPH = (
    "it is a result that autograd still follows (it has a grad_fn), and that graph cannot be saved; keep its "
    ".detach(), or del it before the iteration ends"
)


def reduce(tensor: Any) -> Any:
    """Keep a tensor as its place in its storage, or in the tensor that it is a view of, and what hangs on it."""
    kind = type(tensor)
    if kind.__reduce_ex__ not in (torch.Tensor.__reduce_ex__, torch.nn.Parameter.__reduce_ex__):
        return NotImplemented  # it knows how, as lazily built parameters do
    with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 - what it is, not what its class makes of it
        if tensor.grad_fn is not None:
            raise pickle.PicklingError(_GRAPH)
        state = _state(tensor)
        if hasattr(kind, "__tensor_flatten__"):
            names, context = tensor.__tensor_flatten__()
            inner = {name: getattr(tensor, name) for name in names}
            own = {name: value for name, value in state.pop("attributes", {}).items() if name not in inner}
            made = (kind, inner, context, tensor.size(), tensor.stride())
            return _unflatten, made, {**state, "more": own}, None, None, _fill
        if not _is_plain(tensor):
            make, arguments = tensor._reduce_ex_internal(pickle.HIGHEST_PROTOCOL)  # noqa: SLF001
            return _otherwise, (kind, make, arguments, tensor.requires_grad), state, None, None, _fill
        look = (tensor.storage_offset(), tuple(tensor.size()), tensor.stride())
        base = tensor._base  # noqa: SLF001
        if base is not None and kind is torch.Tensor and _is_view_for_autograd(tensor, base):
            return _view, (base, *look), state, None, None, _fill
        bits = torch._C._get_tensor_metadata(tensor)  # noqa: SLF001
        plain = (kind, tensor.untyped_storage(), tensor.dtype, look, tensor.requires_grad, tensor.is_inference(), bits)
        return _tensor, plain, state or None, None, None, _fill if state else None


def reduce_storage(storage: Any) -> Any:
    """Keep a storage's bytes, out of band where there are many, and its device."""
    if isinstance(storage, torch.TypedStorage):
        return _typed, (storage._untyped_storage, storage.dtype)  # noqa: SLF001
    kind = storage.device.type
    if kind == "meta":
        return _without_memory, (storage.nbytes(),)
    if kind == "cpu" and (shared_with := torch_arrays.reduce_storage(storage)) is not None:
        return shared_with
    host = storage if kind == "cpu" else storage.cpu()
    shared = kind == "cpu" and storage.is_shared()
    return _storage, (pickle.PickleBuffer(_bytes(host)), str(storage.device), shared)


def reduce_device(device: Any) -> Any:
    """Keep a device by its name; where it is missing on resume, it is the one that the tensors went to."""
    return _device, (str(device),)


def reduce_info(info: Any) -> Any:
    """Keep what is known of a type's numbers as that type."""
    return type(info), (getattr(torch, info.dtype),)


# -- what a tensor is ----------------------------------------------------------------------------------------


def _is_plain(tensor: Any) -> bool:
    """Whether it is nothing but a way of looking at a storage."""
    if not torch._C._has_storage(tensor):  # noqa: SLF001
        return False
    named = getattr(tensor, "has_names", bool)()  # newer versions of torch have no names
    return tensor.layout is torch.strided and not (tensor.is_quantized or tensor.is_nested or named)


def _is_view_for_autograd(tensor: Any, base: Any) -> bool:
    """Whether a change made through a tensor is one of its base for autograd too.

    What `.detach()` gives is not: it looks at a leaf's storage and is apart from it otherwise.
    """
    same = tensor.dtype == base.dtype and tensor.is_conj() == base.is_conj() and tensor.is_neg() == base.is_neg()
    return same and _is_plain(base) and not (base.requires_grad or tensor.is_inference())


def _state(tensor: Any) -> dict[str, Any]:
    """What hangs on a tensor: its gradient, hooks and attributes. It may refer to the tensor in turn."""
    state: dict[str, Any] = {}
    if tensor.grad is not None:
        state["grad"] = tensor.grad
    if tensor._backward_hooks:  # noqa: SLF001
        state["hooks"] = tensor._backward_hooks  # noqa: SLF001
    if getattr(tensor, "_post_accumulate_grad_hooks", None):
        state["hooks_after"] = tensor._post_accumulate_grad_hooks  # noqa: SLF001
    if tensor.requires_grad and tensor._base is not None:  # noqa: SLF001
        state["requires_grad"] = True
    attributes = dict(tensor.__dict__)
    for kind in type(tensor).__mro__[:-3]:  # up to Tensor itself
        slots = vars(kind).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if hasattr(tensor, name):
                attributes[name] = getattr(tensor, name)
    if attributes:
        state["attributes"] = attributes
    return state


def _fill(tensor: Any, state: dict[str, Any]) -> None:
    with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001
        for name, value in {**state.get("attributes", {}), **state.get("more", {})}.items():
            setattr(tensor, name, value)
        if state.get("requires_grad"):
            tensor.requires_grad_()
        if "grad" in state:
            tensor.grad = state["grad"]
        if "hooks" in state:
            tensor._backward_hooks = state["hooks"]  # noqa: SLF001
        if numbers := [*state.get("hooks", ()), *state.get("hooks_after", ())]:
            # new hooks are numbered after those that came back: they would take their places
            RemovableHandle.next_id = max(RemovableHandle.next_id, *(number + 1 for number in numbers))
        if "hooks_after" in state:
            tensor._post_accumulate_grad_hooks = state["hooks_after"]  # noqa: SLF001


# -- the way back --------------------------------------------------------------------------------------------


def _tensor(kind: Any, storage: Any, dtype: Any, look: Any, requires_grad: bool, inference: bool, bits: Any) -> Any:  # noqa: FBT001
    with torch.inference_mode(inference):
        made = torch.empty((0,), dtype=dtype, device=storage.device).set_(storage, *look)
        if bits:
            torch._C._set_tensor_metadata(made, bits)  # noqa: SLF001
        return _as(kind, made, requires_grad)


def _view(base: Any, offset: int, size: Any, stride: Any) -> Any:
    with torch.enable_grad():
        return base.as_strided(size, stride, offset)


def _unflatten(kind: Any, inner: Any, context: Any, size: Any, stride: Any) -> Any:
    return kind.__tensor_unflatten__(inner, context, size, stride)


def _otherwise(kind: Any, make: Any, arguments: Any, requires_grad: bool) -> Any:  # noqa: FBT001
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a kind of tensor that is new or old: it was made once, and warned of
        return _as(kind, make(*arguments), requires_grad)


def _as(kind: Any, made: Any, requires_grad: bool) -> Any:  # noqa: FBT001
    if kind is torch.Tensor:
        return made.requires_grad_(requires_grad) if requires_grad else made
    return torch.Tensor._make_subclass(kind, made, requires_grad)  # noqa: SLF001


def _storage(raw: Any, device: str, shared: bool) -> Any:  # noqa: FBT001
    # into memory of torch's own: it can be resized, and is aligned as it was, on which the last bit of a result
    # may depend
    view = memoryview(raw)
    made = getattr(view.obj, "storage", None)
    if made is None:
        made = torch.UntypedStorage(view.nbytes)
        if made.nbytes():
            memoryview(_bytes(made)).cast("B")[:] = view.cast("B")
    if shared:
        made.share_memory_()
    here = device_here(device)
    return made if here.type == "cpu" else made.to(device=here)


def room(size: int) -> memoryview:
    """Memory of a storage, which becomes the one that is built of what is read there.

    It is asked for in pages as large as there are, as NumPy asks for its own: their first use takes less time.
    """
    storage = torch.UntypedStorage(size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        first = -(-storage.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (storage.data_ptr() + size) // mmap.PAGESIZE * mmap.PAGESIZE - first
        if length > 0:  # what the kernel answers does not matter: it is a wish
            ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
    return memoryview(_bytes(storage)).cast("B")


def _without_memory(size: int) -> Any:
    return torch.UntypedStorage(size, device="meta")


def _typed(storage: Any, dtype: Any) -> Any:
    return torch.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)


def _device(name: str) -> Any:
    return device_here(name)


def device_here(name: str) -> Any:
    """The device of that name, or what takes its place where there is none: another one of its kind, or the CPU."""
    wanted = torch.device(name)
    if wanted.type in ("cpu", "meta"):
        return wanted
    module = getattr(torch, wanted.type, None)
    count = module.device_count() if module is not None and module.is_available() else 0
    if (wanted.index or 0) < count:
        return wanted
    here = torch.device(wanted.type, 0) if count else torch.device("cpu")
    say(f"there is no device {name} here, so what was on it is on {here}; the numbers may differ in their last bits")
    return here


def _bytes(storage: Any) -> Any:
    """A storage's memory itself, which keeps the storage alive."""
    if not storage.nbytes():
        return b""
    raw = (ctypes.c_ubyte * storage.nbytes()).from_address(storage.data_ptr())
    raw.storage = storage
    return raw
