"""LightGBM's boosters that are being trained, and their datasets.

LightGBM pickles a booster as a model that cannot be trained further. Here it keeps its data, and is made again as
`lightgbm.train(init_model=...)` does it: its scores are those of the trees that it has. The dataset in the user's
hands has no part in that, so that other boosters made of it begin from nothing.
"""

from __future__ import annotations

import pickle
from typing import Any

_KEPT = "_nbckpt_kept"


def reduce(thing: Any) -> Any:
    """Keep a dataset as what it is to be constructed from, a booster as its trees and its datasets.

    Raises:
        pickle.PicklingError: the data was freed when the dataset was constructed.
    """
    import lightgbm as lgb

    if isinstance(thing, lgb.Dataset):
        return _reduce_dataset(thing)
    if getattr(thing, "train_set", None) is None:
        return NotImplemented
    state = {**thing.__getstate__(), "train_set": thing.train_set, "valid_sets": thing.valid_sets}
    state = {name: value for name, value in state.items() if name != _KEPT and not name.startswith("_Booster__")}
    return _new, (type(thing),), state, None, None, _fill


def _reduce_dataset(dataset: Any) -> Any:
    if dataset._handle is not None and dataset.data is None:  # noqa: SLF001 - there is no public way to ask
        raise pickle.PicklingError(
            "its data was freed when it was constructed: make it with lightgbm.Dataset(..., free_raw_data=False)"
        )
    # constructed again, from the same data, when it is needed
    state = {**vars(dataset), "_handle": None, "_predictor": None}
    return _new, (type(dataset),), state


def _new(kind: Any) -> Any:
    return kind.__new__(kind)


def _fill(booster: Any, state: dict[str, Any]) -> None:
    """Put a booster together again."""
    import lightgbm as lgb
    from lightgbm.basic import _InnerPredictor

    train_set, valid_sets = state.pop("train_set"), state.pop("valid_sets")
    so_far = lgb.Booster(model_str=state.pop("_handle"))
    predictor = _InnerPredictor.from_booster(so_far, {}) if so_far.num_trees() else None
    known: dict[int, Any] = {}
    anew = lgb.Booster(state["params"], _with_scores(train_set, predictor, known))
    for name, dataset in zip(state["name_valid_sets"], valid_sets, strict=True):
        anew.add_valid(_with_scores(dataset, predictor, known), name)
    made = {name: value for name, value in vars(anew).items() if name == "_handle" or name.startswith("_Booster__")}
    vars(booster).update({**state, **made, "train_set": train_set, "valid_sets": valid_sets})
    booster.train_set_version = train_set.construct().version
    # what the handle works with must live as long as it does
    vars(booster)[_KEPT] = (so_far, anew.train_set, anew.valid_sets)
    anew._handle = None  # noqa: SLF001 - it is the other one's now


def _with_scores(dataset: Any, predictor: Any, known: dict[int, Any]) -> Any:
    """A dataset like another one, that begins with a model's scores."""
    if id(dataset) not in known:
        twin = known[id(dataset)] = _new(type(dataset))
        vars(twin).update({**vars(dataset), "_handle": None, "_predictor": None})
        if dataset.reference is not None:
            twin.reference = _with_scores(dataset.reference, predictor, known)
        twin._set_predictor(predictor)  # noqa: SLF001 - as lightgbm.train does
    return known[id(dataset)]
