"""The line that says which function to make resumable."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from nbckpt.run.hint import ENOUGH, Hint

MARKED = """
def marked(look):
    for k in range(1):
        look()
"""
CODE = """
def busy(look):
    for k in range(1):
        look()
def quick(look):
    look()
def around(look):
    marked(look)
@__import__("functools").lru_cache
def outer(look):
    for k in range(1):
        busy(look)
"""


def said(function: str, looks: int = ENOUGH, path: Path | None = None) -> list[str]:
    """What is said when each look finds the main thread in a function."""
    notices: list[str] = []
    namespace: dict[str, Any] = {}
    exec(compile(path.read_text() if path else CODE, str(path), "exec"), namespace)
    hint = Hint(namespace, notices.append)

    def look() -> None:
        for number in range(looks):
            thread = threading.Thread(target=hint.look, args=(float(number),))
            thread.start()
            thread.join()

    namespace[function](look)
    return notices


def test_a_function_with_a_loop_that_takes_most_of_the_time_is_named_once() -> None:
    """The outermost one, which the cell calls."""
    line = "most of the time goes into {}(), whose loops are not saved inside it: put @nbckpt.resumable on it"
    assert said("busy") == [line.format("busy")]
    assert said("outer", 3 * ENOUGH) == [line.format("outer")]


def test_a_function_that_is_resumable_already_is_not_named_but_what_calls_it_is(tmp_path: Path) -> None:
    """Called from the cell where it can only be run as a whole, it is spoken of when it is called."""
    path = tmp_path / "cell.py"
    path.write_text(f"import nbckpt\n{CODE}\n@nbckpt.resumable{MARKED}")
    assert said("marked", path=path) == []
    line = "most of the time goes into around(), whose loops are not saved inside it: put @nbckpt.resumable on it"
    assert said("around", path=path) == [line]


def test_nothing_is_said_of_short_stays_or_of_functions_without_loops() -> None:
    """Nor is a loop that only draws."""
    assert said("busy", ENOUGH - 1) == []
    assert said("quick") == []
