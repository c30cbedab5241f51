"""torch's DataLoaders: all of one but the workers it keeps between two loops, which are processes.

And iterators over them that a variable holds, for `next(batches)`: what is left to load.
"""

from __future__ import annotations

import inspect
import pickle
import types
from typing import Any

from torch.utils.data import sampler as samplers

from . import remark


def reduce(loader: Any) -> Any:
    """Keep a loader with its dataset, sampler and generator; workers are started again by the next loop."""
    if loader.persistent_workers:
        remark(
            loader,
            "keeps its worker processes from epoch to epoch (persistent_workers), which no snapshot can: after a "
            "resume the random numbers that they draw begin anew",
        )
    state = {name: None if name == "_iterator" else value for name, value in loader.__dict__.items()}
    return _bare, (type(loader),), state, None, None, _fill


def reduce_iterator(iterator: Any) -> Any:
    """Keep an iterator without workers with the indices that are left, which its sampler gives ahead of time.

    Raises:
        pickle.PicklingError: the sampler's draws would then come before those of somebody else.
    """
    state = dict(iterator.__dict__)
    indices = state["_sampler_iter"]
    if isinstance(indices, types.GeneratorType):
        if indices.gi_code.co_filename != samplers.__file__ or not _draws_apart(iterator._index_sampler):  # noqa: SLF001
            raise pickle.PicklingError(
                "an iterator over a DataLoader is saved only if its sampler is one of torch's and draws from no "
                "generator that it was given; loop over the loader itself, whose place is always kept"
            )
        if inspect.getgeneratorstate(indices) == inspect.GEN_CREATED:
            del state["_sampler_iter"]
        else:
            iterator._sampler_iter = state["_sampler_iter"] = iter(list(indices))  # noqa: SLF001
    return _bare, (type(iterator),), state, None, None, _fill_iterator


def _draws_apart(sampler: Any) -> bool:
    """Whether a sampler that has begun touches nothing any more that others see."""
    inner = sampler.sampler if type(sampler) is samplers.BatchSampler else sampler
    if type(inner) is samplers.RandomSampler:
        return inner.generator is None  # it has one of its own then
    return type(inner) in (samplers.SequentialSampler, samplers.SubsetRandomSampler, samplers.WeightedRandomSampler)


def _fill_iterator(iterator: Any, state: dict[str, Any]) -> None:
    iterator.__dict__.update(state)
    if "_sampler_iter" not in state:
        iterator._sampler_iter = iter(iterator._index_sampler)  # noqa: SLF001


def _bare(kind: Any) -> Any:
    return object.__new__(kind)


def _fill(loader: Any, state: dict[str, Any]) -> None:
    loader.__dict__.update(state)
