"""Objects of a library whose attributes are those of their class: `self.__dict__ = self._shared_state`.

What the library makes later has that dict, so what comes back is put into it, where a run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import by_hand


def applies(kind: type) -> bool:
    """Whether a class is a library's, and has dicts that could be the attributes of all its objects."""
    return not hasattr(kind, "__setstate__") and any(True for _ in _dicts(kind)) and by_hand.is_usual(kind)


def reduce(thing: Any) -> Any:
    """Keep the class's dict as such."""
    attributes = object.__getattribute__(thing, "__dict__")
    for owner, name, found in _dicts(type(thing)):
        if found is attributes:
            return by_hand.bare, (type(thing),), (owner, name, attributes), None, None, _fill
    return by_hand.reduce(thing) if by_hand.applies(type(thing)) else NotImplemented


def _dicts(kind: type) -> Iterator[tuple[type, str, dict[str, Any]]]:
    for base in kind.__mro__ if kind.__dictoffset__ else ():
        if base.__module__ not in ("__main__", "builtins"):
            for name, value in list(vars(base).items()):
                if isinstance(value, dict) and not name.startswith("__"):
                    yield base, name, value


def _fill(thing: Any, state: tuple[type, str, dict[str, Any]]) -> None:
    from . import do_on_arrival

    owner, name, attributes = state
    object.__setattr__(thing, "__dict__", attributes)

    def join() -> None:
        known = vars(owner)[name]
        if known is not attributes:
            known.clear()
            known.update(attributes)
        object.__setattr__(thing, "__dict__", known)

    do_on_arrival(join)
