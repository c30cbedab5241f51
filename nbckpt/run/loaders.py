"""Going on in a torch DataLoader without loading the batches that are done.

A loader without workers draws a batch's indices from its sampler, then loads them. What its sampler draws decides
what the loop gets, and all else it touches (the dataset, random state) comes back with the snapshot: so to skip a
batch is to draw its indices. They leave the trail that is compared on resume, in place of the batches. Loaders with
workers are replayed like anything else: their workers' random state lives in processes that are gone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ..state.home import NOTHING
from .replays import Follower, Trail


def loader_in(iterator: Any) -> Any:
    """The loader's iterator that gives an iterator its items one by one, or None."""
    loading = sys.modules.get("torch.utils.data.dataloader")
    inner = _counted(iterator)[0] if type(iterator) is enumerate else iterator
    if loading is None or type(inner) is not loading._SingleProcessDataLoaderIter:  # noqa: SLF001
        return None
    return inner if inner._dataset_kind == loading._DatasetKind.Map else None  # noqa: SLF001


def begins(iterable: Any, iterator: Any) -> bool:
    """Whether a loop over something begins to go over a loader, alone or beside others."""
    if type(iterator) in (enumerate, map, zip):
        return any(begins(None, part) for part in iterator.__reduce__()[1] if isinstance(part, Iterator))
    return iterable is not iterator and loader_in(iterator) is not None


def note_indices(loader: Any, trail: Trail) -> None:
    """Have a trail follow what a loader draws from its sampler."""
    loader._sampler_iter = trail.noting(loader._sampler_iter)  # noqa: SLF001


def skip(iterator: Any, record: Mapping[str, Any], count: int) -> tuple[Any, Follower]:
    """Bring a loader's iterator past `count` items; return what yields those left, and how it compared."""
    loader, follower = loader_in(iterator), Follower(record["trail"])
    indices = _followed(loader._sampler_iter, follower)  # noqa: SLF001
    if record["drawn_again"]:  # the current item could not be saved
        whole, loader._sampler_iter = loader._sampler_iter, indices  # noqa: SLF001
        last = NOTHING
        while follower.trail.count < count and (item := next(iterator, NOTHING)) is not NOTHING:
            last = item
        loader._sampler_iter, follower.trail.last = whole, last  # noqa: SLF001
    else:
        while follower.trail.count < count and next(indices, NOTHING) is not NOTHING:
            loader._num_yielded += 1  # noqa: SLF001
        if type(iterator) is enumerate:
            iterator = enumerate(loader, _counted(iterator)[1] + follower.trail.count)
    note_indices(loader, follower.trail)
    return iterator, follower


def _counted(iterator: Any) -> tuple[Any, int]:
    """What an `enumerate` goes over, and the number that it gives next."""
    inner, number = iterator.__reduce__()[1]
    return inner, number


def _followed(indices: Iterator[Any], follower: Follower) -> Iterator[Any]:
    for index in indices:
        follower.follow(index)
        yield index
