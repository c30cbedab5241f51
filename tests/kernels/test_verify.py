"""`--verify` in a real kernel: a new process says what it makes of the snapshot."""

from __future__ import annotations

from pathlib import Path

from .cells import BEFORE
from .notebook import notebook

CELL = """
import gate
for k in range(6):
    model.step(k)
    history.append(k)
    gate.hold(k)
history[0] is model, model.w.tolist()
"""


def test_a_good_cell_is_verified_and_resumed(folder: Path) -> None:
    """The line says so, and the result of a killed cell is the plain one's."""
    with notebook(folder) as book:
        book.ok(BEFORE)
        plain = book.ok(CELL).text("execute_result")
    with notebook(folder, hold=3) as book:
        book.ok(BEFORE)
        book.ok("%config NbCkpt.verify = True")
        killed = book.kill_when_held(f"%%checkpointed train --every 1it\n{CELL}")
        assert any("verified" in line for line in killed.said)
    with notebook(folder) as book:
        resumed = book.ok(f"%%checkpointed train --every 1it --verify\n{CELL}")
        assert any("resumed at" in line for line in resumed.said)
        assert resumed.text("execute_result") == plain


def test_a_class_that_forgets_stops_the_cell_before_it_computes(folder: Path) -> None:
    """One line names the path, in the kernel as in the log, and nothing of the cell was run."""
    source = "\nclass Careless:\n    def __init__(self): self.a, self.b = 1, 2\n"
    source += "    def __setstate__(self, state): self.a = state['a']\nmodel.inner = {'it': Careless()}\n"
    with notebook(folder) as book:
        book.ok(BEFORE + source)
        reply = book.run(f"%%checkpointed train --verify\nran = 1\n{CELL}")
        assert reply.error.startswith("VerificationError")
        assert "history[0].inner['it'] was Careless with a, b and came back as Careless with a" in reply.error
        assert book.value("'ran' in globals()") is False
        assert book.value("len(history)") == 1
