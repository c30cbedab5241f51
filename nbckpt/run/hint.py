"""Finding out that most of a cell's time goes into a function whose loops are not saved inside it."""

from __future__ import annotations

import dis
import functools
import sys
import threading
import time
import types
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from .resumable import FRAME, FUNCTIONS

BETWEEN = 0.5
"""Seconds between two looks."""
ENOUGH = 20
"""Looks that must have found the same function."""


class Hint:
    """Looks from another thread where the main one is, when no boundary was reached for a while; tells once."""

    def __init__(self, namespace: Mapping[str, Any], tell: Callable[[str], None]) -> None:
        self.namespace, self.tell = namespace, tell
        self.found: Counter[str] = Counter()
        self.looks = 0
        self.told = False
        self._next = 0.0

    def look(self, now: float | None = None) -> None:
        """Take note of where the main thread is."""
        now = time.monotonic() if now is None else now
        if self.told or now < self._next:
            return
        self._next = now + BETWEEN
        self.looks += 1
        frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001
        if (name := self._function(frame)) is None:
            return
        self.found[name] += 1
        if self.found[name] >= ENOUGH and self.found[name] > self.looks / 2:
            self.told = True
            self.tell(
                f"most of the time goes into {name}(), whose loops are not saved inside it: put @nbckpt.resumable on it"
            )

    def _function(self, frame: types.FrameType | None) -> str | None:
        """The notebook's function with a loop that the cell, or a function that is saved inside, has called.

        A resumable one that runs as a whole is a loop of its caller's.
        """
        found, runs_a_loop = None, False
        resumable = {function.__code__ for function in list(FUNCTIONS)}
        while frame is not None and FRAME not in frame.f_code.co_freevars:
            if frame.f_globals is self.namespace:
                if frame.f_code.co_name.startswith("<"):
                    break
                if frame.f_code in resumable:
                    runs_a_loop = True
                elif runs_a_loop or _has_loop(frame.f_code):
                    found = frame.f_code.co_name
            frame = frame.f_back
        return found


@functools.lru_cache(maxsize=256)
def _has_loop(code: types.CodeType) -> bool:
    return any(
        step.opname == "FOR_ITER" or (step.opname.startswith(("JUMP", "POP_JUMP")) and _is_back(step))
        for step in dis.get_instructions(code)
    )


def _is_back(step: dis.Instruction) -> bool:
    return isinstance(step.argval, int) and step.argval < step.offset
