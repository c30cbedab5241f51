"""The order of a set's elements: a matter of its whole history, and kept as far as hashes allow.

Where an element lies in a set's table, and so when it comes and which one `pop` takes, depends on the table's size,
on what was in the way when it was added, and on what was taken out since. Sets that come out another way when their
elements are simply added again have their table noted, and put back where the elements have the same hashes. Hashes
of strings differ in each kernel, and so do those of objects that hash by their address: their order is compared.

How tables look in memory is not promised by Python: it is tried out before anything relies on it.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import sys
import sysconfig
from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress
from typing import Any

_STABLE = {int, float, complex, bool}
"""Kinds whose hashes are the same in every process."""
_BUILT_IN = {*_STABLE, str, bytes, type(None)}
"""Kinds that can be hashed without running code of the user's."""
_KNOWN = ((3, 10), (3, 14))
"""The Pythons whose tables are known."""
_LONGEST = 10_000
"""Elements of a set whose order is noted for comparing, if it cannot be put back."""


@dataclass(frozen=True, slots=True)
class Table:
    """Where the elements lie that simple adding would bring in some order. Numbers in the machine's own form."""

    size: int
    finger: int
    """Where `pop` looks next."""
    slots: bytes
    removed: bytes
    """Slots whose element was taken out, which are still in the way."""


Note = tuple[Any, "bytes | None", "tuple[Any, ...] | None", "Table | None"]
"""A set, a digest of what adding its elements again gives, their order if it may differ, its table if that does."""


def notes(things: Iterable[Any], *, hashing: bool) -> tuple[Note, ...]:
    """What is to be noted of some sets; `hashing` says whether classes here have a `__hash__` written in Python."""
    note = _note if is_known() else _note_order
    found = (note(thing, hashing=hashing) for thing in {id(thing): thing for thing in things}.values())
    return tuple(one for one in found if one is not None)


def _note(thing: Any, *, hashing: bool) -> Note | None:
    order = list(thing)
    kinds = set(map(type, order))
    if hashing and not _BUILT_IN.issuperset(kinds):
        # their own code is not to run now; and what stands for them in a set has the same hash, and equals nothing
        twin: Any = set(map(_StandIn, _hashes(thing), order))
        again = [one.thing for one in twin]
        same = _column(twin) == _column(thing) and all(map(operator.is_, again, order))
    else:
        twin = set(order)
        again = []
        same = _memory(twin) == _memory(thing)
    if not same or _head(thing).finger:
        return thing, _digest(twin), _order(thing, kinds), _table(thing, again or list(twin))
    if len(order) < 2 or _STABLE.issuperset(kinds):
        return None
    return thing, _digest(twin), _order(thing, kinds), None


def _note_order(thing: Any, *, hashing: bool = False) -> Note | None:  # noqa: ARG001 - as the other
    """What can be compared where tables are not known."""
    kinds = set(map(type, thing))
    return None if len(thing) < 2 or _STABLE.issuperset(kinds) else (thing, None, _order(thing, kinds), None)


def _order(thing: Any, kinds: set[type]) -> tuple[Any, ...] | None:
    """The elements, if they are to be compared: few enough, and of kinds that hash otherwise elsewhere."""
    return None if _STABLE.issuperset(kinds) or len(thing) > _LONGEST else tuple(thing)


class _StandIn:
    __slots__ = ("hash", "thing")

    def __init__(self, known: int, thing: Any) -> None:
        self.hash, self.thing = known, thing

    def __hash__(self) -> int:
        return self.hash


def put_back(found: Iterable[Note]) -> list[Any]:
    """Give sets that were built by adding the order that they had; return those whose order is another one now."""
    differing = []
    for thing, digest, order, table in found:
        if digest is not None and is_known() and digest == _digest(thing):
            if table is not None:
                _put_table(thing, table)
        elif len(thing) > 1 and (order is None or tuple(thing) != order):
            differing.append(thing)
    return differing


# ---------------------------------------------------------------------------------------------------------
# tables in memory


class _Head(ctypes.Structure):
    """How a set begins, as CPython has it; before it are a count of references and a class."""

    _fields_ = (
        ("fill", ctypes.c_ssize_t),
        ("used", ctypes.c_ssize_t),
        ("mask", ctypes.c_ssize_t),
        ("table", ctypes.c_void_p),
        ("hash", ctypes.c_ssize_t),
        ("finger", ctypes.c_ssize_t),
        ("small", ctypes.c_ssize_t * 16),
    )


_START = object.__basicsize__
_SMALL = _Head.small.offset
_EMPTY, _REMOVED = 0, -1


def _head(thing: Any) -> _Head:
    return _Head.from_address(id(thing) + _START)


def _words(thing: Any) -> Any:
    """The table: for each slot an address and a hash."""
    head = _head(thing)
    return (ctypes.c_ssize_t * (2 * (head.mask + 1))).from_address(head.table)


def _memory(thing: Any) -> bytes:
    """The table as it is."""
    head = _head(thing)
    return ctypes.string_at(head.table, ctypes.sizeof(ctypes.c_ssize_t) * 2 * (head.mask + 1))


def _column(thing: Any) -> bytes:
    """The hashes in the table, by slot."""
    return memoryview(_words(thing)).cast("B").cast("q")[1::2].tobytes()


