"""LightGBM's boosters and datasets: as they are saved to a file."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """The form of boosters and datasets; estimators are told apart by their attributes."""
    if isinstance(thing, lgb.Booster):
        sets = [getattr(thing, "train_set", None), *(getattr(thing, "valid_sets", None) or [])]
        return (thing.model_to_string(), thing.best_iteration, repr(thing.params), [walk.form(part) for part in sets])
    if isinstance(thing, lgb.Dataset):
        return (walk.form(thing.data), walk.form(list(thing.get_label())), walk.form(thing.reference))
    return None
