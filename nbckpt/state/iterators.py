"""Iterators that cannot be saved as they are, and are known well enough to begin them as ones that can.

Evaluated again on resume, they would go over what the loop's body has made of a table or a folder by then.
"""

from __future__ import annotations

import glob
import inspect
import pathlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LISTINGS = (glob.__file__, str(Path(pathlib.__file__).parent / "pathlib"))
"""Generators from here list files: what a loop has left of them is what it began with, whatever it does to a folder."""


def savable(iterator: Any) -> Any:
    """The same iteration in a form that can be saved; the iterator itself where none is known or it is under way."""
    if isinstance(iterator, types.GeneratorType):
        return _begun(iterator)
    if type(iterator) not in (zip, map, enumerate):
        return iterator
    # what is made of iterators is taken apart, and put together again with those that can be saved
    make, arguments, *state = iterator.__reduce__()
    parts = [savable(part) if isinstance(part, Iterator) else part for part in arguments]
    if all(new is old for new, old in zip(parts, arguments, strict=True)):
        return iterator
    return make(*parts, strict=True) if make is zip and state else make(*parts)


def _begun(generator: Any) -> Any:
    file = generator.gi_code.co_filename
    if inspect.getgeneratorstate(generator) != inspect.GEN_CREATED:
        return generator
    if file.startswith(_LISTINGS):
        return iter(list(generator))
    if (pandas := sys.modules.get("pandas")) and file.startswith(str(Path(pandas.__file__ or "").parent)):
        from .adapters import pandas_iterators

        return pandas_iterators.kept(generator) or generator
    return generator
