"""XGBoost's matrices, which are made again from what they hold: values, labels, weights, names and types."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

_NUMBERS = ("label_lower_bound", "label_upper_bound", "feature_weights")
_OWN = ("handle", "missing", "nthread", "silent")


def reduce(matrix: Any) -> Any:
    """Keep a matrix as its values and what goes with them.

    Raises:
        pickle.PicklingError: it has less than it was made of, so another one would train otherwise.
    """
    import xgboost as xgb

    if type(matrix) is not xgb.DMatrix:
        raise pickle.PicklingError(
            f"a {type(matrix).__name__} keeps less than it was made of and cannot be made again: use a plain "
            "xgboost.DMatrix, or make it in a cell before this one"
        )
    if hasattr(matrix, "get_categories") and not matrix.get_categories().empty():
        raise pickle.PicklingError("its categories cannot be read: give xgboost.DMatrix the codes of the categories")
    values = matrix.get_data()
    meta: dict[str, Any] = {"label": matrix.get_label(), "weight": matrix.get_weight()}
    meta |= {"base_margin": matrix.get_base_margin()} | {name: matrix.get_float_info(name) for name in _NUMBERS}
    meta = {name: np.array(value) for name, value in meta.items() if value.size}
    if (groups := matrix.get_uint_info("group_ptr")).size:
        meta["group"] = np.diff(groups)
    meta |= {"feature_names": matrix.feature_names, "feature_types": matrix.feature_types}
    kept = {name: value for name, value in vars(matrix).items() if name not in _OWN}
    return rebuild, ((values.data, values.indices, values.indptr), values.shape, meta), kept


def rebuild(values: Any, shape: Any, meta: dict[str, Any]) -> Any:
    """The matrix again."""
    import scipy.sparse
    import xgboost as xgb

    types = meta.pop("feature_types")
    rows = scipy.sparse.csr_matrix(values, shape=shape)
    matrix = xgb.DMatrix(rows, feature_types=types, enable_categorical="c" in (types or ()))
    matrix.set_info(**meta)
    return matrix
