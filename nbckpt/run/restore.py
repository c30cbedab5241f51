"""The way back to a snapshot: build what it holds, bind it, and stand at the saved boundary."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import MissingVariableError, NbckptError, UnknownCheckpoint
from ..state import adapters, definitions, memory, parts, pickling, randomness, surroundings
from ..state.adapters import csv_writers
from ..state.home import DEFINITIONS, Home, find
from .status import Status, listed, short

if TYPE_CHECKING:
    from ..settings import Settings
    from ..state.namespace import Selection
    from ..storage.repository import Loaded, Repository
    from .capture import Capture
    from .loops import Loop
    from .outputs import Recorder
    from .place import Place


class Restored(Protocol):
    """The run, as far as it matters here."""

    name: str
    repository: Repository
    settings: Settings
    status: Status
    namespace: dict[str, Any]
    selection: Selection
    recorder: Recorder
    capture: Capture
    home: Home
    attributes: dict[str, Any]
    metrics: dict[str, float]
    result: Any
    started_at: float
    worked_before: float

    def needed(self, place: Place) -> frozenset[str]:
        """The names that the code from a place on may read."""

    def tell(self, event: str) -> None:
        """Show the status."""


class Restore:
    """Brings a run to where the snapshot `saved` was taken, which stands here until its state is in place."""

    def __init__(self, run: Restored) -> None:
        self._run = run
        self.saved: Loaded | None = None
        self.refusal: NbckptError | None = None
        """Why the run cannot go on from it, if that turned up on the way back into the code."""
        self.root: parts.Root = {}
        """What the snapshot holds, once it is built."""
        self.digests_before: dict[str, str | None] = {}
        self.held_before: dict[tuple[str, ...], Any] = {}
        """What the variables were when a statement was run again for the loop in a function that it calls."""
        self.redefined: frozenset[str] = frozenset()
        """Definitions that the runs before had made themselves."""
        self.differing: dict[str, str] = {}
        """Inputs that are not what they were when the cell was begun, with what they are now."""

    @property
    def loaded(self) -> Loaded:
        """The snapshot, where there is one."""
        assert self.saved is not None  # noqa: S101 - only a run that goes on from a snapshot restores
        return self.saved

    def read(self, seq: int | None) -> Loaded | None:
        """Read a snapshot, the newest or number `seq`, into the memory of what is to be built of it."""
        return self._run.repository.load(self._run.name, seq=seq, allocate=memory.allocate)

    def build(self, made: Collection[str] = ()) -> None:
        """Build the saved objects and bind them, all or nothing, but for names that today's code has `made`.

        Raises:
            RestoreError: they cannot be built here.
        """
        run = self._run
        saved = self.loaded
        modules = saved.description["modules"]
        adapters.take_for_arrival()  # of what somebody looked at before
        kept = {name: run.namespace[name] for name in run.namespace.keys() & set(made)}
        with run.recorder.swallowed():
            root = parts.build(saved.parts, saved.parts["definitions"], run.home, modules)
            found = {alias: find(module) for alias, module in modules.items() if alias not in run.namespace}
        for notice in adapters.take_said():
            run.status.notice(notice)
        if run.settings.rng and root["moment"]["random"] is not None:
            randomness.check(root["moment"]["random"])
        for name in run.selection.exclude:
            root["variables"].pop(name, None)
        self.root = root
        run.selection.joined |= root["variables"].keys() - run.selection.names
        for name, live in self.differing.items():
            values = f": {short(repr(root['variables'].get(name)))} is used, not {short(live)}" if live else ""
            run.status.notice(
                f"{name} is not what it was when the cell was begun, so the saved value is used{values}; "
                "--fresh starts over with it as it is"
            )
        self.differing = {}
        run.namespace.update(found | root["variables"] | kept)
        self.put_attributes()
        run.metrics = dict(saved.description.get("metrics", {}))

    def saved_names(self) -> frozenset[str]:
        """The variables that the snapshot holds."""
        saved = self.loaded.parts.values()
        return frozenset(row["name"] for part in saved for row in part.info.get("variables", ()))

    def build_again(self, entered: Mapping[str, Loop], made: Collection[str] = ()) -> None:
        """Build the saved objects anew; the loops entered so far, by their saved names, go on over the new ones.

        What was read is the memory of the objects that were built first, so it is read once more.

        Raises:
            UnknownCheckpoint: it is not in the store any more.
        """
        if any(part.buffers for part in self.loaded.manifest.parts):
            again = self.read(self.loaded.seq)
            if again is None or again.manifest.write_id != self.loaded.manifest.write_id:
                raise UnknownCheckpoint(
                    f"snapshot {self.loaded.seq} of checkpoint {self._run.name!r} was removed while a run went on from "
                    "it. Nothing else was lost: run it again to begin anew"
                )
            self.saved = again
        self.build(made)
        for key, loop in entered.items():
            record = self.root["loops"].get(key)
            if record and loop.cursor and loop.cursor.kind == record["kind"] == "iterator":
                loop.cursor.iterator, loop.item = record["iterator"], record["item"]

    def variable_digests(self) -> dict[str, str | None]:
        """Digests of what was built, to tell later what was changed since."""
        values = {**self.root["variables"], **self.root["attributes"], **self.root["locals"]}
        return {name: pickling.digest(value) for name, value in values.items()}

    def watch(self) -> None:
        """From here on code runs again that had run already: note what it may change, and show nothing twice."""
        run = self._run
        self.digests_before = self.variable_digests()
        self.held_before = randomness.capture_held(run.namespace)
        run.recorder.swallowing = run.settings.replay

    def put_attributes(self) -> None:
        """What a script keeps on `ckpt.state` is what was saved."""
        run = self._run
        run.attributes.clear()
        run.attributes.update(self.root["attributes"])

    def arrive(
        self,
        place: Place,
        rebound: frozenset[str] = frozenset(),
        made: frozenset[str] = frozenset(),
    ) -> None:
        """Stand at the saved boundary: every variable is what it was there, and so is the random state.

        On the way here loop variables and contexts were bound again; what was saved wins, except for the
        definitions in `rebound`, which ran again, and for what was `made` on the way by imports and definitions that
        were edited or had not been come to: that is as it is now. What else was not bound there is not bound now.

        Raises:
            MissingVariableError: something that could not be saved is needed, and nothing made it again.
        """
        run = self._run
        saved = self.loaded
        description = saved.description
        run.namespace.update({k: v for k, v in self.root["variables"].items() if k not in rebound | made})
        self.put_attributes()
        changed, unchanged = self.root["definitions"], self.root.get("unchanged", {})
        # those whose code could not be copied have state all the same, and are here if their own cells were run
        found = (changed.keys() | unchanged.keys()) - run.home.outdated
        uncopied = {name for name in found if isinstance(run.namespace.get(name), DEFINITIONS)}
        live = {name: run.home.definition(name) for name in run.home.saved.keys() | uncopied}
        self.redefined = frozenset(description.get("redefined", ()))
        run.selection.before |= {name: id(run.home.made[name]) for name in run.home.made.keys() & live.keys()}
        run.capture.note_fresh({name: thing for name, thing in live.items() if name not in run.home.made})
        for name in live.keys() - made:
            saved_ways = {*changed.get(name, ()), *unchanged.get(name, ())}
            definitions.drop_added(live[name], saved_ways)
        for name, state in changed.items():
            if name in live and name not in made:
                definitions.put_state(live[name], state)
        for name, state in unchanged.items():
            if name in live and name not in made:
                put = definitions.put_state if name in run.home.made else definitions.put_unchanged
                put(live[name], state)
        for name in set(description["deleted"]) - made:
            run.namespace.pop(name, None)
        csv_writers.bind(run.namespace)
        needed = run.needed(place)
        at_hand = run.namespace.keys() | place[-1][0].variables(place).keys()
        lacking = {name: why for name, why in description["left_out"].items() if name in needed and name not in at_hand}
        if lacking:
            raise MissingVariableError(
                f"the rest of the cell needs {listed(lacking)}, which could not be saved. Nothing was lost: make it "
                "again in a cell before this one, or open it in a `with` block around the loop, and run the cell again",
                tuple(lacking),
            )
        for act in adapters.take_for_arrival():
            act()
        for notice in adapters.take_said():
            run.status.notice(notice)
        moment = self.root["moment"]
        if run.settings.rng and moment["random"] is not None:
            for notice in randomness.restore(moment["random"]):
                run.status.notice(notice)
        if unmade := surroundings.put_back(moment["surroundings"]):
            run.status.notice(unmade)
        run.result = moment["result"]
        run.status.kept = run.status.worked = run.worked_before
        run.status.resumed_age = max(0.0, time.time() - float(description.get("saved_at", time.time())))
        run.status.saved_at = description.get("saved_at")
        run.status.resumed_at = run.status.saved_progress = str(description.get("progress", ""))
        self.saved, self.root = None, {}
        run.started_at = time.monotonic()
        if left_out := description["left_out"]:
            run.status.notice(f"not in the snapshot, and as this kernel has it or missing: {listed(left_out)}")
        if place[-1][1].where == "end":
            run.status.state = "restored"
            run.tell("restored")
        else:
            run.recorder.replay_rest()
            run.tell("resumed")
