"""What trains with torch: optimizers, scalers, and modules that torch's own pickles leave something out of."""

from __future__ import annotations

import functools
import gc
import pickle
import weakref
from collections import defaultdict
from typing import Any

import torch
from torch.nn.utils import parametrize

from ...errors import RestoreError


def reduce_optimizer(optimizer: Any) -> Any:
    """Keep all of an optimizer: torch leaves out its hooks, and that a scheduler counts its steps."""
    state = dict(optimizer.__dict__)
    step = state.get("step")
    counted = getattr(step, "_wrapped_by_lr_sched", False)
    if counted:
        del state["step"]
    return _bare, (type(optimizer),), (state, counted), None, None, _fill_optimizer


def _fill_optimizer(optimizer: Any, saved: Any) -> None:
    state, counted = saved
    optimizer.__dict__.update(state)
    _number_hooks(state)
    if "_optimizer_step_pre_hooks" in state:  # one that wraps another may never have called Optimizer.__init__
        optimizer._patch_step_function()  # noqa: SLF001 - the class's own step has its hooks only then
    if counted:
        optimizer.step = _counted(optimizer)


def _counted(optimizer: Any) -> Any:
    """An optimizer's step as a scheduler wraps it, to know whether it was called; from torch's lr_scheduler.py."""
    step = type(optimizer).step
    known = weakref.ref(optimizer)

    @functools.wraps(step)
    def wrapper(*args: Any, **options: Any) -> Any:
        own: Any = known()
        own._opt_called = True  # noqa: SLF001
        return step.__get__(own, type(own))(*args, **options)

    wrapper._wrapped_by_lr_sched = True  # type: ignore[attr-defined]  # noqa: SLF001
    return wrapper


def reduce_scaler(scaler: Any) -> Any:
    """Keep a scaler as it is. What it knows of a step in progress goes by the optimizer's address."""
    state = dict(scaler.__dict__)
    if "_per_optimizer_states" not in state:  # one that is switched off
        return _bare, (type(scaler),), state, None, None, _fill
    steps = state.pop("_per_optimizer_states")
    optimizers = {id(thing): thing for thing in gc.get_objects() if id(thing) in steps} if steps else {}
    return (
        _bare,
        (type(scaler),),
        (state, [(optimizers[key], step) for key, step in steps.items()]),
        None,
        None,
        _fill_scaler,
    )


def _fill_scaler(scaler: Any, saved: Any) -> None:
    from torch.amp import grad_scaler

    state, steps = saved
    scaler.__dict__.update(state)
    scaler._per_optimizer_states = defaultdict(grad_scaler._refresh_per_optimizer_state)  # noqa: SLF001
    for optimizer, step in steps:
        scaler._per_optimizer_states[id(optimizer)] = step  # noqa: SLF001


def reduce_module(module: Any) -> Any:
    """Keep parametrized and compiled modules, too, which torch does not pickle as such; others as they do it."""
    kind = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        raise pickle.PicklingError(
            "a torch.jit module cannot be saved with what it shares; keep the module that it was made from"
        )
    if parametrize.is_parametrized(module) and kind.__name__ == f"Parametrized{kind.__bases__[0].__name__}":
        names = list(module.parametrizations)
        return _parametrized, (kind.__bases__[0], names), dict(module.__dict__), None, None, _fill
    if kind.__module__ == "torch._dynamo.eval_frame":
        return _compiled, (_compilation(module.dynamo_ctx), module._orig_mod)  # noqa: SLF001
    if kind.__module__ == "torch.nn.parallel.distributed":
        make, arguments, state, *_ = module.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return make, arguments, state, None, None, _fill_parallel
    function = module.__dict__.get("_compiled_call_impl")
    derived = _derived(module.__dict__.get("_forward_pre_hooks") or {})
    hooked = any(value for name, value in module.__dict__.items() if name.endswith("_hooks"))
    if not (function or derived or hooked):
        return NotImplemented
    make, arguments, state, *_ = module.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    state = {name: value.detach() if name in derived else value for name, value in state.items()}
    how = _compilation(_context_of(function)) if function else None
    return make, arguments, (state, how), None, None, _fill_module


def _derived(hooks: Any) -> set[str]:
    """The attributes that a module's hooks compute anew before each of its steps, as `weight_norm` and pruning do.

    They are results of autograd, and nobody asks for them before that.
    """
    found = set()
    for hook in hooks.values():
        if type(hook).__module__ in ("torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm"):
            found.add(hook.name)
        elif any(base.__module__ == "torch.nn.utils.prune" for base in type(hook).__mro__):
            found.add(hook._tensor_name)  # noqa: SLF001
    return found


def reduce_compiled(function: Any) -> Any:
    """Keep what `torch.compile` made of a function as that function, to be compiled again when it is called."""
    return _compiled, (_compilation(_context_of(function)), function._torchdynamo_orig_callable)  # noqa: SLF001


def _context_of(function: Any) -> Any:
    """How a function was compiled."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    if "self" not in cells:
        raise pickle.PicklingError("a function compiled by torch in this way cannot be saved; keep the one it is of")
    return cells["self"].cell_contents


def _compilation(context: Any) -> tuple[Any, bool, Any]:
    """What `torch.compile` was asked for: its backend with all its options, `fullgraph`, `dynamic`."""
    from torch._dynamo.eval_frame import innermost_backend

    backend = innermost_backend(context.callback) if context.callback is not None else None
    return backend, bool(getattr(context, "fullgraph", False)), getattr(context, "_dynamic", None)


# -- the way back --------------------------------------------------------------------------------------------


def _bare(kind: Any) -> Any:
    return object.__new__(kind)


def _fill(thing: Any, state: Any) -> None:
    thing.__dict__.update(state)


def _fill_parallel(module: Any, state: Any) -> None:
    if not torch.distributed.is_initialized():
        raise RestoreError(
            f"the snapshot holds a {type(module).__name__}, which needs a process group, and there is none. Nothing "
            "was touched: call torch.distributed.init_process_group in a cell before this one, and run the cell again"
        )
    module.__setstate__(state)
    _number_hooks(state)


def _number_hooks(state: Any) -> None:
    """Have new hooks numbered after those that came back: they would take their places."""
    from torch.utils.hooks import RemovableHandle

    numbers = [key for name, hooks in state.items() if name.endswith("_hooks") and hooks for key in hooks]
    RemovableHandle.next_id = max([RemovableHandle.next_id, *(key + 1 for key in numbers if isinstance(key, int))])


def _parametrized(kind: Any, names: list[str]) -> Any:
    made = object.__new__(kind)
    parametrize._inject_new_class(made)  # noqa: SLF001 - what register_parametrization does first
    for name in names:
        parametrize._inject_property(made, name)  # noqa: SLF001
    return made


def _compiled(how: Any, original: Any) -> Any:
    backend, fullgraph, dynamic = how
    if backend is None:
        return torch.compiler.disable(original)
    return torch._dynamo.optimize(backend=backend, nopython=fullgraph, dynamic=dynamic)(original)  # noqa: SLF001


def _fill_module(module: Any, saved: Any) -> None:
    state, how = saved
    module.__setstate__(state)
    _number_hooks(state)
    if how is not None:
        module._compiled_call_impl = _compiled(how, module._call_impl)  # noqa: SLF001
