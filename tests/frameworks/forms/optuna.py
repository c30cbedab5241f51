"""Optuna's studies: all but the times at which trials ran."""

from __future__ import annotations

from typing import Any

import optuna


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """The form of studies and trials."""
    if isinstance(thing, optuna.Study):
        trials = [walk.form(trial) for trial in thing.trials]
        return (thing.study_name, repr(thing.directions), trials, walk.form(thing.sampler), walk.form(thing.pruner))
    if isinstance(thing, optuna.trial.FrozenTrial):
        parts = (thing.values, thing.params, thing.distributions, thing.user_attrs, thing.intermediate_values)
        return (thing.number, thing.state.name, repr(parts), repr(thing.system_attrs))
    if isinstance(thing, optuna.Trial):
        return (thing.number, walk.form(thing.study))
    return None
