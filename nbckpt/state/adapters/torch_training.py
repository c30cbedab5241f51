"""What trains with torch: optimizers, scalers, and modules that torch's own pickles leave something out of."""

from __future__ import annotations

import functools
import pickle
import weakref
from typing import Any

import torch
from torch.nn.utils import parametrize


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
    """Keep a scaler as it is; what it knows of a step in progress goes by the optimizer's address."""
    if scaler._per_optimizer_states:  # noqa: SLF001
        raise pickle.PicklingError("a GradScaler can be saved only after its update()")
    return _bare, (type(scaler),), dict(scaler.__dict__), None, None, _fill


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
    function = module.__dict__.get("_compiled_call_impl")
    derived = _derived(module.__dict__.get("_forward_pre_hooks") or {})
    if not function and not derived:
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
    if how is not None:
        module._compiled_call_impl = _compiled(how, module._call_impl)  # noqa: SLF001
