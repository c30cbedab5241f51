"""What a snapshot is made of: a run's variables, what they need and what shares objects with them."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ..errors import UnpicklableError
from ..state import adapters, definitions, fingerprints, memory, namespace as names, parts, pickling
from ..state.adapters import csv_writers
from ..state.culprit import culprit, path_to
from ..state.home import DEFINITIONS, Home
from ..state.omissions import Omission, Omissions

if TYPE_CHECKING:
    from ..storage.snapshot import PartData

_SETTLES_WITHIN = 10
"""How often a state is pickled anew at most, as its pickling shows what shares memory."""


@dataclass(frozen=True, slots=True)
class Captured:
    """The state at one boundary, as bytes. `code` has the notebook's definitions that it refers to."""

    parts: list[parts.Part]
    contents: names.Contents
    code: dict[str, bytes]


class Capture:
    """Knows what belongs to a run's state, which grows as the run is found to use more.

    `remade` names what a `with` statement makes again by itself; `tell` takes what a person should know.
    """

    def __init__(
        self, home: Home, selection: names.Selection, remade: frozenset[str], tell: Callable[[str], None]
    ) -> None:
        self.home, self.selection, self.tell = home, selection, tell
        self.omissions = Omissions(remade)
        self.inputs: dict[str, str] = {}
        """Fingerprints of what the cell was given and only reads, as of its start."""
        self.code: dict[str, str] = {}
        """The same of the functions and classes of earlier cells that it uses."""
        self._fresh: dict[str, tuple[Any, dict[tuple[str, ...], str | None]]] = {}
        """The notebook's definitions as they were before the run, with what their state was, as far as it was seen."""
        self._referred: set[str] = set()
        """The definitions that the state refers to."""
        self._sharing = parts.Sharing()
        self._outsiders = parts.Outsiders()
        self._outside_definitions = parts.Outsiders(definitions.state_of)
        self._remarked: list[Any] = []
        self._apart: dict[str, int] = {}
        """Other names that share objects with what is saved but cannot be saved, with what they were bound to."""

    def check_inputs(self, namespace: Mapping[str, Any], inputs: frozenset[str], needed: frozenset[str]) -> None:
        """Find out before any compute whether what the cell is given, and is `needed` later, can be saved.

        Raises:
            UnpicklableError: a variable cannot, with the path to the culprit.
        """
        contents = names.sort_names(self.selection.chosen(namespace) & inputs, namespace)
        while True:
            try:
                met = pickling.probe(self.omissions.keep(contents.data, needed))
            except UnpicklableError as error:
                self._leave_out(contents.data, needed, (), error)
            else:
                break
        found = contents.definitions | met.definitions
        called = names.names_of_definitions(found.values(), namespace).reads
        found |= names.sort_names(called & namespace.keys(), namespace).definitions
        self.note_fresh(found)
        self.code = self._code_of(found, namespace)
        while joined := self._join(namespace, met.identities()):
            met = pickling.probe({name: namespace[name] for name in joined})
            self.note_fresh(met.definitions)
        self._pass_on_remarks(contents.data)
        self.inputs = {
            name: known
            for name, value in contents.data.items()
            if name not in self.selection.binds and (known := fingerprints.stable_digest(value)) is not None
        }

    def compare_inputs(self, namespace: Mapping[str, Any], saved: Mapping[str, str]) -> dict[str, str]:
        """Find the inputs that are not what they were when the cell was begun; return what they are now."""
        self.inputs = dict(saved)
        differing = {}
        for name, known in saved.items():
            if names.is_ipythons(name):
                continue  # other cells were run before this one, as may be
            if name in namespace and (now := fingerprints.stable_digest(namespace[name])) != known:
                differing[name] = repr(namespace[name]) if now else ""
        return differing

    def compare_code(self, namespace: Mapping[str, Any], saved: Mapping[str, str]) -> set[str]:
        """Find the functions and classes of earlier cells that are defined otherwise than when the cell was begun."""
        now = self._code_of(saved, namespace)
        self.code = {**saved, **now}
        return {name for name in now if now[name] != saved[name]}

    def _code_of(self, found: Iterable[str], namespace: Mapping[str, Any]) -> dict[str, str]:
        live = {name: namespace.get(name) for name in sorted(set(found) - self.selection.binds)}
        return {
            name: digest
            for name, thing in live.items()
            if isinstance(thing, DEFINITIONS) and (digest := definitions.code_digest(thing)) is not None
        }

    def follow(self, earlier: Capture) -> None:
        """Take what was given, and what definitions were like, from an attempt that failed."""
        self.inputs, self.code, self._fresh = earlier.inputs, earlier.code, earlier._fresh

    def note_fresh(self, found: Mapping[str, Any]) -> None:
        """Remember the state of definitions that this run has not touched yet."""
        for name, definition in found.items():
            if name not in self._fresh:
                self._fresh[name] = definition, definitions.fresh_digests(definition)
                self._tell_of_caches(name, definitions.split_state(definition, {})[-1])

    def prepare(self, namespace: Mapping[str, Any], held: Mapping[str, Any]) -> None:
        """Do before a state is taken what only the process can that runs the cell.

        Raises:
            OSError: what was written to a file cannot be sent on its way.
        """
        self._flush([*namespace.values(), *held.values()])
        self._tell_of_tasks(namespace)

    def take(
        self,
        namespace: dict[str, Any],
        held: Mapping[str, Any],
        needed: frozenset[str],
        drawn_again: Iterable[Any],
        rest: Mapping[str, Any],
    ) -> Captured:
        """Pickle the state and the `rest`; what they are found to need or to share objects with joins them.

        `held` are the variables of functions in progress, by names like `train().x`.

        Raises:
            UnpicklableError: something that is `needed` cannot be saved.
        """
        csv_writers.know({name: namespace[name] for name in self.omissions.remade if name in namespace})
        again = 0
        while True:
            contents = names.sort_names(self.selection.chosen(namespace), namespace)
            found = contents.data | dict(held)
            kept = self.omissions.keep(found, needed)
            data = {name: value for name, value in kept.items() if name in contents.data}
            local = {name: value for name, value in kept.items() if name not in contents.data}
            changed, unchanged = self._state_of_definitions(self._referred | contents.definitions.keys())
            try:
                root = {"variables": data, "locals": local, "definitions": changed, "unchanged": unchanged, **rest}
                dumped = self._sharing.dump(root)
            except UnpicklableError as error:
                self._leave_out(found, needed, drawn_again, error)
                continue
            known = self._referred >= dumped.definitions.keys()
            self._referred |= dumped.definitions.keys()
            used = names.names_of_definitions(dumped.definitions.values(), namespace)
            if self.selection.grow(used) or not known or self._join(namespace, dumped.met):
                continue
            again += 1
            if not adapters.take_unsettled() or again > _SETTLES_WITHIN:
                break
        self._pass_on_remarks(kept)
        code, uncopied = pickling.pickle_definitions(contents.definitions | dumped.definitions)
        for name in sorted(uncopied.keys() - self.selection.binds):
            self.tell(f"{name} cannot be saved ({uncopied[name]}): to resume, run the cell that defines it first")
        saved = names.Contents(data, contents.modules, contents.definitions, contents.missing)
        return Captured(dumped.parts, saved, code)

    def learned(self) -> dict[str, Any]:
        """What the pickling of states has shown, for `learn`: plain values."""
        return {
            "names": self.selection.names,
            "binds": self.selection.binds,
            "joined": self.selection.joined,
            "referred": self._referred,
            "apart": self._apart,
            "sharing": self._sharing.learned(),
            "omitted": {name: (omission.why, omission.live) for name, omission in self.omissions.known.items()},
        }

    def learn(self, found: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
        """Know what a forked copy of this process has found out when it took the state.

        `kinds` are the types that the variables had then.
        """
        selection = self.selection  # new sets, as this may be heard in a thread beside one that goes over the old
        selection.names = selection.names | found["names"]
        selection.binds = selection.binds | found["binds"]
        selection.joined = selection.joined | found["joined"]
        self._referred = self._referred | found["referred"]
        self._apart = self._apart | found["apart"]
        self._sharing.learn(found["sharing"])
        self.omissions.known = {name: Omission(kinds[name], *why) for name, why in found["omitted"].items()}

    @staticmethod
    def _flush(values: Iterable[Any]) -> None:
        """Have what finished iterations wrote on its way: a file's buffer dies with the kernel.

        Raises:
            OSError: it cannot be written.
        """
        for value in values:
            if isinstance(value, _BUFFERED) and not value.closed and value.writable():
                value.flush()

    def _tell_of_tasks(self, namespace: Mapping[str, Any]) -> None:
        """Say which of the notebook's coroutines run by themselves, whether a variable holds their tasks or not."""
        asyncio = sys.modules.get("asyncio")
        if asyncio is None or (here := asyncio._get_running_loop()) is None:  # noqa: SLF001
            return
        for task in asyncio.all_tasks(here) - {asyncio.current_task(here)}:
            frame = getattr(task.get_coro(), "cr_frame", None)
            if frame is not None and frame.f_globals is namespace and not frame.f_code.co_name.startswith("<"):
                self.tell(
                    f"{frame.f_code.co_name}() goes on beside the cell as a task, which no snapshot holds: a resumed "
                    "run is without it, unless the rest of the cell begins it"
                )

    def _join(self, namespace: Mapping[str, Any], met: set[int]) -> set[str]:
        """Take in the other names that share objects with what is saved; return which were found now."""
        others = names.sort_names(self.selection.others(namespace), namespace)
        found = self._outsiders.sharing(others.data, met)
        for name in sorted(found):
            value = namespace[name]
            if self._apart.get(name) == id(value):
                found.discard(name)
                continue
            if (unsavable := culprit(value, name)) is not None:
                path, why = unsavable
                self.tell(
                    f"{name} shares objects with what is saved, but cannot be saved with it ({path}: {why}): after a "
                    "resume it has objects of its own"
                )
                self._apart[name] = id(value)
                found.discard(name)
        code = self._outside_definitions.sharing(others.definitions, met)
        self._referred |= code
        self.selection.joined |= found | code
        return found | code

    def left_out(self, namespace: Mapping[str, Any], needed: frozenset[str]) -> dict[str, str]:
        """What the snapshot is without, and why: what cannot be saved, and what the user does not want in it."""
        known = {name: omission.why for name, omission in self.omissions.known.items()}
        unwanted = (needed & self.selection.names) - self.selection.chosen(namespace)
        users = {name for name in unwanted if not names.is_ipythons(name)}
        for name in names.sort_names(users, namespace).data:
            known[name] = "left out by --exclude" if name in self.selection.exclude else "not named by --vars"
        return known

    def _state_of_definitions(
        self, found: set[str]
    ) -> tuple[dict[str, definitions.State], dict[str, definitions.State]]:
        """What the run has changed in definitions, and what not; one that was made again by now is new all over."""
        states: tuple[dict[str, definitions.State], dict[str, definitions.State]] = {}, {}
        for name in sorted(found):
            thing = self.home.namespace.get(name)
            if isinstance(thing, DEFINITIONS):
                before, fresh = self._fresh.get(name, (None, {}))
                *split, lost = definitions.split_state(thing, fresh if before is thing else {})
                self._tell_of_caches(name, lost)
                for part, state in zip(states, split, strict=True):
                    if state:
                        part[name] = state
        return states

    def _tell_of_caches(self, name: str, lost: Iterable[tuple[str, ...]]) -> None:
        if notice := definitions.lost_caches(name, lost):
            self.tell(notice)

    def _pass_on_remarks(self, data: Mapping[str, Any]) -> None:
        """What the objects that were saved gave cause to say, once of each."""
        for thing, text in adapters.take_remarks():
            if all(known is not thing for known in self._remarked):
                self._remarked.append(thing)
                self.tell(f"{path_to(thing, data)} {text}")

    def _leave_out(
        self, data: Mapping[str, Any], needed: frozenset[str], drawn_again: Iterable[Any], error: UnpicklableError
    ) -> None:
        for notice in self.omissions.find(data, needed, drawn_again, error, self.selection.binds):
            self.tell(notice)


_BUFFERED = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
"""Files whose own buffer holds what was written last."""


def type_name(value: Any) -> str:
    """A variable's type as a person knows it: `int`, `numpy.ndarray`."""
    kind = type(value)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def packages_of(values: Iterable[Any]) -> dict[str, str]:
    """The versions of the packages that the variables' classes come from."""
    found = {}
    for package in sorted({str(type(value).__module__).partition(".")[0] for value in values}):
        if package not in sys.stdlib_module_names and package != "__main__":
            version = getattr(sys.modules.get(package), "__version__", None)
            found[package] = str(version or _installed_version(package))
    return found


def _installed_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def info_of(part: parts.Part, types: Mapping[str, str]) -> dict[str, Any]:
    """The variables in a part, for people, the names of those of functions in progress, and whose its buffers are."""
    rows = [{"name": name, "type": types[name]} for kind, name in part.keys if kind == "variables"]
    held = [{"name": name} for kind, name in part.keys if kind == "locals"]
    return {"variables": rows, **({"locals": held} if held else {}), **memory.owners(part.buffers)}


def names_in(data: Sequence[PartData], kind: str = "variables") -> list[str]:
    """The variables that are saved."""
    return [variable["name"] for part in data for variable in part.info.get(kind, ())]
