"""Which objects belong together: units that share something mutable are one part, apart from the others.

A unit is a variable, or another thing that a snapshot keeps by itself, like a loop's iterator and item. Two that
share an object that can change must be pickled together, or they come back with one each. Those that share
nothing are pickled apart, so that a change to one does not move the bytes of another. What is met while pickling
tells exactly what a unit is made of; strings, dtypes, modules and named functions are no sharing.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UnpicklableError
from . import adapters, flat, memory, pickling, pieces
from .home import Home, Stored, load

KINDS = (
    *("variables", "locals", "definitions", "unchanged", "loops", "calls", "attributes", "moment"),
    *("done", "states", "stretches", "given"),
)
"""Kinds of units; those of `locals` and `calls` are of functions in progress, by what they are called in messages and
by their depth; those of `moment` are the result, the surroundings and the random state; the last ones are a script's,
of the calls and loops of its block."""
Key = tuple[str, str]
"""Names a unit: its kind and its name."""
Root = dict[str, dict[str, Any]]
"""Units by kind and name."""

SMALL = 1 << 16
"""Parts of fewer bytes travel in bundles, since each part costs some bytes of its own in a store."""
BUNDLE = 1 << 18
STATE = "state"
"""What the names of parts begin with."""


@dataclass(frozen=True, slots=True)
class Part:
    """Units that share objects, or a bundle of small ones that share nothing, as bytes."""

    name: str
    keys: list[Key]
    stream: memoryview
    buffers: list[memoryview]
    """Views of live memory: write or copy them before the loop goes on."""


@dataclass(frozen=True, slots=True)
class Dumped:
    """All units as bytes, and what they are made of."""

    parts: list[Part]
    definitions: dict[str, Any]
    """The notebook's functions and classes that they refer to, by name."""
    met: set[int]
    """The ids of their objects, which hold as long as this record lives."""
    pickled: list[pickling.Pickled]


class Sharing:
    """Knows which units share objects, as far as it was seen: what was together once stays together."""

    def __init__(self) -> None:
        self._leads: dict[Key, Key] = {}
        """From a unit towards the one that stands for its group."""
        self._pieces = pieces.Pieces()
        self._with_constants: set[tuple[Key, ...]] = set()
        """The groups that had such constants in them last time as `pickling.dump` wants to know of."""
        self._held_inside: set[Key] = set()
        """The lists and dicts that nothing can stand for, as others of their group refer to them, too."""

    def dump(self, root: Root) -> Dumped:
        """Pickle units, each group by itself.

        Raises:
            UnpicklableError: something in them cannot be pickled.
        """
        units = {(kind, name): value for kind, values in root.items() for name, value in values.items()}
        with self._pieces.in_use():
            first = {keys: self._dump(units, keys) for keys in self._groups(units)}
            owners: dict[int, Key] = {}
            for keys, pickled in first.items():
                met = pickled.identities()
                for other in {owners[one] for one in met if one in owners}:
                    self._join(keys[0], other)
                owners |= dict.fromkeys(met, keys[0])
            done = {keys: first.get(keys) or self._dump(units, keys) for keys in self._groups(units)}
        definitions = {name: thing for pickled in done.values() for name, thing in pickled.definitions.items()}
        return Dumped(_bundled(done), definitions, set(owners), [*first.values()])

    def learned(self) -> tuple[Any, ...]:
        """What it knows, for the one in another process that `learn`s it: plain values."""
        return self._leads, self._with_constants, self._held_inside

    def learn(self, known: tuple[Any, ...]) -> None:
        """Go on from what a copy of this one, made in a forked process, has found out."""
        self._leads, self._with_constants, self._held_inside = known

    def _dump(self, units: Mapping[Key, Any], keys: tuple[Key, ...]) -> pickling.Pickled:
        if len(keys) == 1 and (plain := pickling.dump_plain(keys[0], units[keys[0]])) is not None:
            return plain
        while True:
            flats = self._flats(units[key] for key in keys if key not in self._held_inside)
            pickled = self._pickle(keys, {key: flats.get(id(units[key]), units[key]) for key in keys}, flats)
            if not self._learn_who_is_held_inside(units, keys, flats, pickled):
                return pickled
            del pickled  # it refers to what it has met, and references are counted

    def _learn_who_is_held_inside(
        self, units: Mapping[Key, Any], keys: Iterable[Key], flats: Mapping[int, Any], pickled: pickling.Pickled
    ) -> bool:
        """Whether something that was stood for is referred to from within, so that it comes back twice."""
        held = self._held_inside.intersection(keys)
        if pickled.pickler is None or not (flats or held):
            return False
        met = list(map(id, pickled.pickler.things))
        if twice := flats.keys() & set(met):
            self._held_inside |= {key for key in keys if id(units[key]) in twice}
            return True
        self._held_inside -= {key for key in held if met.count(id(units[key])) == 1}
        return False

    def _flats(self, values: Iterable[Any]) -> dict[int, flat.Flat]:
        """What stands for some of these values, by their identities."""
        made = {id(value): flat.flat(value) for value in {id(value): value for value in values}.values()}
        return {key: one for key, one in made.items() if one is not None}

    def _pickle(
        self, keys: tuple[Key, ...], root: Mapping[Key, Any], stood_for: Iterable[int] = ()
    ) -> pickling.Pickled:
        constants = keys in self._with_constants
        pickled = pickling.dump(root, constants=constants, stood_for=frozenset(stood_for))
        (self._with_constants.add if pickled.has_constants else self._with_constants.discard)(keys)
        return pickled

    def _groups(self, units: Iterable[Key]) -> list[tuple[Key, ...]]:
        groups: dict[Key, list[Key]] = {}
        for key in units:
            groups.setdefault(self._find(key), []).append(key)
        return [tuple(keys) for keys in groups.values()]

    def _join(self, one: Key, other: Key) -> None:
        one, other = self._find(one), self._find(other)
        if one != other:
            self._leads[one] = other

    def _find(self, key: Key) -> Key:
        """The unit that stands for a unit's group."""
        while (on := self._leads.get(key)) is not None:
            key = on
        return key


