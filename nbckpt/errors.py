"""The exception family: every error nbckpt raises on purpose, each also of a fitting standard type.

A message is one sentence or two: what happened, to which name, that nothing was lost, what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence


class NbckptError(Exception):
    """Anything nbckpt refuses or cannot do."""

    def _render_traceback_(self) -> list[str]:
        """Show one line in a notebook instead of a traceback through nbckpt's own frames.

        IPython calls this hook on any exception that has it.
        """
        return [f"{type(self).__name__}: {self}"]


class OptionError(NbckptError, ValueError):
    """An option or setting has a value that makes no sense."""


class StoreError(NbckptError, OSError):
    """A store could not be reached, read or written; the operation was retried where that could help.

    `code` is the server's own word for what is wrong, if it has one.
    """

    code = ""


class NotFound(StoreError, FileNotFoundError):  # noqa: N818 - reads as what it is: `except NotFound`
    """A store says that it holds nothing under a key: the only error that means absence."""


class AlreadyExists(StoreError, FileExistsError):  # noqa: N818
    """A key that was to be created is taken."""


class UnknownCheckpoint(NbckptError, LookupError):  # noqa: N818
    """No checkpoint of that name has a snapshot in the store."""


class DamagedSnapshot(NbckptError, ValueError):  # noqa: N818
    """Saved bytes are missing or are not the bytes that were saved."""


class UntrustedSnapshot(NbckptError, PermissionError):  # noqa: N818
    """A snapshot is not signed with a key this machine trusts, so nothing in it was unpickled."""


class UnsupportedFormat(NbckptError, ValueError):  # noqa: N818
    """A store or snapshot was written by a newer nbckpt than this one."""


class CheckpointConflict(NbckptError, RuntimeError):  # noqa: N818
    """Another kernel has saved under the same name: this one may compute on but not save."""


class CellChangedError(NbckptError, ValueError):
    """The cell differs from the one that was saved, in a part that had already run."""


class UnpicklableError(NbckptError, TypeError):
    """A value cannot be saved.

    `path` is where it was found, like `trainer.logger.lock`.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class MissingVariableError(NbckptError, NameError):
    """A variable that the rest of the cell reads was not saved and is not there."""

    def __init__(self, message: str, names: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.names = tuple(names)


class RestoreError(NbckptError, RuntimeError):
    """A snapshot is intact but its objects cannot be built here, as when a package is missing."""


class VerificationError(NbckptError, RuntimeError):
    """A snapshot that `--verify` loaded in a clean process did not come back as it was saved."""


class ReplayError(NbckptError, RuntimeError):
    """A loop that has to be replayed does not yield the items that it yielded before."""
