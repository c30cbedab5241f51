"""Trainings of trees inside XGBoost and LightGBM, stopped in the middle and called again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nbckpt.callbacks

from .conftest import needs

RNG = np.random.default_rng(1)
X = RNG.normal(size=(80, 4)).astype("float32")
Y = (X[:, 0] + 0.5 * RNG.normal(size=80) > 0).astype(int)


class Killed(Exception):
    pass


def dying(at: int | None, base: type = object) -> Any:
    """A callback of XGBoost's or LightGBM's that ends the training in a round."""

    class Dying(base):  # type: ignore[misc]
        seen = 0
        order = 1

        def after_iteration(self, *_: Any) -> bool:
            self.seen += 1
            if self.seen == at:
                raise Killed
            return False

        def __call__(self, env: Any) -> None:
            self.after_iteration()

    return Dying()


def xgboost_training(name: str, store: str, dies_at: int | None) -> Any:
    import xgboost as xgb

    checkpoint = nbckpt.callbacks.XGBoost(name, store=store, every="1it", quiet=True)
    call = checkpoint.train if store else xgb.train
    train, hold, seen = xgb.DMatrix(X[:60], label=Y[:60]), xgb.DMatrix(X[60:], label=Y[60:]), {}
    parameters = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, "eta": 0.9}
    booster = call(
        parameters,
        train,
        20,
        evals=[(hold, "hold")],
        evals_result=seen,
        verbose_eval=False,
        early_stopping_rounds=3,
        callbacks=[dying(dies_at, xgb.callback.TrainingCallback)],
    )
    return bytes(booster.save_raw("json")), seen, booster.best_iteration, booster.best_score


def xgboost_estimator(name: str, store: str, dies_at: int | None) -> Any:
    import xgboost as xgb

    callbacks = [dying(dies_at, xgb.callback.TrainingCallback)]
    model = xgb.XGBClassifier(
        n_estimators=20, max_depth=3, n_jobs=1, learning_rate=0.9, early_stopping_rounds=3, callbacks=callbacks
    )
    held_out = {"eval_set": [(X[60:], Y[60:])], "verbose": False}
    if store:
        checkpoint = nbckpt.callbacks.XGBoost(name, store=store, every="1it", quiet=True)
        checkpoint.fit(model, X[:60], Y[:60], **held_out)
    else:
        model.fit(X[:60], Y[:60], **held_out)
    return model.predict_proba(X).tolist(), model.evals_result(), model.best_iteration, model.n_estimators


def lightgbm_training(name: str, store: str, dies_at: int | None) -> Any:
    import lightgbm as lgb

    checkpoint = nbckpt.callbacks.LightGBM(name, store=store, every="1it", quiet=True)
    call = checkpoint.train if store else lgb.train
    train = lgb.Dataset(X[:60], Y[:60])
    parameters = {"objective": "binary", "num_leaves": 4, "min_data_in_leaf": 5, "num_threads": 1, "verbose": -1}
    seen: Any = {}
    booster = call(
        {**parameters, "learning_rate": 0.9},
        train,
        20,
        valid_sets=[lgb.Dataset(X[60:], Y[60:], reference=train)],
        callbacks=[dying(dies_at), lgb.early_stopping(3, verbose=False), lgb.record_evaluation(seen)],
    )
    return booster.predict(X, raw_score=True).tolist(), seen, booster.best_iteration, booster.num_trees()


def lightgbm_estimator(name: str, store: str, dies_at: int | None) -> Any:
    import lightgbm as lgb

    model = lgb.LGBMClassifier(n_estimators=12, num_leaves=4, min_child_samples=5, n_jobs=1, verbose=-1)
    options: Any = {"eval_set": [(X[60:], Y[60:])], "callbacks": [dying(dies_at)]}
    if store:
        checkpoint = nbckpt.callbacks.LightGBM(name, store=store, every="1it", quiet=True)
        checkpoint.fit(model, X[:60], Y[:60], **options)
    else:
        model.fit(X[:60], Y[:60], **options)
    return model.predict_proba(X).tolist(), model.evals_result_, model.n_estimators


TRAININGS = {
    "xgboost": [xgboost_training, xgboost_estimator],
    "lightgbm": [lightgbm_training, lightgbm_estimator],
}


@pytest.mark.parametrize(
    ("library", "training"), [(library, training) for library, found in TRAININGS.items() for training in found]
)
@pytest.mark.parametrize("dies_at", [1, 3, 5])
@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")
def test_a_training_goes_on_at_its_round(library: str, training: Any, dies_at: int, workplace: Path) -> None:
    """Trees, metrics and early stopping are those of an uninterrupted training; a finished one is not run again."""
    needs(library)
    store = str(workplace / "store")
    plain = training("train", "", None)
    with pytest.raises(Killed):
        training("train", store, dies_at)
    assert training("train", store, None) == plain
    assert training("train", store, 1) == plain, "finished, so that no round is begun"
