"""Queues of threads: what is in them comes back, with new locks that nobody holds or waits for."""

from __future__ import annotations

from typing import Any

_LOCKS = ("mutex", "not_empty", "not_full", "all_tasks_done")


def reduce(queue: Any) -> Any:
    """Keep what a queue holds, and what else it has."""
    with queue.mutex:
        state = {name: value for name, value in vars(queue).items() if name not in _LOCKS}
    return bare, (type(queue),), state


def bare(kind: Any) -> Any:
    """An empty queue."""
    import queue

    made = kind.__new__(kind)
    queue.Queue.__init__(made)
    return made
