"""Gymnasium's environments: all but the clock; a space that has not been seeded draws what nobody expects."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

_CLOCK = {"episode_start_time", "episode_start_times", "time_queue"}


def form(walk: Any, thing: Any) -> tuple[Any, ...] | None:
    """The form of spaces and wrappers."""
    if isinstance(thing, gym.Space):
        return (repr(thing),)
    if isinstance(thing, (gym.Env, gym.vector.VectorEnv)):
        kept = {name: value for name, value in vars(thing).items() if name not in _CLOCK}
        return (walk.form(kept),)
    return None
