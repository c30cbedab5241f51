"""Figures and results in a notebook's cell, killed, resumed and executed again when finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from frameworks.conftest import needs

from .notebook import Reply, notebook

pytestmark = pytest.mark.library("matplotlib")

HEAD = "%%checkpointed figures --every 1it\n"
CELL = """import gate
import matplotlib.pyplot as plt
from IPython.display import display, HTML
xs = []
handle = display(HTML("<b>begin</b>"), display_id=True)
for k in range(4):
    xs.append(k)
    if k == 1:
        plt.plot(xs)
        plt.show()
    handle.update(HTML(f"<b>{k}</b>"))
    print("turn", k)
    gate.hold(k)
fig, ax = plt.subplots()
ax.plot(xs)
"""


@pytest.mark.parametrize("last", ["ax.set_title('end')\n", "ax.set_title('end');\n"])
def test_figures_are_shown_once_and_in_their_order(folder: Path, last: str) -> None:
    """Those shown under way, the one that is open at the end, and the result: like the plain cell's."""
    needs("matplotlib")
    cell = CELL.removesuffix("ax.plot(xs)\n") + last if last else CELL
    setup = "%matplotlib inline\n"
    with notebook(folder) as book:
        book.ok(setup)
        plain = book.ok(cell)
    with notebook(folder, hold=2) as book:
        book.ok(setup)
        book.kill_when_held(HEAD + cell)
    with notebook(folder) as book:
        book.ok(setup)
        resumed = book.ok(HEAD + cell)
    with notebook(folder) as book:
        book.ok(setup)
        again = book.ok(HEAD + cell)
    assert _seen(resumed) == _seen(plain)
    assert _seen(again) == _seen(plain)


def _seen(reply: Reply) -> list[tuple[str, str]]:
    """What is to be seen in the end, without addresses; neighbours on one stream are one."""
    seen = Reply()
    for kind, text in reply.shown:
        if kind != "update_display_data":
            seen.add(kind, text.partition(" at 0x")[0])
    return seen.shown
