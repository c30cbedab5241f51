"""What a run changes in its process that later statements see: the working folder and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def capture() -> dict[str, Any]:
    """The working folder and the environment as they are."""
    try:
        folder: str | None = str(Path.cwd())
    except FileNotFoundError:  # it was deleted
        folder = None
    return {"folder": folder, "environment": dict(os.environ)}


def changes(before: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from an earlier capture; a variable that was removed is None."""
    now = capture()
    old, new = before["environment"], now["environment"]
    changed = {name: new.get(name) for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)}
    moved = {"folder": now["folder"]} if now["folder"] != before["folder"] else {}
    return {**moved, "environment": changed} if moved or changed else {}


def put_back(changed: Mapping[str, Any]) -> str:
    """Make changes again; return what could not be, or an empty text."""
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
