"""`--capture fork` in real kernels, which have threads and ports of their own."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from forks import write_held

from .notebook import ROOT, notebook

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")

# a copy in any case, however long threads take to rest on a busy machine
SETUP = "from nbckpt.run import forking; forking.WORTH, forking._LOOKS = 0.0, 10**5"
CELL = """
import gate, held, os, random
import numpy as np
a_gate = held.Held()
seen, things, array = [], {}, np.random.random((200, 200))
for k in range(6):
    things[k] = {"k": k, "drawn": random.random()}
    array = array @ array / 100 + np.random.random((200, 200))
    seen.append((k, float(array.sum()), random.randrange(9)))
    print(k, flush=True)
    held.Held.stands = k == 2 and os.environ["HOLD"] == "3"
    gate.hold(k)
seen, things
"""
HEAD = "%%checkpointed train --every 1it --capture fork\n"


def test_a_kernel_killed_while_a_copy_works(folder: Path) -> None:
    """Its ports are free at once, its copy finishes the snapshot, and the next kernel goes on from there."""
    write_held(folder)
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(folder)])
    seeds = "import random, numpy; random.seed(SEED); numpy.random.seed(SEED)"
    with notebook(folder) as book:
        book.ok(seeds.replace("SEED", "1"))
        plain = book.ok(CELL)
    with notebook(folder, hold=3, PYTHONPATH=path, NBCKPT_WRITER="process") as book:
        book.hidden(SETUP)
        book.ok(seeds.replace("SEED", "1"))
        book.kill_when_held(HEAD + CELL)
        assert (folder / "stands").read_text(), "the copy is there, and not yet done"
        for port in book.manager.ports:
            socket.create_server(("127.0.0.1", port)).close()
        (folder / "gate").open("w").close()
    with notebook(folder) as book:
        book.ok(seeds.replace("SEED", "2"))
        resumed = book.ok(HEAD + CELL)
    assert any("resumed at k 3 of 6" in line for line in resumed.said), resumed.said
    assert resumed.text() == plain.text()
    assert resumed.text("execute_result") == plain.text("execute_result")
