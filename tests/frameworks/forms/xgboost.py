"""XGBoost's boosters and matrices: as they are saved to a file."""

from __future__ import annotations

from typing import Any

import xgboost as xgb


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """The form of boosters and matrices; estimators are told apart by their attributes."""
    if isinstance(thing, xgb.Booster):
        return (bytes(thing.save_raw("json")), repr(thing.attributes()))
    if isinstance(thing, xgb.DMatrix):
        values = thing.get_data()
        meta = [thing.get_label(), thing.get_weight(), thing.get_base_margin(), thing.get_uint_info("group_ptr")]
        names = (thing.feature_names, thing.feature_types)
        return (values.shape, values.toarray().tobytes(), [part.tobytes() for part in meta], repr(names))
    return None
