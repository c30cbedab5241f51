"""Classes that pickle saves and cannot load: their own methods would run before their attributes are there.

A `__getattr__` that looks into an attribute is asked for `__setstate__` first, and asks itself for ever; a dict whose
`__setitem__` counts is filled before it has a counter; a `__new__` that wants arguments gets none; the `__init__` of
a class derived from OrderedDict is called without any; where a property has a slot's name, pickle asks the property
and tells it; a `__setattr__` that allows no change is told the slots. Their objects are put together without calling
any of these.

And classes derived from one that pickles in a way of its own, like `datetime` or `random.Random`, which knows nothing
of what was added: neither of the arguments that a new maker wants, nor of new attributes.
"""

from __future__ import annotations

import contextlib
import copyreg
import pickle
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from typing import Any

from ..authors import is_users

_MUTATORS = {dict: ("__setitem__", "update"), list: ("__setitem__", "append", "extend")}


def applies(kind: type) -> bool:
    """Whether objects of a class are to be put together by hand."""
    names = _names(kind)
    return is_usual(kind) and (
        "__getattr__" in names
        or any(issubclass(kind, base) and names & set(methods) for base, methods in _MUTATORS.items())
        or isinstance(kind.__new__, types.FunctionType)
        or ("__slots__" in names and ("__setattr__" in names or any(_hidden_slots(kind))))
    )


def is_usual(kind: type) -> bool:
    """Whether objects of a class are pickled as pickle does it, with no say of their own in how they are made."""
    told = any(getattr(kind, name) is not getattr(object, name) for name in ("__reduce__", "__reduce_ex__"))
    return not told and not _names(kind) & {"__getnewargs__", "__getnewargs_ex__"}


def _names(kind: type) -> set[str]:
    """What a class and those it is derived from say in Python."""
    return {name for base in kind.__mro__ if base.__flags__ & _HEAP for name in vars(base)}


_HEAP = 1 << 9
"""Python's flag for a class made by a `class` statement."""


