"""What a run changes in its process that later statements see, though no variable holds it.

The working folder and the environment, the figures that pyplot knows, and how Python and some libraries are set.
Where modules are looked for and how deep calls may go comes first: imports run again before anything is put back,
and deep objects are built.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .adapters import figures


def capture() -> dict[str, Any]:
    """The working folder, the environment and the settings as they are."""
    try:
        folder: str | None = str(Path.cwd())
    except FileNotFoundError:  # it was deleted
        folder = None
    settings = {module: get() for module, (get, _) in _SETTINGS.items() if module in sys.modules}
    return {"folder": folder, "environment": dict(os.environ), "settings": settings, "first": _first()}


def _first() -> dict[str, Any]:
    return {"path": [str(entry) for entry in sys.path], "recursion": sys.getrecursionlimit()}


def first_changes(before: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from an earlier capture and has to be put back before imports run again, as JSON may have it."""
    was, now = before["first"], _first()
    known = [index for index, entry in enumerate(now["path"]) if entry in was["path"]]
    added = [(index, entry) for index, entry in enumerate(now["path"]) if entry not in was["path"]]
    middle = min(known, default=0)
    found: dict[str, Any] = {}
    if added:
        found["path"] = [[entry for index, entry in added if (index < middle) is front] for front in (True, False)]
    if now["recursion"] != was["recursion"]:
        found["recursion"] = now["recursion"]
    return found


def put_back_first(changed: Mapping[str, Any]) -> None:
    """Make such changes again."""
    front, back = changed.get("path", ([], []))
    sys.path[:0] = [entry for entry in front if entry not in sys.path]
    sys.path += [entry for entry in back if entry not in sys.path]
    if limit := changed.get("recursion"):
        sys.setrecursionlimit(limit)


def changes(before: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from an earlier capture; a variable that was removed is None. Figures are all there."""
    now = capture()
    old, new = before["environment"], now["environment"]
    changed = {name: new.get(name) for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)}
    found: dict[str, Any] = {"environment": changed} if changed else {}
    if now["folder"] != before["folder"]:
        found["folder"] = now["folder"]
    # of a module that was not imported then, all: it may have been set since
    if settings := {module: new for module, new in now["settings"].items() if before["settings"].get(module) != new}:
        found["settings"] = settings
    if "matplotlib.pyplot" in sys.modules:
        found["figures"] = figures.capture()
    return found


def take_back(before: Mapping[str, Any]) -> str:
    """Make everything but the figures what it was in an earlier capture; return what could not be."""
    now = capture()
    old, new = before["environment"], now["environment"]
    changed: dict[str, Any] = {"environment": {name: old.get(name) for name in old.keys() | new.keys()}}
    known = before["settings"]
    changed["settings"] = {module: known[module] for module, set_to in now["settings"].items() if module in known}
    if now["folder"] != before["folder"]:
        changed["folder"] = before["folder"]
    return put_back(changed)


def put_back(changed: Mapping[str, Any]) -> str:
    """Make changes again; return what could not be, or an empty text."""
    for module, settings in changed.get("settings", {}).items():
        _SETTINGS[module][1](settings)
    if "figures" in changed:
        figures.restore(changed["figures"])
    for name, value in changed.get("environment", {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if folder := changed.get("folder"):
        try:
            os.chdir(folder)
        except OSError as error:
            return f"the cell had changed to the folder {folder}, which cannot be entered now ({error.strerror})"
    return ""


def _decimal() -> Any:
    return sys.modules["decimal"].getcontext().copy()


def _set_decimal(context: Any) -> None:
    import decimal

    decimal.setcontext(context)


def _numpy() -> Any:
    numpy = sys.modules["numpy"]
    return numpy.geterr(), numpy.get_printoptions()


def _set_numpy(settings: Any) -> None:
    import numpy as np

    errors, printing = settings
    np.seterr(**errors)
    np.set_printoptions(**printing)


def _matplotlib() -> Any:
    settings = dict(sys.modules["matplotlib"].rcParams)
    return {name: value for name, value in settings.items() if not name.startswith("backend")}


def _set_matplotlib(settings: Any) -> None:
    import matplotlib

    matplotlib.rcParams.update(settings)


def _torch() -> Any:
    from .adapters import torch_settings

    return torch_settings.capture()


def _set_torch(settings: Any) -> None:
    from .adapters import torch_settings

    torch_settings.restore(settings)


def _jax() -> Any:
    values = dict(sys.modules["jax"].config.values)
    return {name: value for name, value in values.items() if isinstance(value, (bool, int, float, str, type(None)))}


def _set_jax(settings: Any) -> None:
    import jax

    now = _jax()
    for name, value in settings.items():
        if name in now and now[name] != value:
            jax.config.update(name, value)


def _keras() -> Any:
    from .adapters import keras_settings

    return keras_settings.capture()


def _set_keras(settings: Any) -> None:
    from .adapters import keras_settings

    keras_settings.restore(settings)


def _pandas() -> Any:
    """The options that are no functions, which belong to who made them."""
    from pandas._config import config

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of options that will be gone
        options = {name: config.get_option(name) for name in config._registered_options}  # noqa: SLF001
    return {name: value for name, value in options.items() if not callable(value)}


def _set_pandas(settings: Any) -> None:
    import pandas as pd

    now = _pandas()
    for name, value in settings.items():
        if name in now and now[name] != value:
            pd.set_option(name, value)


def _logging() -> Any:
    logging = sys.modules["logging"]
    loggers = {"": logging.root, **logging.root.manager.loggerDict}
    return logging.root.manager.disable, {
        name: (logger.level, logger.disabled, logger.propagate)
        for name, logger in loggers.items()
        if isinstance(logger, logging.Logger)
    }


def _set_logging(settings: Any) -> None:
    import logging

    logging.root.manager.disable, loggers = settings
    now = _logging()[1]
    for name, (level, disabled, propagate) in loggers.items():
        if now.get(name, (0, False, True)) != (level, disabled, propagate):
            logger = logging.getLogger(name)
            logger.setLevel(level)
            logger.disabled, logger.propagate = disabled, propagate


def _warnings() -> Any:
    return list(warnings.filters)


def _set_warnings(filters: Any) -> None:
    with warnings.catch_warnings():
        pass  # on its way out it has what was decided so far forgotten
    warnings.filters[:] = filters  # type: ignore[index]


_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "decimal": (_decimal, _set_decimal),
    "jax": (_jax, _set_jax),
    "keras.src.backend.common.global_state": (_keras, _set_keras),
    "logging": (_logging, _set_logging),
    "matplotlib": (_matplotlib, _set_matplotlib),
    "numpy": (_numpy, _set_numpy),
    "pandas": (_pandas, _set_pandas),
    "torch": (_torch, _set_torch),
    "warnings": (_warnings, _set_warnings),
}
"""How settings of a module are read and made."""
