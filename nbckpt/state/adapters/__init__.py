"""What libraries and live things need beyond pickle: one rule a type.

An adapter module has `reduce(thing)`, or one such function a class, which returns what `object.__reduce__` may
return or raises `pickle.PicklingError`. It is imported when a class of its name (or one derived from it) is met, so
never before its library is.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Callable
from typing import Any

from ...errors import OptionError, RestoreError
from . import by_hand, class_states
from .live import WRONG, live_resource, names_of

Reduce = Callable[[Any], Any]

_MODULES = {
    **{
        f"builtins.dict_{order}{part}iterator": "dict_iterators"
        for order in ("", "reverse")
        for part in ("key", "value", "item")
    },
    "PIL.ImageDraw.ImageDraw": "image_draws",
    "_csv.writer": "csv_writers",
    "_ctypes.PyCArrayType": "ctypes_arrays",
    "builtins.BaseException": "exceptions",
    **{f"builtins.{kind}_{part}": "dict_views" for kind in ("dict", "odict") for part in ("keys", "values", "items")},
    "builtins.frozenset": "by_hand.reduce_container",
    "builtins.list_iterator": "list_iterators",
    "builtins.list_reverseiterator": "list_iterators",
    "builtins.mappingproxy": "dict_views",
    "builtins.memoryview": "memory_views",
    "builtins.set": "by_hand.reduce_container",
    "builtins.set_iterator": "set_iterators",
    "collections.Counter": "by_hand.reduce_container",
    "collections.OrderedDict": "by_hand.reduce_container",
    "collections._deque_reverse_iterator": "deque_iterators",
    "collections.defaultdict": "by_hand.reduce_container",
    "collections.deque": "by_hand.reduce_container",
    "csv.DictWriter": "csv_writers.reduce_named",
    "dataclasses._FIELD_BASE": "singletons",
    "dataclasses._MISSING_TYPE": "singletons",
    "enum.Enum": "enum_members",
    "functools.cached_property": "cached_properties",
    "functools.singledispatchmethod": "wrappers",
    "jaxlib._jax.ArrayImpl": "jax_arrays",
    "jaxlib._jax.Device": "jax_arrays.reduce_device",
    "keras.src.backend.common.variables.Variable": "keras_objects",
    "keras.src.saving.keras_saveable.KerasSaveable": "keras_objects",
    "keras.src.utils.tracking.TrackedDict": "keras_objects",
    "keras.src.utils.tracking.TrackedList": "keras_objects",
    "keras.src.utils.tracking.TrackedSet": "keras_objects",
    "keras.src.utils.tracking.Tracker": "keras_objects",
    "lightgbm.basic.Booster": "lightgbm_boosters",
    "lightgbm.basic.Dataset": "lightgbm_boosters",
    "matplotlib.figure.Figure": "figures",
    "numpy.dtype": "numpy_dtypes",
    "numpy.memmap": "memory_maps",
    "numpy.ndarray": "numpy_views",
    "numpy.void": "numpy_views.reduce_element",
    "numpy.random.mtrand.RandomState": "random_state",
    "pandas._libs.internals.Block": "pandas_blocks",
    "pandas._libs.internals.BlockValuesRefs": "pandas_blocks.reduce_references",
    "pandas.StringDtype": "pandas_blocks.reduce_text",
    "pandas.core.arrays.string_.StringDtype": "pandas_blocks.reduce_text",
    "pandas.core.indexes.base.Index": "pandas_blocks.reduce_index",
    "pandas.core.internals.managers.SingleBlockManager": "pandas_blocks.reduce_series",
    "os._Environ": "singletons",
    "pandas.core.generic.NDFrame": "pandas_frames",
    "queue.Queue": "queues",
    "random.Random": "random_state",
    "torch.Tensor": "torch_tensors",
    "torch._C.Generator": "torch_random",
    "torch.device": "torch_tensors.reduce_device",
    "torch.amp.grad_scaler.GradScaler": "torch_training.reduce_scaler",
    "torch.nn.modules.module.Module": "torch_training.reduce_module",
    "torch.optim.optimizer.Optimizer": "torch_training.reduce_optimizer",
    "torch.finfo": "torch_tensors.reduce_info",
    "torch.iinfo": "torch_tensors.reduce_info",
    "torch.utils.data.dataloader.DataLoader": "torch_loaders",
    "torch.utils.data.dataloader._SingleProcessDataLoaderIter": "torch_loaders.reduce_iterator",
    "torch.storage.TypedStorage": "torch_tensors.reduce_storage",
    "torch.storage.UntypedStorage": "torch_tensors.reduce_storage",
    "tensorflow.python.data.ops.dataset_ops.DatasetV2": "tensorflow_objects",
    "tensorflow.python.data.ops.iterator_ops.OwnedIterator": "tensorflow_objects",
    "tensorflow.python.distribute.distribute_lib.StrategyBase": "tensorflow_objects",
    "tensorflow.python.eager.polymorphic_function.polymorphic_function.Function": "tensorflow_objects",
    "tqdm.std.tqdm": "tqdm_bar",
    "typing.NewType": "wrappers",
    "weakref.ReferenceType": "weak_references",
    "weakref.WeakKeyDictionary": "weak_references",
    "weakref.WeakMethod": "weak_references",
    "weakref.WeakValueDictionary": "weak_references",
    "xgboost.core.DMatrix": "xgboost_matrices",
}
"""Which adapter takes care of a class and what is derived from it, and which function of it, if not `reduce`."""

_said: list[str] = []
_unsettled: list[bool] = []
_on_arrival: list[Callable[[], None]] = []

_registered: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {}


def register(cls: type, save: Callable[[Any], Any], load: Callable[[Any], Any]) -> None:
    """Teach nbckpt to save objects of a class that does not pickle.

    `save(thing)` returns something that does; `load` makes the object again from it. Both hold for derived
    classes that have no rule of their own.

    >>> import threading
    >>> register(type(threading.Lock()), save=lambda lock: None, load=lambda _: threading.Lock())
    """
    if not isinstance(cls, type) or not callable(save) or not callable(load):
        raise OptionError("nbckpt.register takes a class and two functions: register(cls, save=..., load=...)")
    _registered[cls] = (save, load)


def registered() -> dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]]:
    """What `register` was told, by class."""
    return dict(_registered)


def rule_for(kind: type) -> Reduce | None:
    """The rule for objects of a class, or None where pickle's own way is right."""
    for base in kind.__mro__:
        if base in _registered:
            save = _registered[base][0]
            return lambda thing: (_load_registered, (base, save(thing)))
        if module := _MODULES.get(f"{base.__module__}.{base.__qualname__}"):
            return _adapter(module)
    if name := live_resource(kind):
        return _refuse(f"{name} belongs to this process")
    if reason := next((WRONG[name] for name in names_of(kind) if name in WRONG), ""):
        return _refuse(reason)
    if kind is object:
        return _adapter("singletons")
    if issubclass(kind, type):
        return None
    if class_states.applies(kind):
        return class_states.reduce
    if by_hand.applies(kind):
        return _adapter("by_hand")
    return _adapter("by_hand.reduce_derived") if by_hand.library_base(kind) is not None else None


