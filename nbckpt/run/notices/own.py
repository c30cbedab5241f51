"""Sources of one's own: a file that appears, or a page that answers."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .notice import Notice, brief
from .web import MOST, TIMEOUT

NONE = (204, 404)
"""What a page answers as long as there is nothing to say."""


class File:
    """A file or folder that is there once the machine will go; what it holds is shown."""

    pause = 1.0
    patience = float("inf")

    def __init__(self, path: str) -> None:
        path = os.path.expanduser(path)  # noqa: PTH111 - which leaves the name of an unknown user as it is
        self._path = Path(path).absolute()  # the cell may go to another folder
        self.name = f"the file {self._path}"

    def ask(self) -> list[Notice]:
        """Return that it is there."""
        try:
            kind = self._path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return []
        try:
            text = _first(self._path) if stat.S_ISREG(kind) else ""  # reading a pipe would wait
        except PermissionError:
            text = ""  # that it is there is what counts
        return [Notice(f"{self.name} says that this machine will go{': ' if text else ''}{text}")]


def _first(path: Path) -> str:
    with path.open("rb") as file:
        return brief(file.read(MOST))


class Page:
    """A page that answers 200 once the machine will go, and 404 or 204 until then; what it says is shown."""

    pause = 5.0
    patience = float("inf")

    def __init__(self, url: str) -> None:
        self.name = self._url = url

    def ask(self) -> list[Notice]:
        """Return that it answers."""
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError
        from urllib.request import urlopen

        try:
            with urlopen(self._url, timeout=TIMEOUT) as reply:  # noqa: S310 - it begins with http
                status, text = reply.status, brief(reply.read(MOST))
        except HTTPError as error:
            status, text = error.code, ""
            error.close()
        except URLError as error:
            raise OSError(f"{error.reason}") from error
        except HTTPException as error:
            raise ValueError(f"{self._url} does not speak HTTP ({type(error).__name__})") from error
        if status in NONE:
            return []
        if status != 200:
            raise ValueError(f"{self._url} answers with HTTP status {status}")
        return [Notice(f"{self._url} says that this machine will go{': ' if text else ''}{text}")]
