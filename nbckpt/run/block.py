"""The code of a script's `with` block: its loops, and the functions that it calls.

The code of the block is not rewritten. On resume it runs again from the top, up to the loop iteration or the call
that was in progress; what was done is not done again: a loop yields nothing, a call of a resumable function returns
what it had returned, and random numbers in between are the ones that were drawn. There the saved state is put back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType, FunctionType
from typing import Any

from ..errors import RestoreError
from ..state import pickling, randomness
from ..state.namespace import names_of_definitions
from . import doors
from .function import enter, reenter
from .in_place import FIXED, Memo, is_plain, put, replace
from .loops import Loop
from .order import Order, outside
from .place import Place
from .resumable import source_of

_SITE = 0
"""A call of the block's is known by its place in the order; it is no part of a statement that could be told."""


class Block(Order):
    """The code of a `with` block, and the calls of resumable functions in it.

    A call that was made is remembered with its result until the iteration around it ends.
    """

    run: Any
    depth = 0
    levels: Mapping[str, int] = {}

    def __init__(self, run: Any) -> None:
        super().__init__(run)
        self.calling = ""
        """The call in progress."""
        self.done: dict[str, dict[str, Any]] = {}
        """What the calls that were made have returned or raised."""
        self.states: dict[str, Any] = {}
        """What each `nbckpt.loop` in a function that the block calls was given to put back."""
        self.stretches: dict[str, dict[int, Any]] = {}
        """In each loop's iteration, and (`""`) outside of any: the random state, and the variables that are numbers
        and the like, before the first and after each of the things that were begun there."""
        self.given: dict[str, dict[str, Any]] = {}
        """What each call was given that the block has a variable for, by that variable's name."""
        self._binds: set[FunctionType] = set()

    # -- calls -----------------------------------------------------------------------------------------------

    def call(self, function: FunctionType, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call a resumable function, or go on in its middle."""
        if self.calling:  # by what the call in progress calls that nobody can enter again
            plain: Any = doors.plain(function)
            return plain(*given, **named)
        key, called, given, named = self._begin_call(function, given, named)
        if called is None:
            return self._remembered(key)
        self.calling = key
        try:
            value = called(*given, **named)
        except Exception as error:
            self._made(key, function, error=error)
            raise
        finally:
            self.calling = ""
        return self._made(key, function, value)

    async def call_async(self, function: FunctionType, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """The same for a function that is awaited."""
        if self.calling:
            plain: Any = doors.plain(function)
            return await plain(*given, **named)
        key, called, given, named = self._begin_call(function, given, named)
        if called is None:
            return self._remembered(key)
        self.calling = key
        try:
            value = await called(*given, **named)
        except Exception as error:
            self._made(key, function, error=error)
            raise
        finally:
            self.calling = ""
        return self._made(key, function, value)

    def _begin_call(
        self, function: FunctionType, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[str, Any, tuple[Any, ...], dict[str, Any]]:
        """What to call with what; nothing if it was called before the saved boundary."""
        key = self.begin()
        self.given[key] = _variables_among([*given, *named.values()])
        if self.way is not None and (self.way.where, self.way.key) == ("before", key):
            self.arrive()
        way = self.way
        if way is None:
            self._say_what_is_not_saved(function)
            source = source_of(function)
            called = enter(self, key, _SITE, function, awaited=source is not None and source.asynchronous)
            return key, called if called is not function else doors.plain(function), given, named
        name = _name(function)
        if (way.where, way.key) == ("call", key):
            self._expect(name, self._name_in_progress())
            self.run.restore.take_variables()
            return key, reenter(self, key, _SITE), (), {}
        self.expect_done(key, way, f"a call of {name}()")
        if key not in self.saved()["done"]:
            raise _another_way(f"a call of {name}()")
        self._expect(name, self.saved()["done"][key]["name"])
        return key, None, (), {}

    def _name_in_progress(self) -> str:
        description = self.run.restore.loaded.description
        name: str = description["functions"][description["calls"][0]["function"]].get("qualname", "")
        return name

    def _expect(self, name: str, saved: str) -> None:
        if name != saved and not self.run.trusting:
            raise _another_way(f"a call of {name}() where {saved}() was called")

    def _made(self, key: str, function: FunctionType, value: Any = None, error: Exception | None = None) -> Any:
        self.done[key] = {"name": _name(function), "value": value, "error": error}
        self._stretch(outside(key), _index(key) + 1)
        return value

    def _remembered(self, key: str) -> Any:
        done = self.done[key] = self.saved()["done"][key]
        self._stretch(outside(key), _index(key) + 1)
        if done["error"] is not None:
            raise done["error"]
        return done["value"]

    def _say_what_is_not_saved(self, function: FunctionType) -> None:
        """A global variable that a function binds belongs to `vars`."""
        if function in self._binds:
            return
        self._binds.add(function)
        with doors.shut():
            bound = names_of_definitions([function], self.run.namespace).binds - self.run.only
        if bound:
            self.run.status.notice(
                f"{_name(function)}() binds {', '.join(sorted(bound))}, which vars does not name, so it is not saved"
            )

    # -- what a snapshot has of it ---------------------------------------------------------------------------

    def captured(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "states": self.states,
            "stretches": self.stretches,
            "given": {key: self._digests_of(given) for key, given in self.given.items()},
        }

    def _digests_of(self, given: Mapping[str, Any]) -> dict[str, str]:
        """What those of them that are not saved are by now."""
        namespace = self.run.namespace
        saved = map(namespace.get, self.run.selection.chosen(namespace))
        held = {id(value) for value in [*self.run.attributes.values(), *saved]}
        found = {name: pickling.digest(value) for name, value in given.items() if id(value) not in held}
        return {name: digest for name, digest in found.items() if digest is not None}

    # -- loops in functions that are not resumable -----------------------------------------------------------

    def going_over(self, items: Iterable[Any], state: Any, caller: FrameType) -> Iterator[Any]:
        """The items of an `nbckpt.loop` in a function that the block calls: a loop of the block's, with a state."""
        key = self._next_key()
        self.states[key] = state
        found = self.loop(items, caller)
        if self.way is not None and key not in self.way.entered:
            self._put({key: self.saved()["states"][key]})  # it is done, and its function goes on with what it made
        return found

    def put_back_states(self) -> None:
        """Make the states of the loops what they were, in place."""
        self._put({key: saved for key, saved in self.saved()["states"].items() if key in self.states})

    def _put(self, states: Mapping[str, Any]) -> None:
        memo = Memo()
        for key, saved in states.items():
            put(self.states[key], saved, memo)
        if memo.pairs:
            replace(memo, self.run.restore.roots())
            self.run.namespace.update(self.run.restore.root["variables"])

    # -- the way back ----------------------------------------------------------------------------------------

    def arrive(self, loop: Loop | None = None) -> None:
        """Put the variables back."""
        self.run.restore.take_variables(loop)
        position, self.way = self.way, None
        assert position is not None  # noqa: S101
        self.arrived([(self, position)])

    def arrived(self, place: Place, _: Any = None) -> None:
        """Stand at the saved boundary."""
        with doors.shut():
            self.run.restore.arrive(place)

    def refuse_lost(self) -> None:
        """What calls were given and have changed must be saved, as they are not made again.

        Raises:
            RestoreError: something is not.
        """
        saved = self.saved()
        for key, digests in saved.get("given", {}).items():
            for name, digest in digests.items():
                if name in saved["variables"] or name not in self.given.get(key, ()):
                    continue
                if pickling.digest(self.given[key][name]) != digest and not self.run.trusting:
                    raise RestoreError(
                        f"{name} was given to a function that has changed it, and is not saved by itself, so the block "
                        "would go on without the change. Nothing was lost: name it in vars, or keep it on ckpt.state, "
                        "and start over with fresh=True, or go on with on_change='resume' if it does not matter"
                    )

    def turned(self, key: str) -> None:
        self._forget(f"{key}.loop." if key else "")
        self._stretch(key, 0)

    def ended(self, key: str) -> None:
        self._forget(f"{key}.loop.")
        self.stretches.pop(key, None)
        self._stretch(outside(key), _index(key) + 1)

    def _forget(self, inside: str) -> None:
        """Forget what belongs to an iteration that has ended."""
        for known in (self.done, self.states, self.given):
            for key in [key for key in known if key.startswith(inside)]:
                del known[key]
        for key in [key for key in self.stretches if key.startswith(inside)]:
            del self.stretches[key]

    def _stretch(self, within: str, index: int) -> None:
        """Stand before code that runs again on resume, and must find the same numbers and draw the same random ones."""
        namespace, attributes = self.run.namespace, self.run.attributes
        if self.way is None:
            chosen = {name: namespace[name] for name in self.run.only if name in namespace}
            self.stretches.setdefault(within, {})[index] = {
                "random": randomness.capture() if self.run.settings.rng else None,
                "variables": {name: value for name, value in chosen.items() if is_plain(value)},
                "attributes": {name: value for name, value in attributes.items() if is_plain(value)},
            }
        elif (known := self.saved()["stretches"].get(within, {}).get(index)) is not None:
            self.stretches.setdefault(within, {})[index] = known
            namespace.update(known["variables"])
            attributes.update(known["attributes"])
            if known["random"] is not None:
                randomness.restore(known["random"])


def _variables_among(values: Iterable[Any]) -> dict[str, Any]:
    """Those of some objects that can change, and that the code which is calling has variables for."""
    found = {id(value): value for value in values if not isinstance(value, (*FIXED, FunctionType, type))}
    if not found:
        return {}
    at: FrameType | None = sys._getframe(1)  # noqa: SLF001 - whose variables they are
    while at is not None and at.f_code.co_filename in _OURS:
        at = at.f_back
    return {} if at is None else {name: value for name, value in list(at.f_locals.items()) if id(value) in found}


_OURS = {__file__, doors.__file__}


def _name(function: Callable[..., Any]) -> str:
    return function.__qualname__


def _index(key: str) -> int:
    return int(key.rpartition(".")[2])


def _another_way(what: str) -> RestoreError:
    return RestoreError(
        f"the script took another way than before: it came to {what}. Nothing was lost: undo the edit, or start over "
        "with fresh=True"
    )