def _adapter(name: str) -> Reduce:
    module, _, function = name.partition(".")
    reduce: Reduce = getattr(importlib.import_module(f"{__name__}.{module}"), function or "reduce")
    return reduce


def rule_for_function(function: Any) -> Reduce | None:
    """The rule for a function that a library made of another one, or None for all others."""
    if "_torchdynamo_orig_callable" in function.__dict__:
        from .torch_training import reduce_compiled

        return reduce_compiled
    return None


def is_passing(value: Any, depth: int = 3) -> bool:
    """Whether a value is, or holds, a result in the middle of its use that cannot be saved: part of torch's graph."""
    torch = sys.modules.get("torch")
    if torch is None or depth == 0:
        return False
    if isinstance(value, torch.Tensor):
        return value.grad_fn is not None
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return any(is_passing(part, depth - 1) for part in parts[:16])


def say(text: str) -> None:
    """Have a person told something about an object that is being built."""
    if text not in _said:
        _said.append(text)


def take_said() -> list[str]:
    """What adapters had to say since this was asked last."""
    said = list(_said)
    _said.clear()
    return said


def say_unsettled() -> None:
    """Have what was pickled so far pickled anew: by now it is known what it shares with what came later."""
    _unsettled.append(True)


def take_unsettled() -> bool:
    """Whether that was so since this was asked last."""
    unsettled = bool(_unsettled)
    _unsettled.clear()
    return unsettled


def remark(thing: Any, text: str) -> None:
    """Have a person told something about an object that is being saved; its name goes before the text."""
    if all(known is not thing for known, _ in _remarks):
        _remarks.append((thing, text))


_remarks: list[tuple[Any, str]] = []


def take_remarks() -> list[tuple[Any, str]]:
    """What adapters had to say about objects since this was asked last."""
    remarks = list(_remarks)
    _remarks.clear()
    return remarks


def do_on_arrival(act: Callable[[], None]) -> None:
    """Have something done once a run goes on from what is being built, and not if somebody only looks at it."""
    _on_arrival.append(act)


def take_for_arrival() -> list[Callable[[], None]]:
    """What was to be done since this was asked last."""
    acts = list(_on_arrival)
    _on_arrival.clear()
    return acts


def _load_registered(cls: type, saved: Any) -> Any:
    if cls not in _registered:
        raise RestoreError(
            f"the snapshot holds a {cls.__qualname__} saved through nbckpt.register, which was not called here. "
            "Nothing was touched: register it, then run the cell again"
        )
    return _registered[cls][1](saved)


def _refuse(reason: str) -> Reduce:
    def reduce(_: Any) -> Any:
        raise pickle.PicklingError(reason)

    return reduce
