"""The page about leaving, made of what the tests show: `python tests/leaving_table.py` writes it anew.

Each case is one test of `tests/kernels/test_leaving.py`, which leaves a cell in that way and looks at what the next
run makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "leaving.md"

CELLS = {
    "python": "Python code",
    "sleep": "`time.sleep`",
    "numpy": "one NumPy call",
    "await": "`await`",
    "shell": "`!sleep`",
}
"""What an iteration does."""

NONE, SINCE = "none", "those since the snapshot before"
SAVED = "stopped at k {at} of {n}, saved; run it again to go on there"
AT_ONCE = "stopped at once in k {now} of {n}; run it again to go on at k {at} of {n}"
INTERRUPTED = "interrupted: stops when this iteration ends, and saves there; a second interrupt stops at once"
TERMINATED = "SIGTERM: stops when this iteration ends and is saved, if that is within 25 s"
NOTHING = ""
LIVES, KILLED, BY_SIGTERM, ORPHANED = "goes on", "SIGKILL", "SIGTERM", "ends, 1"
ENDED = "ends, 0"
"""Where Jupyter does not get impatient: after 2.5 s it is SIGTERM that ends it."""
GONE = "ends"
"""What with, only the server knows."""


@dataclass(frozen=True)
class Case:
    """One way to leave a cell, and what becomes of it."""

    way: str
    cell: str
    length: str
    lost: str
    shown: str
    raised: str
    kernel: str

    def __str__(self) -> str:
        return f"{self.way}, {self.cell}, {self.length}"


def _each(way: str, lengths: str, lost: str, shown: str, raised: str, kernel: str, cells: str = "python") -> list[Case]:
    return [
        Case(way, cell, length, lost, shown, raised, kernel) for cell in cells.split() for length in lengths.split(", ")
    ]


_ALL, _REST = "python sleep numpy await shell", "sleep numpy await shell"
_KEYBOARD = "KeyboardInterrupt"

KERNELS = [
    *_each("interrupt", "10 ms, 1 s, 10 s", NONE, SAVED, _KEYBOARD, LIVES),
    *_each("interrupt", "1 s", NONE, SAVED, _KEYBOARD, LIVES, _REST),
    *_each("interrupt twice", "1 s, 10 s", SINCE, AT_ONCE, _KEYBOARD, LIVES),
    *_each("interrupt twice", "1 s", SINCE, AT_ONCE, _KEYBOARD, LIVES, "sleep numpy shell"),
    *_each("interrupt twice", "1 s", SINCE, AT_ONCE, "CancelledError", LIVES, "await"),
    *_each("restart", "10 ms, 1 s", NONE, SAVED, _KEYBOARD, ENDED),
    *_each("restart", "10 s", SINCE, TERMINATED, "", KILLED),
    *_each("restart", "1 s", NONE, SAVED, _KEYBOARD, ENDED, _REST),
    *_each("shutdown", "1 s", NONE, SAVED, _KEYBOARD, ENDED),
    *_each("SIGTERM to the kernel", "10 ms, 1 s, 10 s", NONE, SAVED, "", BY_SIGTERM),
    *_each("SIGTERM to the kernel", "1 s", NONE, SAVED, "", BY_SIGTERM, _REST),
    *_each("SIGKILL to the kernel", "1 s", SINCE, NOTHING, "", KILLED),
]
"""Through jupyter_client."""

SERVERS = [
    *_each("interrupt in the server", "1 s", NONE, SAVED, _KEYBOARD, LIVES),
    *_each("restart in the server", "1 s", NONE, SAVED, _KEYBOARD, GONE),
    *_each("shutdown in the server", "1 s", NONE, SAVED, _KEYBOARD, GONE),
    *_each("the server culls it (`cull_busy`)", "10 s", NONE, SAVED, _KEYBOARD, GONE),
    *_each("SIGTERM to the server", "1 s", NONE, SAVED, _KEYBOARD, GONE),
    *_each("SIGKILL to the server", "10 s", SINCE, NOTHING, "", ORPHANED),
]
"""Through a Jupyter server."""

_HEAD = """\
# What each way of leaving costs

This page is written by the tests (`python tests/leaving_table.py`): each line of the tables is a real kernel that was
left in that way, in the middle of an iteration of a loop, and a cell that was run again afterwards
([test_leaving.py](../tests/kernels/test_leaving.py)). A snapshot was taken every 3 iterations, so that it shows what
the farewell is worth. *Lost* are iterations that had ended and were run again. Whatever the way, none was applied half:
the cell that went on came to what an undisturbed one comes to.

At the first interrupt the status says `{interrupted} …`, at SIGTERM `{terminated}`. That is so in all lines in which
an iteration could end. The last thing said is in the tables.

| way | in | iterations of | lost | shown at the end | raised | the kernel |
| --- | --- | --- | --- | --- | --- | --- |
"""
_SERVERS_HEAD = """
Through a Jupyter server, which is asked by its REST interface, as JupyterLab asks it:

| way | in | iterations of | lost | shown at the end | raised | the kernel |
| --- | --- | --- | --- | --- | --- | --- |
"""
_REST_OF_PAGE = """
## What to know

- Jupyter sends SIGINT first, SIGTERM after 2.5 s and SIGKILL after 5 s when a kernel is restarted or shut down. An
  iteration that ends within that is not lost. The SIGTERM is no second interrupt: it is what ends the kernel when the
  cell is saved, instead of KeyboardInterrupt.
- In one call of a library that returns after a long time the line is shown at once, but Python itself can act only
  when the call returns: also at the second interrupt.
- In a kernel, `!cmd` runs in a session of its own, and comes to its end before the cell stops. In a terminal Ctrl-C
  reaches it: if that ends it, the iteration is not saved, and the cell goes back to the snapshot before.
- SIGTERM is handed on when the cell is saved, or after `--grace` seconds: to the handler that was there before, or to
  end the process by that signal. A snapshot that is being written is finished by the writer process all the same.
- In a kernel's subshell or another thread Python gives nobody signals: what counts is what was saved by the clock, and
  a note says so.
- `nbclient` and `jupyter execute` that are asked to end (Ctrl-C, SIGTERM) shut their kernel down in good order, and
  exit with an error. A script ends by KeyboardInterrupt, or by the signal.
"""


def page() -> str:
    """The whole page."""
    head = _HEAD.format(interrupted=INTERRUPTED, terminated=TERMINATED)
    return "".join([head, *map(_line, KERNELS), _SERVERS_HEAD, *map(_line, SERVERS), _REST_OF_PAGE])


def _line(case: Case) -> str:
    shown = case.shown.format(at=6, now=6, n=20) if case.shown != AT_ONCE else AT_ONCE.format(at=3, now=6, n=20)
    cells = [case.way, CELLS[case.cell], case.length, case.lost, shown and f"`{shown}`", case.raised, case.kernel]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
