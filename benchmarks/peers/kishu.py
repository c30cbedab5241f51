"""Kishu, which saves what a cell changed when the cell ends: each iteration that is saved is a cell."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from .. import watch
from ..workloads import Variables
from .peer import Peer

# nothing of the benchmark's gets a name, or it would be saved with the state
_MAKE = """\
made = __import__("benchmarks.workloads", fromlist=["make"]).WORKLOADS[{name!r}].make({scale})
{taken}del made
"""
_CELL = """\
for turn in range({first}, {end}):
    __import__("benchmarks.watch", fromlist=["begins"]).begins(turn)
{body}
    __import__("benchmarks.watch", fromlist=["ends"]).ends(turn)
"""


class Kishu(Peer):
    """A session in a shell of IPython, as `init_kishu` makes one in a notebook, with its default settings."""

    imports = ("kishu.jupyterint",)

    _attached: Any = None

    def _attach(self) -> tuple[Any, Any]:
        import nbformat
        from IPython.core.interactiveshell import InteractiveShell
        from kishu.jupyterint import KishuForJupyter
        from kishu.notebook_id import NotebookId

        notebook = self.folder.absolute() / "bench.ipynb"
        if not notebook.exists():
            nbformat.write(nbformat.v4.new_notebook(), notebook)
        shell = InteractiveShell.instance()
        session = KishuForJupyter(NotebookId("bench", notebook, "bench"), ip=shell)
        session._test_mode = True  # noqa: SLF001 - there is no front end whose notebook it could save
        return shell, session

    def run(self, variables: Variables) -> None:
        names = list(variables)
        variables.clear()
        shell, session = self._attach()
        session.install_kishu_hooks()
        self._live = shell.user_ns
        # a restore may run cells again, so the first makes the state as the program did
        taken = "".join(f"{name} = made[{name!r}]\n" for name in names)
        shell.run_cell(_MAKE.format(name=self.workload.name, scale=self.scale, taken=taken)).raise_error()
        for number in range(1, 100):
            first = (number - 1) * watch.CYCLE
            body = textwrap.indent(self.workload.body, "    ")
            shell.run_cell(_CELL.format(first=first, end=first + watch.CYCLE, body=body)).raise_error()
            head = session._kishu_branch.get_head().commit_id  # noqa: SLF001 - checkout takes it
            Path(self.folder, f"commit-{number}").write_text(str(head))

    def wait(self, number: int) -> None:
        watch.settle(self.folder)

    def ready(self) -> None:
        self._attached = self._attached or self._attach()

    def restore(self, number: int) -> Variables:
        shell, session = self._attached
        session.checkout(Path(self.folder, f"commit-{number}").read_text(), skip_notebook=True)
        return dict(dict.items(shell.user_ns))
