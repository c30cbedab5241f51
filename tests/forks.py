"""A forked copy of a process that stops where a test wants it: at a gate, which is a named pipe."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_HELD = """
import os
KERNEL = os.getpid()

shared = [0]

class Held:
    '''Where a copy of the process pickles it, that stands still until it is let through, if it is to.'''
    stands = False
    def __reduce__(self):
        if os.getpid() != KERNEL and Held.stands:
            Held.stands = False  # once in a copy, which may pickle it again
            with open("stands", "w") as file:
                file.write(str(os.getpid()))
            open("gate").read()
        return Held, ()

def wait():
    '''The copy's process number, when it stands there.'''
    return int(open("stands").read())

def let():
    open("gate", "w").close()

def make(count):
    return {k: [k, str(k)] for k in range(count)}

def add_to_first(things):
    for one in things:
        one[0] += 1
"""


def write_held(folder: Path) -> None:
    """Put the module `held` into a folder, which is that of the programs that use it."""
    (folder / "held.py").write_text(_HELD)
    for name in ("gate", "stands"):
        os.mkfifo(folder / name)