def _digest(thing: Any) -> bytes:
    import xxhash

    return xxhash.xxh3_128_digest(_column(thing))


def _hashes(thing: Any) -> list[int]:
    """The hashes of a set's elements, in its order."""
    words = list(_words(thing))
    return [known for place, known in zip(words[::2], words[1::2], strict=True) if place not in (0, _dummy())]


@functools.cache
def _dummy() -> int:
    """The address of what is in a slot whose element was taken out."""
    thing = {1}
    thing.discard(1)
    return int(_words(thing)[2])


def _table(thing: Any, elements: list[Any]) -> Table:
    """The table of a set whose elements are given in the order in which they will be met."""
    head = _head(thing)
    places = memoryview(_memory(thing)).cast("Q")[::2].tolist()
    slot = dict(zip(filter(None, places), compress(range(len(places)), places), strict=True))
    removed = [number for number, place in enumerate(places) if place == _dummy()] if head.fill > head.used else []
    slots = array("I", map(slot.__getitem__, map(id, elements)))
    return Table(head.mask + 1, head.finger, slots.tobytes(), array("I", removed).tobytes())


def _put_table(thing: Any, table: Table) -> None:
    """Arrange the elements of a set as they were, which has them in the order that the table is for."""
    elements, hashes = list(thing), _hashes(thing)
    slots, removed = array("I", table.slots), array("I", table.removed)
    made = _of_size(table.size)
    words = [0] * (2 * table.size)
    for number in removed:
        words[2 * number : 2 * number + 2] = _dummy(), -1
    for number, element, known in zip(slots, elements, hashes, strict=True):
        words[2 * number : 2 * number + 2] = id(element), known
    for element in map(ctypes.py_object, elements):
        ctypes.pythonapi.Py_IncRef(element)  # the table's own
    _words(made)[:] = words
    head = _head(made)
    head.used, head.fill, head.finger = len(elements), len(elements) + len(removed), table.finger
    _exchange(thing, made)


def _of_size(size: int) -> set[Any]:
    """An empty set with a table of some size; what is in it is to be written over."""
    made: set[Any] = set()
    if size > 8:
        numbers = dict.fromkeys(range(size // 2 - 1))
        made.update(numbers)  # makes room for twice as many as a dict has, at once
        deque(map(made.discard, numbers), maxlen=0)  # `difference_update` would make the table small again
    if _head(made).mask != size - 1:
        raise RuntimeError(f"a set's table of {size} slots cannot be made in this Python")
    return made


def _exchange(one: Any, other: Any) -> None:
    """Let two sets change their tables, as Python does itself in `intersection_update`."""
    first, second = _head(one), _head(other)
    for name in ("fill", "used", "mask", "table", "finger"):
        mine, others = getattr(first, name), getattr(second, name)
        setattr(first, name, others)
        setattr(second, name, mine)
    mine, others = list(first.small), list(second.small)
    first.small[:], second.small[:] = others, mine
    for owner, thing in ((first, one), (second, other)):
        if owner.mask == 7:
            owner.table = id(thing) + _START + _SMALL


# ---------------------------------------------------------------------------------------------------------
# trying it out


@functools.cache
def is_known() -> bool:
    """Whether tables look in this Python as they are thought to, and can be put back."""
    version = sys.version_info[:2]
    known = sys.implementation.name == "cpython" and _KNOWN[0] <= version <= _KNOWN[1]
    size = _START + ctypes.sizeof(_Head) + ctypes.sizeof(ctypes.c_void_p)
    if (
        not known
        or ctypes.sizeof(ctypes.c_ssize_t) != 8
        or sysconfig.get_config_var("Py_GIL_DISABLED")
        or set.__basicsize__ != size
    ):
        return False
    return all(map(_reads, (0, 1, 4, 5, 40, 1000))) and all(map(_is_put_back, (1, 3, 9, 70)))


def _history(count: int) -> set[int]:
    """A set with things in each other's way, some of which were taken out."""
    made = {number * number * 7919 % 1009 for number in range(3 * count)}
    for number in list(made)[::3]:
        made.discard(number)
    made.pop()
    return made


def _reads(count: int) -> bool:
    thing = {number << 7 for number in range(count)}
    head = _head(thing)
    own = id(thing) + _START + _SMALL
    if head.used != count or head.fill != count or head.mask & (head.mask + 1) or not count <= head.mask + 1 < 16384:
        return False
    if (head.mask == 7) != (head.table == own) or head.hash != -1 or head.finger:
        return False
    words = list(_words(thing))
    filled = [(place, known) for place, known in zip(words[::2], words[1::2], strict=True) if place]
    return filled == [(id(one), hash(one)) for one in thing]


def _is_put_back(count: int) -> bool:
    thing, like = _history(count), _history(count)
    noted = _note(thing, hashing=False)
    again = set(iter(thing))  # adds one by one
    if noted is None or noted[3] is None or noted[1] != _digest(again):
        return False
    _put_table(again, noted[3])
    if list(again) != list(like) or again != like or sys.getsizeof(again) != sys.getsizeof(like):
        return False
    for number in range(5 * count):  # from here on they must go on in the same way
        for one in (again, like):
            one.add(number * 31)
            one.discard(number * 7)
        if (again and again.pop() != like.pop()) or list(again) != list(like):
            return False
    return True
