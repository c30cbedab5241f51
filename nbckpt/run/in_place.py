"""Putting saved state into the objects that there are now, which code that is not rewritten holds on to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import Any

from ..errors import RestoreError
from ..state import randomness

FIXED = (int, float, complex, str, bytes, bool, type(None), tuple, frozenset, range)
"""What cannot be changed in place."""


def is_plain(value: Any) -> bool:
    """Whether a value is a number, a text or the like, or a tuple of such: one is as good as another that is equal."""
    if isinstance(value, (tuple, frozenset)):
        return type(value) in (tuple, frozenset) and all(map(is_plain, value))
    return isinstance(value, FIXED)


CONTAINERS = (list, dict, set, deque, bytearray)


def refill(live: Any, saved: Any) -> None:
    """Give a container what a saved one holds."""
    items = list(saved.items()) if isinstance(saved, dict) else list(saved)
    live.clear()
    (live.update if isinstance(live, (dict, set)) else live.extend)(items)


class Memo:
    """Which object has become which saved one."""

    def __init__(self) -> None:
        self.pairs: dict[int, tuple[Any, Any]] = {}

    def note(self, saved: Any, live: Any) -> None:
        self.pairs[id(saved)] = saved, live

    def of(self, saved: Any) -> Any:
        return self.pairs[id(saved)][1] if id(saved) in self.pairs else saved


def replace(memo: Memo, roots: Iterable[Any]) -> None:
    """Let everything that came back and refers to a saved object refer to the one that has become it.

    Raises:
        RestoreError: something does that cannot be changed.
    """
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        holder = waiting.pop()
        if id(holder) in seen or isinstance(holder, (FunctionType, type, ModuleType, str, bytes)):
            continue
        seen.add(id(holder))
        if isinstance(holder, (tuple, set, frozenset)):
            if any(memo.of(part) is not part for part in holder):
                raise _cannot(next(part for part in holder if memo.of(part) is not part))
            waiting += holder
        elif isinstance(holder, (list, deque)):
            for index, part in enumerate(holder):
                if memo.of(part) is not part:
                    holder[index] = memo.of(part)
            waiting += holder
        for names in (holder if isinstance(holder, dict) else {}, getattr(holder, "__dict__", {})):
            for name, part in list(names.items()):
                if memo.of(part) is not part:
                    names[name] = memo.of(part)
            waiting += names.values()


def put(live: Any, saved: Any, memo: Memo) -> None:
    """Make an object what a saved one is; what it has at hand itself is put back in place, too."""
    if isinstance(live, tuple):
        for one, other in zip(live, saved, strict=True):
            put(one, other, memo)
        return
    if live is saved:
        return
    memo.note(saved, live)
    kind = type(live)
    if kind is not type(saved):
        raise RestoreError(
            f"an nbckpt.loop had a {type(saved).__name__} as its state and now has a {kind.__name__}. Nothing was "
            "lost: undo the edit, or start over with --fresh"
        )
    if hasattr(kind, "load_state_dict") and hasattr(kind, "state_dict"):
        live.load_state_dict(saved.state_dict())
    elif randomness.is_generator(live):
        randomness.restore_held({"": live}, randomness.capture_held({"": saved}))
    elif isinstance(live, dict):
        items = {key: _kept(live.get(key), value, memo) for key, value in saved.items()}
        live.clear()
        live.update(items)
    elif isinstance(live, (list, deque)):
        before = [*live, *[None] * len(saved)]
        live[:] = [_kept(one, value, memo) for one, value in zip(before, saved, strict=False)]  # type: ignore[index]
    elif isinstance(live, (set, bytearray)):
        live.clear()
        live.update(saved) if isinstance(live, set) else live.extend(saved)
    elif kind.__module__ == "numpy" and getattr(live, "shape", None) == getattr(saved, "shape", ()):
        live[...] = saved
    elif not hasattr(live, "__dict__"):
        raise _cannot(live)
    if hasattr(live, "__dict__") and not hasattr(kind, "load_state_dict"):
        vars(live).clear()
        vars(live).update({name: memo.of(value) for name, value in vars(saved).items()})


def _kept(live: Any, saved: Any, memo: Memo) -> Any:
    """What takes the place of a part of a container: the object that was there, if it can become the saved one."""
    if (known := memo.of(saved)) is not saved:
        return known
    if type(live) is not type(saved) or isinstance(saved, (*FIXED, FunctionType, type)):
        return saved
    try:
        put(live, saved, memo)
    except RestoreError:
        return saved
    return live


def _cannot(thing: Any) -> RestoreError:
    return RestoreError(
        f"the state of an nbckpt.loop holds a {type(thing).__name__}, which cannot be put back in place. Nothing was "
        "lost: keep it in a list or dict, or start over with --fresh"
    )
