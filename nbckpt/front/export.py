"""A checkpoint's variables as plain files, for programs that do not know nbckpt."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from .script import load

if TYPE_CHECKING:
    from collections.abc import Callable

INDEX = "index.json"


def export(
    name: str, folder: str | Path, *, store: str | None = None, seq: int | None = None, force: bool = False
) -> list[dict[str, str]]:
    """Write each variable of the newest snapshot (or number `seq`) to a file, and return what `index.json` lists.

    Arrays become `.npy`, tables `.parquet` (where pyarrow is installed), plain data `.json`, everything else
    `.pickle`. What cannot be written is listed with the reason. Nothing is overwritten without `force`.

    Raises:
        OptionError: there is something in the folder already.
        UnknownCheckpoint: there is no such snapshot.
    """
    place = Path(folder)
    if place.exists() and not (place.is_dir() and (force or not any(place.iterdir()))):
        raise OptionError(
            f"{place} is there and not an empty folder, so nothing was written: choose another or --force"
        )
    variables = load(name, store=store, seq=seq)
    try:
        place.mkdir(parents=True, exist_ok=True)
        (place / INDEX).write_text("[]\n", encoding="utf-8")
    except OSError as error:
        raise OptionError(f"{place} cannot be written to ({error.strerror or error}): choose another folder") from error
    index: list[dict[str, str]] = []
    taken = {INDEX}
    for variable, value in sorted(variables.items()):
        stem, row = variable, {"name": variable, "type": f"{type(value).__module__}.{type(value).__qualname__}"}
        while any(file.split(".")[0] == stem.lower() for file in taken):  # file systems may not tell x from X
            stem += "_"
        for suffix, write in _ways(value):
            path = place / f"{stem}.{suffix}"
            try:
                write(path)
            except Exception as error:  # noqa: BLE001 - whatever a library raises, the next way may do
                path.unlink(missing_ok=True)
                row["left_out"] = f"{type(error).__name__}: {error}"
            else:
                row["file"] = path.name
                row.pop("left_out", None)
                taken.add(path.name.lower())
                break
        index.append(row)
    (place / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return index


def _ways(value: Any) -> list[tuple[str, Callable[[Path], object]]]:
    """How a value can be written, the plainest way first."""
    ways: list[tuple[str, Callable[[Path], object]]] = []
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and type(value) is numpy.ndarray and not value.dtype.hasobject:
        ways.append(("npy", lambda path: numpy.save(path, value, allow_pickle=False)))
    if pandas is not None and type(value) is pandas.DataFrame:
        ways.append(("parquet", value.to_parquet))
    if _is_plain(value):
        ways.append(("json", lambda path: path.write_text(json.dumps(value), encoding="utf-8")))
    return [*ways, ("pickle", lambda path: path.write_bytes(_pickled(value)))]


def _is_plain(value: Any) -> bool:
    """Whether JSON gives the value back as it is."""
    try:
        text = json.dumps(value, allow_nan=False)
        return repr(json.loads(text)) == repr(value)
    except (TypeError, ValueError, RecursionError):
        return False


def _pickled(value: Any) -> bytes:
    import cloudpickle

    pickled: bytes = cloudpickle.dumps(value, protocol=pickle.DEFAULT_PROTOCOL)
    return pickled
