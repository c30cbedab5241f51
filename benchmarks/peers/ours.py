"""nbckpt, as a notebook uses it: a `%%checkpointed` cell in a shell of IPython."""

from __future__ import annotations

import os
import textwrap
import time
from pathlib import Path

from .. import watch
from ..workloads import Variables, Workload
from .peer import Peer

_CELL = """\
%%checkpointed bench --every {cycle}it --keep 99 --store {store} {options}
for turn in range(10**9):
    watch.begins(turn)
{body}
    watch.ends(turn)
"""
_LOOK = 0.001
"""Seconds between two looks whether a snapshot is there."""


class Nbckpt(Peer):
    """The loop is the cell's; its boundary saves."""

    imports = ("nbckpt",)
    options = ""

    def run(self, variables: Variables) -> None:
        from IPython.core.interactiveshell import InteractiveShell

        shell = InteractiveShell.instance()
        shell.user_ns.update(variables, watch=watch)
        variables.clear()
        self._live = shell.user_ns
        shell.run_line_magic("load_ext", "nbckpt")
        body = textwrap.indent(self.workload.body, "    ")
        shell.run_cell(
            _CELL.format(cycle=watch.CYCLE, store=self.folder, options=self.options, body=body)
        ).raise_error()

    def wait(self, number: int) -> None:
        """A snapshot exists when its entry in the log does; the folder is settled as those of the others are."""
        log = self.folder / "bench" / "log"
        entry = log / f"{number:08d}.json"
        while not entry.exists():
            time.sleep(_LOOK)
        folder = os.open(log, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def ready(self) -> None:
        import nbckpt

        assert callable(nbckpt.load)  # imports what it takes

    def restore(self, number: int) -> Variables:
        import nbckpt

        return nbckpt.load("bench", store=str(Path(self.folder)), seq=number)


class Forked(Nbckpt):
    """The same with `--capture fork`, which is for states that take long to pickle."""

    options = "--capture fork"

    @classmethod
    def suits(cls, workload: Workload) -> bool:
        """See `Peer.suits`."""
        return workload.arrays is None and workload.name != "W5"