def reduce(thing: Any) -> Any:
    """Keep what pickle would."""
    reduced = thing.__reduce_ex__(5)
    if not isinstance(reduced, tuple) or reduced[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
        return NotImplemented
    _, (kind, *arguments), state, items, pairs = (*reduced, None, None, None)[:5]
    if hidden := list(_hidden_slots(kind)):
        state = _with_hidden(thing, hidden, state)
    return bare, (kind, *arguments), (state, list(items or ()), list(pairs or ())), None, None, _fill


def _hidden_slots(kind: type) -> Iterator[tuple[type, str]]:
    """The slots that an object's class gives no way to by their names: something else is there."""
    for base in kind.__mro__:
        declared = vars(base).get("__slots__", ()) if base.__flags__ & _HEAP else ()
        for name in {declared} if isinstance(declared, str) else declared:
            found = _found(kind, name)
            is_slot = isinstance(found, types.MemberDescriptorType) and found.__objclass__ is base
            if found is not None and not is_slot and name not in ("__dict__", "__weakref__"):
                yield base, name


def _found(kind: type, name: str) -> Any:
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


def _with_hidden(thing: Any, hidden: list[tuple[type, str]], state: Any) -> Any:
    """The state of an object with what is in its hidden slots, rather than what is in their place.

    Raises:
        pickle.PicklingError: what is in one cannot be asked for, as its own class hides it.
    """
    kind = type(thing)
    if hasattr(kind, "__setstate__") or getattr(kind, "__getstate__", None) is not _GETSTATE:
        return state
    attributes, slots = state if isinstance(state, tuple) else (state, {})
    in_place = {name for _, name in hidden if not isinstance(_found(kind, name), types.MemberDescriptorType)}
    slots = {name: value for name, value in (slots or {}).items() if name not in in_place}
    for base, name in hidden:
        slot = vars(base).get(name)
        if not isinstance(slot, types.MemberDescriptorType):
            raise pickle.PicklingError(f"its slot {name!r} is hidden: its class {base.__qualname__} has replaced it")
        try:
            slots[f"{base.__name__}.{name}"] = slot.__get__(thing)
        except AttributeError:  # it is empty
            continue
    return attributes, slots


_GETSTATE = getattr(object, "__getstate__", None)
"""What classes have that do not say themselves what to keep; there is none before Python 3.11."""


def usual(reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same parts in the places where pickle has them."""
    if reduced[0] is made:
        return reduced[1][1], reduced[1][2:], *reduced[2]
    if len(reduced) == _WITH_SETTER and reduced[5] is _fill_derived:
        state, _, added = reduced[2]
        made_by, arguments = reduced[:2] if reduced[0] is not _construct else (reduced[1][1], reduced[1][2:])
        return made_by, arguments, {"<state>": state, **added}, *reduced[3:5]
    if reduced[0] is not bare:
        return reduced
    return copyreg.__newobj__, reduced[1], *reduced[2]  # type: ignore[attr-defined]


_WITH_SETTER = 6
"""How many parts there are if the state is not put in by pickle itself."""


def bare(kind: Any, *arguments: Any) -> Any:
    """An object without attributes; a `__new__` of the user's may return the only one, or count."""
    make: Any = next(base.__new__ for base in kind.__mro__ if "__new__" in vars(base) and not is_users(base))
    try:
        return make(kind, *arguments)
    except TypeError:  # it wants what only its first maker knew
        base: Any = next(base for base in kind.__mro__ if not base.__flags__ & _HEAP)
        return base.__new__(kind, *arguments)


def _fill(thing: Any, saved: tuple[Any, list[Any], list[tuple[Any, Any]]]) -> None:
    state, items, pairs = saved
    if items:
        list.extend(thing, items)
    if pairs:
        dict.update(thing, pairs)
    _put_state(thing, state)


def _put_state(thing: Any, state: Any) -> None:
    if state is None:
        return
    if setstate := getattr(type(thing), "__setstate__", None):
        setstate(thing, state)
        return
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    if attributes:
        object.__getattribute__(thing, "__dict__").update(attributes)
    for name, value in (slots or {}).items():
        owner, _, slot = name.rpartition(".")
        if owner:
            next(vars(base)[slot] for base in type(thing).__mro__ if base.__name__ == owner).__set__(thing, value)
        else:
            object.__setattr__(thing, name, value)


# ---------------------------------------------------------------------------------------------------------
# derived from what pickles in a way of its own


def reduce_derived(thing: Any) -> Any:
    """Keep what the class that the user's is derived from would, and what that does not know of."""
    kind = type(thing)
    if (base := library_base(kind)) is None:
        return NotImplemented
    reduced = thing.__reduce_ex__(5)
    if not isinstance(reduced, tuple):
        return NotImplemented
    function, arguments, state, items, pairs, setter = (*reduced, None, None, None, None)[:6]
    added = _added(thing, base, state)
    if function is kind:
        function, arguments = _construct, (base, kind, *arguments)
    elif not added:
        return NotImplemented
    return function, arguments, (state, setter, added), items, pairs, _fill_derived


def library_base(kind: type) -> Any:
    """The class, pickling in a way of its own, that one of the user's is derived from and leaves it to; or None."""
    if not is_users(kind) or kind in copyreg.dispatch_table:
        return None
    base: Any = next(base for base in kind.__mro__ if not is_users(base))
    own = {name for user in kind.__mro__[: kind.__mro__.index(base)] for name in vars(user)}
    if own & _OWN_PICKLES or all(
        getattr(base, name) is getattr(object, name) for name in ("__reduce__", "__reduce_ex__")
    ):
        return None
    return base


def _construct(base: Any, kind: Any, *arguments: Any) -> Any:
    """What calling the class does, without the methods of the one derived from it."""
    thing = base.__new__(kind, *arguments)
    if base.__init__ is not object.__init__:
        base.__init__(thing, *arguments)
    return thing


def _added(thing: Any, base: Any, state: Any) -> dict[str, Any]:
    """The attributes that a thing has beyond those of its base, and that its state lacks."""
    kind = type(thing)
    if hasattr(kind, "__setstate__") and not hasattr(base, "__setstate__"):
        return {}
    kept = {str(name) for part in (state if type(state) is tuple else (state,)) if type(part) is dict for name in part}
    found = {}
    if not base.__dictoffset__ or base.__module__ in sys.stdlib_module_names:
        found = {name: value for name, value in getattr(thing, "__dict__", {}).items() if name not in kept}
    for user in kind.__mro__[: kind.__mro__.index(base)]:
        for name, slot in vars(user).items():
            if isinstance(slot, types.MemberDescriptorType) and name not in kept:
                with contextlib.suppress(AttributeError):  # it is empty
                    found[name] = slot.__get__(thing)
    return found


def _fill_derived(thing: Any, saved: tuple[Any, Any, dict[str, Any]]) -> None:
    state, setter, added = saved
    if setter is not None:
        setter(thing, state)
    else:
        _put_state(thing, state)
    for name, value in added.items():
        object.__setattr__(thing, name, value)


# ---------------------------------------------------------------------------------------------------------
# Python's containers

_CONTAINERS: tuple[Any, ...] = (OrderedDict, defaultdict, Counter, deque, set, frozenset)
"""Python's containers that call the class itself, and its methods, when they are unpickled."""
_OWN = {"__init__", "__new__", "__setitem__", "update", "append", "extend", "add"}
_OWN_PICKLES = {"__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__"}


def reduce_container(thing: Any) -> Any:
    """Keep what pickle would of a class derived from a container that does such things in its own way."""
    kind = type(thing)
    base: Any = next(base for base in kind.__mro__ if base in _CONTAINERS)
    own = {name for one in kind.__mro__[: kind.__mro__.index(base)] for name in vars(one)}
    if not own & _OWN or own & _OWN_PICKLES:
        return NotImplemented
    _, _, state = (*thing.__reduce_ex__(5), None)[:3]
    if base is Counter:
        state = vars(thing) or None
    arguments: tuple[Any, ...] = ()
    items, pairs = [], []
    if issubclass(base, dict):
        pairs = list(base.items(thing))
        arguments = (thing.default_factory,) if base is defaultdict else ()
    elif base is frozenset:
        arguments = (list(base.__iter__(thing)),)
    else:
        items = list(base.__iter__(thing))
        arguments = ((), thing.maxlen) if base is deque else ()
    return made, (base, kind, *arguments), (state, items, pairs), None, None, _fill_container


def made(base: Any, kind: Any, *arguments: Any) -> Any:
    """A container without elements, but for one that never changes."""
    if base is frozenset:
        return base.__new__(kind, *arguments)
    thing = base.__new__(kind)
    base.__init__(thing, *arguments)
    return thing


def _fill_container(thing: Any, saved: tuple[Any, list[Any], list[tuple[Any, Any]]]) -> None:
    state, items, pairs = saved
    base: Any = next(base for base in type(thing).__mro__ if base in _CONTAINERS)
    for key, value in pairs:
        base.__setitem__(thing, key, value)
    if items:
        (deque.extend if base is deque else set.update)(thing, items)
    _put_state(thing, state)
