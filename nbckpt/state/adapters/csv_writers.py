"""Writers of the csv module: all of one but its file, which a `with` statement around the loop opens again."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Mapping
from typing import Any

_DIALECT = (
    "delimiter",
    "doublequote",
    "escapechar",
    "lineterminator",
    "quotechar",
    "quoting",
    "skipinitialspace",
    "strict",
)


class Reopened:
    """What a writer that came back writes to: the file of a name, once the `with` statement has opened it."""

    def __init__(self, name: str) -> None:
        self.name, self.file = name, None

    def write(self, text: str) -> Any:
        """Write; what was closed when it was saved still is.

        Raises:
            ValueError: there is no file, as for any that is closed.
        """
        if self.file is None:
            raise ValueError("I/O operation on closed file.")
        return self.file.write(text)


_names: dict[int, str] = {}
"""The files that a resumed run opens again, by identity; as of the save in progress."""
_waiting: list[Reopened] = []


def know(files: Mapping[str, Any]) -> None:
    """Take note of the variables whose files a resumed run opens again."""
    _names.clear()
    _names.update({id(file): name for name, file in files.items()})


def bind(namespace: Mapping[str, Any]) -> None:
    """Give the writers that came back their files, which are open by now."""
    for target in _waiting:
        target.file = namespace.get(target.name)
    _waiting.clear()


def reduce(writer: Any) -> Any:
    """Keep a writer's dialect and its file's name.

    Raises:
        pickle.PicklingError: nothing opens its file again.
    """
    write = next((part for part in gc.get_referents(writer) if getattr(part, "__name__", "") == "write"), None)
    file = getattr(write, "__self__", None)
    if isinstance(file, Reopened):
        file = file if file.file is None else file.file
    if isinstance(file, Reopened):
        name = file.name
    elif getattr(file, "closed", False):
        name = ""
    elif id(file) in _names:
        name = _names[id(file)]
    else:
        raise pickle.PicklingError("cannot pickle '_csv.writer' object: no `with` statement opens its file again")
    return make, (name, {key: getattr(writer.dialect, key) for key in _DIALECT})


def reduce_named(writer: Any) -> Any:
    """Keep a DictWriter with the writer inside it."""
    return writer.__reduce_ex__(5)


def make(name: str, dialect: dict[str, Any]) -> Any:
    """The writer again, waiting for its file."""
    import csv

    target = Reopened(name)
    if name:
        _waiting.append(target)
    return csv.writer(target, **dialect)