def _bundled(done: Mapping[tuple[Key, ...], pickling.Pickled]) -> list[Part]:
    """Make parts: one of each big group, and bundles of the small ones.

    Which bundle a group is in depends on its name, so that it stays there while others grow.
    """
    small = {keys: one for keys, one in done.items() if not one.buffers and one.stream.nbytes < SMALL}
    count = 1 << (sum(one.stream.nbytes for one in small.values()) // BUNDLE).bit_length()
    bundles: dict[int, list[tuple[Key, ...]]] = {}
    for keys in small:
        bundles.setdefault(zlib.crc32(repr(min(keys)).encode()) % count, []).append(keys)
    parts = [
        Part(f"{STATE}/{':'.join(max(keys))}", [*keys], one.stream, one.buffers)
        for keys, one in done.items()
        if keys not in small
    ]
    for number, rows in sorted(bundles.items()):
        stream = memoryview(b"".join(small[keys].stream for keys in rows))
        parts.append(Part(f"{STATE}.{number}", [key for keys in rows for key in keys], stream, []))
    return parts


def build(parts: Mapping[str, Stored], code: Stored, home: Home, modules: Mapping[str, str]) -> Root:
    """Build saved units, and the saved definitions that `home` lacks; `modules` by their aliases are imported.

    Their buffers are spent: they are the memory of what is built, or gone.

    Raises:
        RestoreError: they cannot be built here.
    """
    home.saved = pickle.loads(code.stream)
    root: Root = {kind: {} for kind in KINDS}
    with home.furnished(modules):
        for name, part in parts.items():
            if name.startswith(STATE):
                for units in load(part.stream, memory.spent(part.buffers), home):
                    for (kind, unit), value in units.items():
                        root[kind][unit] = value
    if home.reordered:
        _tell_of_order(root, {id(one) for one in home.reordered})
    return root


def _tell_of_order(root: Root, sets: set[int]) -> None:
    """Name the variables whose sets are in another order than they were saved in."""
    values = {name: value for kind in ("variables", "locals", "attributes") for name, value in root[kind].items()}
    found = [name for name, value in values.items() if not sets.isdisjoint(map(id, pickling.look(value).met))]
    if found:
        adapters.say(
            f"sets in {', '.join(found[:5])} are in another order than they were: Python orders strings and objects "
            "in each kernel anew. Where that matters go over sorted(...); PYTHONHASHSEED=0 in the kernel's environment "
            "keeps the order of strings"
        )


class Outsiders:
    """The user's other names: those that share objects with what is saved are to be saved with it.

    What each is made of is found out once, and again only when it seems to share something: a name that shares
    nothing can be reached by nobody who only reaches what is saved, so it does not change meanwhile. `held` tells
    what is to be looked at of a value.
    """

    def __init__(self, held: Callable[[Any], Any] = lambda value: value) -> None:
        self._held = held
        self._made_of: dict[str, tuple[Any, set[int]]] = {}
        """Ids by name, with what the name was bound to, which so cannot be taken for what is made later.

        Among them are those of the notebook's functions and classes: one that is redefined is an object like others."""

    def sharing(self, others: Mapping[str, Any], met: set[int]) -> set[str]:
        """Which of some names share objects of `met`."""
        found = set()
        self._made_of = {name: known for name, known in self._made_of.items() if name in others}
        for name, value in others.items():
            bound, ids = self._made_of.get(name, (self, set()))
            if bound is not value:
                ids = self._look(name, value)
            elif not ids.isdisjoint(met):
                # ids of what pickling had made for itself may be used again by now
                ids = self._look(name, value)
            if not ids.isdisjoint(met):
                found.add(name)
        return found

    def _look(self, name: str, value: Any) -> set[int]:
        code: set[int] = set()
        try:
            seen = pickling.look(self._held(value))
            ids, code = seen.identities(), set(map(id, seen.definitions.values()))
        except UnpicklableError:
            ids = {id(value)}
        self._made_of[name] = value, ids | code
        return ids
