"""XGBoost: `nbckpt.callbacks.XGBoost("trees").train(parameters, matrix, 500)` goes on at the round where it was.

`xgboost.train` counts the rounds that it is asked for from the model that it is given, and its callbacks begin to
count anew. So the training is called through the checkpoint, which asks for the rounds that are left.
"""

from __future__ import annotations

from typing import Any

import xgboost
from xgboost.callback import EarlyStopping, TrainingCallback

from .boosting import Rounds, Trees, joined
from .counts import counts_of
from .session import Session

_BEGUN_ANEW = frozenset({"starting_round"})


class XGBoost(Trees):
    """Save a training by XGBoost as it goes, and go on with it, at the round where it was.

    `name` is the checkpoint's, the options are those of `nbckpt.checkpointed`; `every` may count rounds (`"50it"`).
    The result, its metrics and early stopping are those of an uninterrupted training bit for bit, unless it samples
    rows or columns: XGBoost's own random numbers begin anew.

        checkpoint = nbckpt.callbacks.XGBoost("trees", every="5m")
        booster = checkpoint.train(parameters, matrix, 500, evals=[(held_out, "test")], early_stopping_rounds=10)
        model = checkpoint.fit(xgboost.XGBClassifier(n_estimators=500), X, y)
    """

    def train(self, params: dict[str, Any], dtrain: Any, num_boost_round: int = 10, **options: Any) -> Any:
        """Train as `xgboost.train` does, with the same arguments; return the booster."""
        callbacks = list(options.pop("callbacks", None) or ())
        if stop := options.pop("early_stopping_rounds", None):
            callbacks.append(EarlyStopping(rounds=stop, maximize=options.pop("maximize", None)))
        start, result = options.pop("xgb_model", None), options.pop("evals_result", {})
        with _Watch(self._name, self._options, num_boost_round, callbacks) as watch:
            if watch.rounds.left:
                start = watch.rounds.booster or start
                booster = xgboost.train(
                    params, dtrain, watch.rounds.left, xgb_model=start, callbacks=[*callbacks, watch], **options
                )
            else:
                booster = watch.restored()
        result.update(watch.history)
        return booster

    def fit(self, estimator: Any, X: Any, y: Any, **options: Any) -> Any:  # noqa: N803 - scikit-learn's name
        """Fit an estimator of XGBoost's as its own `fit` does, with the same arguments; return it."""
        given = estimator.get_params()
        total = given["n_estimators"] or estimator.get_num_boosting_rounds()
        callbacks = list(given["callbacks"] or ())
        if given["early_stopping_rounds"]:
            callbacks.append(EarlyStopping(rounds=given["early_stopping_rounds"]))
        start = options.pop("xgb_model", None)
        with _Watch(self._name, self._options, total, callbacks) as watch:
            rounds = max(1, watch.rounds.left)
            watch.idle = not watch.rounds.left  # a fit of no rounds is refused: one is made, and not kept
            estimator.set_params(n_estimators=rounds, callbacks=[*callbacks, watch], early_stopping_rounds=None)
            try:
                estimator.fit(X, y, xgb_model=watch.rounds.booster or start, **options)
            finally:
                estimator.set_params(**{name: given[name] for name in _CHANGED})
            if watch.idle:
                estimator._Booster = watch.restored()  # noqa: SLF001 - there is no public way to set it
        if watch.history:
            estimator.evals_result_ = watch.history
        return estimator


_CHANGED = ("n_estimators", "callbacks", "early_stopping_rounds")


class _Watch(TrainingCallback):
    """Stands last among a training's callbacks; a round is whole when the next one is about to begin."""

    def __init__(self, name: str, options: dict[str, Any], total: int, callbacks: list[Any]) -> None:
        super().__init__()
        self.callbacks, self.idle = callbacks, False
        self.session = Session(name, "XGBoost", **options)
        self.rounds = Rounds(self.session, total)
        self.history: Any = self.rounds.history
        self._before = self.rounds.history
        self._given = 0
        """Rounds of the model that the training was begun with."""

    def __enter__(self) -> _Watch:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def restored(self) -> Any:
        """The booster of a training that had ended."""
        self.rounds.go_on(())
        self.session.finish()
        return self.rounds.booster

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002 - XGBoost's signature
        """A round has ended, and all callbacks have seen it."""
        if self.idle:
            return True
        if self._before is not None:
            self._given = model.num_boosted_rounds() - self.rounds.done
            self.rounds.go_on(self.callbacks)
            self.history, self._before = joined(self._before, evals_log), None  # type: ignore[assignment]
        done = model.num_boosted_rounds() - self._given
        if done > self.rounds.done:
            self.session.step(self._gather(model, done), f"round {done} of {self.rounds.total}")
        return False

    def after_training(self, model: Any) -> Any:
        """All rounds are done, or early stopping has ended them."""
        if not self.idle:
            self.session.complete(self._gather(model, model.num_boosted_rounds() - self._given))
        return model

    def _gather(self, model: Any, done: int) -> Any:
        return self.rounds.gather(lambda: model, done, self.history, lambda: counts_of(self.callbacks, _BEGUN_ANEW))
