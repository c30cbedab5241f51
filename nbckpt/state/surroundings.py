"""What a run changes in its process that later statements see, though no variable holds it.

The working folder and the environment, the figures that pyplot knows, and how some libraries are set.
"""

from __future__ import annotations

import os
import sys
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
    return {"folder": folder, "environment": dict(os.environ), "settings": settings}


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


_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "decimal": (_decimal, _set_decimal),
    "matplotlib": (_matplotlib, _set_matplotlib),
    "numpy": (_numpy, _set_numpy),
}
"""How settings of a module are read and made."""
