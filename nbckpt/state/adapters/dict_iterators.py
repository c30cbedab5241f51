"""Iterators over a dict's keys, values and items: they keep looking at the dict.

As Python pickles them, they come back with copies of the values that were left, and what the loop's body puts
under a key to come is not seen.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

_KINDS = ("keyiterator", "valueiterator", "itemiterator")


def reduce(iterator: Any) -> Any:
    """Keep the dict, the keys left, and what the iterator gives of each."""
    mapping = next((part for part in gc.get_referents(iterator) if isinstance(part, dict)), None)
    if mapping is None:  # it has ended
        return NotImplemented
    left = iterator.__length_hint__()
    name = type(iterator).__name__
    backward = "reverse" in name
    keys = list(mapping)[:left][::-1] if backward else list(mapping)[len(mapping) - left :]
    kind = next(index for index, word in enumerate(_KINDS) if name.endswith(word))
    return DictIterator, (mapping, keys, kind, len(mapping))


class DictIterator:
    """The rest of an iteration over a dict. `kind` is 0 for keys, 1 for values, 2 for items."""

    def __init__(self, mapping: dict[Any, Any], keys: list[Any], kind: int, size: int) -> None:
        self.mapping, self.keys, self.kind, self.size = mapping, keys, kind, size
        self.place = 0

    def __reduce__(self) -> Any:
        return DictIterator, (self.mapping, self.keys[self.place :], self.kind, self.size)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __length_hint__(self) -> int:
        return len(self.keys) - self.place

    def __next__(self) -> Any:
        if self.place == len(self.keys):
            raise StopIteration
        if len(self.mapping) != self.size:
            raise RuntimeError("dictionary changed size during iteration")
        key = self.keys[self.place]
        self.place += 1
        return (key, self.mapping[key], (key, self.mapping[key]))[self.kind]
