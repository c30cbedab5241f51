"""Keras's models, layers, optimizers, metrics and variables, as the objects that they are.

Keras pickles a model as an archive of its own: a layer that has a name of its own would come back as another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_COMPILED = {"train_function", "test_function", "predict_function"}
_OF_THE_CLASS = ("build", "quantize", "call")
"""What `__new__` puts on a layer."""


def reduce(thing: Any) -> Any:
    """Keep an object's attributes, but for what is compiled again when it is needed."""
    kind = type(thing)
    state = {name: value for name, value in vars(thing).items() if not (name in _OF_THE_CLASS and callable(value))}
    state |= dict.fromkeys(_COMPILED & state.keys())
    if "_losses" in state:  # what tracing has left there is gone at the next call
        state["_losses"] = [loss for loss in state["_losses"] if hasattr(loss, "numpy")]
    if isinstance(thing, (list, dict, set)):
        items = list(thing.items()) if isinstance(thing, dict) else list(thing)
        return _new, (kind,), (items, state), None, None, _fill_tracked
    return _new, (kind,), (state, _take_identities(thing, state)), None, None, _fill


def _new(kind: Any) -> Any:
    return kind.__new__(kind)


def _fill(thing: Any, saved: tuple[dict[str, Any], dict[str, Any]]) -> None:
    state, meant = saved
    vars(thing).update(state)
    vars(thing).update({name: _PUT[name](thing, objects) for name, objects in meant.items()})


def _fill_tracked(thing: Any, saved: tuple[list[Any], dict[str, Any]]) -> None:
    items, state = saved
    # past the methods of its own, which would track what is tracked already
    add: Any = list.extend if isinstance(thing, list) else dict.update if isinstance(thing, dict) else set.update
    add(thing, items)
    vars(thing).update(state)


# ---------------------------------------------------------------------------------------------------------
# Some attributes know objects by their identity, which is another one after a resume: they are saved as the objects.


def _take_identities(thing: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Take such attributes out of a state, as the objects that they mean."""
    meant: dict[str, Any] = {}
    for name in _PUT.keys() & state.keys():
        known = state.pop(name)
        if name == "stored_ids":  # a tracker's: what it has put into its stores
            stores = {store: list(found) for store, (_, found) in state["config"].items()}
            meant[name] = {store: [one for one in stores[store] if id(one) in ids] for store, ids in known.items()}
        elif name == "_trainable_variables_indices":  # an optimizer's
            keys = [(one, thing._var_key(one)) for one in state["_trainable_variables"]]  # noqa: SLF001
            meant[name] = [(one, known[key]) for one, key in keys if key in known]
        elif name == "_loss_ids":  # a layer's
            meant[name] = [one for one in state["_losses"] if id(one) in known]
        else:  # a functional model's nodes
            steps = {str(id(operation)): operation for operation in state["_operations"]}
            nodes = [key.partition("_ib-") for key in sorted(known)]
            meant[name] = [(steps[step], number) for step, _, number in nodes if step in steps]
    return meant


_PUT: dict[str, Callable[[Any, Any], Any]] = {
    "stored_ids": lambda _, stores: {store: set(map(id, objects)) for store, objects in stores.items()},
    "_trainable_variables_indices": lambda thing, pairs: {thing._var_key(one): index for one, index in pairs},  # noqa: SLF001
    "_loss_ids": lambda _, losses: set(map(id, losses)),
    "_nodes": lambda _, pairs: {f"{id(operation)}_ib-{number}" for operation, number in pairs},
}
