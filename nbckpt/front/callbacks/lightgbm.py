"""LightGBM: `nbckpt.callbacks.LightGBM("trees").train(parameters, data, 500)` goes on at the round where it was.

A training that goes on from a model begins with that model's scores, and its callbacks begin to count anew. So the
training is called through the checkpoint, which asks for the rounds that are left.
"""

from __future__ import annotations

from typing import Any

import lightgbm
from lightgbm.callback import EarlyStopException

from .boosting import Rounds, Trees, joined
from .counts import Counts, counts_of
from .session import Session


class LightGBM(Trees):
    """Save a training by LightGBM as it goes, and go on with it, at the round where it was.

    `name` is the checkpoint's, the options are those of `nbckpt.checkpointed`; `every` may count rounds (`"50it"`).
    The result, its metrics and early stopping are those of an uninterrupted training bit for bit, unless it samples
    rows or columns: LightGBM's own random numbers begin anew. The data must not be freed: make it with
    `lightgbm.Dataset(..., free_raw_data=False)` if it has been used before.

        checkpoint = nbckpt.callbacks.LightGBM("trees", every="5m")
        booster = checkpoint.train(parameters, data, 500, valid_sets=[held_out], callbacks=[lgb.early_stopping(10)])
        model = checkpoint.fit(lightgbm.LGBMClassifier(n_estimators=500), X, y)
    """

    def train(self, params: dict[str, Any], train_set: Any, num_boost_round: int = 100, **options: Any) -> Any:
        """Train as `lightgbm.train` does, with the same arguments; return the booster."""
        callbacks = list(options.pop("callbacks", None) or ())
        start = options.pop("init_model", None)
        with _Watch(self._name, self._options, num_boost_round, callbacks) as watch:
            if not watch.rounds.left:
                return watch.restored()
            return lightgbm.train(
                params,
                train_set,
                watch.rounds.left,
                init_model=watch.rounds.booster or start,
                callbacks=watch.all(),
                **options,
            )

    def fit(self, estimator: Any, X: Any, y: Any, **options: Any) -> Any:  # noqa: N803 - scikit-learn's name
        """Fit an estimator of LightGBM's as its own `fit` does, with the same arguments; return it."""
        total = estimator.get_params()["n_estimators"]
        callbacks = list(options.pop("callbacks", None) or ())
        start = options.pop("init_model", None)
        with _Watch(self._name, self._options, total, callbacks) as watch:
            rounds, ended = max(1, watch.rounds.left), not watch.rounds.left
            estimator.set_params(n_estimators=rounds)  # a fit of no rounds is refused: one is made, and not kept
            try:
                estimator.fit(
                    X,
                    y,
                    init_model=watch.rounds.booster or start,
                    callbacks=[] if ended else watch.all(),
                    **options,
                )
            finally:
                estimator.set_params(n_estimators=total)
            if ended:
                estimator._Booster = watch.restored()  # noqa: SLF001 - there is no public way to set it
            if watch.history:
                estimator._evals_result = watch.history  # noqa: SLF001
        return estimator


class _Watch:
    """Calls a training's callbacks itself, so that it knows when all of a round is done."""

    def __init__(self, name: str, options: dict[str, Any], total: int, callbacks: list[Any]) -> None:
        self.callbacks = sorted(callbacks, key=lambda callback: getattr(callback, "order", 0))
        self.session = Session(name, "LightGBM", **options)
        self.rounds = Rounds(self.session, total)
        self.history: dict[str, Any] = self.rounds.history
        self._counts: Counts = self.rounds.saved["counts"] if self.rounds.saved else []
        self._first = True
        self._given = 0
        """Rounds of the model that the training was begun with."""

    def __enter__(self) -> _Watch:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def restored(self) -> Any:
        """The booster of a training that had ended."""
        for callback, (_, kept) in zip(self.callbacks, self._counts, strict=False):
            _put_metrics(callback, kept)
        self.rounds.go_on(())
        self.session.finish()
        return self.rounds.booster

    def all(self) -> list[Any]:
        """What to give to LightGBM: one callback before a round and one after it."""

        def before(env: Any) -> None:
            self._begin(env)

        def after(env: Any) -> None:
            self._end(env)

        before.before_iteration = True  # type: ignore[attr-defined]
        after.order = 1000  # type: ignore[attr-defined]
        return [before, after]

    def _begin(self, env: Any) -> None:
        if self._first and self.rounds.saved is not None:
            for callback, (_, kept) in zip(self.callbacks, self._counts, strict=False):
                _begin_with(callback, kept)
            self.rounds.go_on(())
        if self._first:
            self._given = env.model.current_iteration() - self.rounds.done
        self._first = False
        for callback in self.callbacks:
            if getattr(callback, "before_iteration", False):
                callback(env)

    def _end(self, env: Any) -> None:
        stopped = None
        self._note(env.evaluation_result_list)
        for callback in self.callbacks:
            if not getattr(callback, "before_iteration", False):
                try:
                    callback(env)
                except EarlyStopException as stop:
                    stopped = stop
                    break
        done = env.model.current_iteration() - self._given
        best = (env.evaluation_result_list, 0) if stopped is None else (stopped.best_score, stopped.best_iteration + 1)
        gather = self.rounds.gather(
            lambda: _model(env.model, *best), done, self.history, lambda: counts_of(self.callbacks)
        )
        if stopped is not None or env.iteration + 1 == env.end_iteration:
            self.session.complete(gather)
        else:
            self.session.step(gather, f"round {done} of {self.rounds.total}")
        if stopped is not None:
            raise stopped

    def _note(self, results: Any) -> None:
        for name, metric, value, *_ in results or ():
            joined({name: {metric: []}}, self.history)[name][metric].append(value)


def _model(booster: Any, scores: Any, best: int) -> Any:
    """The trees of a booster, as the end of a training gives them: without its data."""
    model = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=best or -1))
    model.params, model.best_iteration = dict(booster.params), best
    for name, metric, value, *_ in scores or ():
        model.best_score.setdefault(name, {})[metric] = value
    return model


def _begin_with(callback: Any, kept: dict[str, Any]) -> None:
    """Let a callback count on: it would begin anew at the first round that it sees."""
    if not hasattr(callback, "_init"):
        if kept:
            vars(callback).update(kept)
        return

    def go_on(env: Any) -> None:
        del callback._init  # noqa: SLF001 - LightGBM's own callbacks all have it
        callback._init(env)  # noqa: SLF001
        _put_metrics(callback, kept)

    callback._init = go_on  # noqa: SLF001


def _put_metrics(callback: Any, kept: dict[str, Any]) -> None:
    for name, value in kept.items():
        known = getattr(callback, name, None)
        if isinstance(known, dict) and isinstance(value, dict):  # the dictionary is the user's
            known.clear()
            known.update(value)
        else:
            setattr(callback, name, value)
