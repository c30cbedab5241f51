"""One run of a checkpoint, in the order in which it happens: find, restore, run, snapshot, finish.

Cells (`cell.py`) and scripts (`front/script.py`) differ in how they know their position; all else is here.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import secrets
import socket
import sys
import time
import types
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointConflict, MissingVariableError, RestoreError, StoreError, UnpicklableError
from ..settings import OUTPUT_LIMIT, Settings
from ..state import definitions, namespace as names, pickling, randomness, surroundings
from ..state.omissions import Omissions
from ..storage.repository import Repository
from ..storage.snapshot import PartData
from .outputs import Recorder
from .position import Position
from .schedule import Schedule
from .status import Reporter, Status

if TYPE_CHECKING:
    from ..storage.repository import Loaded
    from .loops import Loop

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Run:
    """One attempt at a checkpoint, from its first statement or from a snapshot until it ends or dies.

    `namespace` is where its variables live, `selection` says which of them are its state, `remade` which a
    `with` statement makes again by itself.
    """

    kind = ""

    def __init__(
        self,
        name: str,
        settings: Settings,
        namespace: dict[str, Any],
        selection: names.Selection,
        reporter: Reporter,
        *,
        remade: frozenset[str] = frozenset(),
        shell: Any = None,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.settings, self.namespace, self.selection = name, settings, namespace, selection
        self.omissions = Omissions(remade)
        self.origin = dict(origin or {})
        """Where it runs: `notebook`, `cell`."""
        self.reporter = reporter
        self.status = Status(name, settings.store, str(settings.every))
        self.schedule = Schedule(settings.every)
        self.recorder = Recorder(OUTPUT_LIMIT, shell)
        self.loops: dict[str, Loop] = {}
        self.attributes: dict[str, Any] = {}
        """What a script keeps on `ckpt.state`."""
        self.metrics: dict[str, float] = {}
        self.result: Any = pickling.NOTHING
        self.saved: Loaded | None = None
        """The snapshot that this run goes on from, until its state is in place."""
        self.root: dict[str, Any] = {}
        """The graph of that snapshot, once it is built."""
        self.home = pickling.Home(namespace)
        self.who = {"host": socket.gethostname(), "pid": os.getpid(), "run": secrets.token_hex(8)}
        self.worked_before = 0.0
        self.fenced = False
        self.fresh: dict[str, tuple[Any, dict[tuple[str, ...], str | None]]] = {}
        """The notebook's definitions as they were before the run, with what their state was, as far as it was seen."""
        self.inputs: dict[str, str] = {}
        """Fingerprints of what the cell was given and only reads, as of its start."""
        self.referred: set[str] = set()
        """The definitions that the saved graph refers to."""
        self._differing: dict[str, str] = {}

    @property
    def trusting(self) -> bool:
        """Whether to go on although what is done cannot be shown to be the same."""
        return self.settings.on_change == "resume"

    # -- find ------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Find the newest snapshot that verifies, and make sure that new ones can be written.

        Raises:
            StoreError: the store cannot be read or written: better now than after hours of work.
            DamagedSnapshot, UntrustedSnapshot, UnsupportedFormat: there is something, and it cannot be used.
        """
        self.repository = Repository.open(self.settings.store)
        found = None if self.settings.fresh else self.repository.load(self.name)
        if found is not None:
            for damage in found.damaged:
                self.status.notice(damage)
            self._check_python(found.description)
        self.saved = self._found = found

    def _check_python(self, description: Mapping[str, Any]) -> None:
        if description.get("python", PYTHON) != PYTHON:
            raise RestoreError(
                f"checkpoint {self.name!r} was saved by Python {description['python']} and this is Python {PYTHON}, "
                "which may not build the same objects. Nothing was touched: run it with that Python, or start over "
                "with --fresh"
            )

    def start(self) -> None:
        """Make sure that saving will work; start to listen and to watch the clock."""
        if self.saved is not None:
            self.worked_before = float(self.saved.description.get("worked", 0.0))
        self.started_at = time.monotonic()
        self.surroundings = surroundings.capture()
        self.writer = self.repository.writer(
            self.name, keep=self.settings.keep, writer_info=self.who, based_on=self._found
        )
        self._found = None
        self.selection.start(self.namespace)
        self.recorder.start()
        if self.saved is None:
            self.tell("started")
        else:
            # shown before the old output, where an uninterrupted run shows it
            self.status.progress = self.status.saved_progress = str(self.saved.description.get("progress", ""))
            self.tell("progress")
            if self.settings.replay and "output" in self.saved.parts:
                self.recorder.replay(self.saved.parts["output"].stream)
        self._write_status()
        self.schedule.start()

    def check_inputs(self, inputs: frozenset[str], needed: frozenset[str]) -> None:
        """Find out before any compute whether what the cell is given, and is `needed` later, can be saved.

        Raises:
            UnpicklableError: a variable cannot, with the path to the culprit.
        """
        contents = names.sort_names(self.selection.chosen(self.namespace) & inputs, self.namespace)
        while True:
            try:
                found = pickling.probe(self.omissions.keep(contents.data, needed))
            except UnpicklableError as error:
                self._leave_out(contents.data, needed, error)
            else:
                self._note_fresh(contents.definitions | found)
                self.inputs = {
                    name: known
                    for name, value in contents.data.items()
                    if name not in self.selection.binds and (known := pickling.stable_digest(value)) is not None
                }
                return

    def compare_inputs(self) -> None:
        """Say which of the cell's inputs are not what they were when it was begun: what was saved wins."""
        saved = self._saved().description
        self.inputs = dict(saved.get("inputs", {}))
        for name, known in self.inputs.items():
            if name in self.namespace and (now := pickling.stable_digest(self.namespace[name])) != known:
                self._differing[name] = repr(self.namespace[name]) if now else ""

    def _note_fresh(self, found: Mapping[str, Any]) -> None:
        """Remember the state of definitions that this run has not touched yet."""
        for name, definition in found.items():
            if name not in self.fresh:
                self.fresh[name] = definition, definitions.digests(definition)

    # -- restore ---------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Build the saved objects and bind them, all or nothing.

        Raises:
            RestoreError: they cannot be built here.
        """
        saved = self._saved()
        modules = saved.description["modules"]
        root = pickling.build(saved.parts["state"], saved.parts["definitions"], self.home)
        found = {alias: _import(module) for alias, module in modules.items() if alias not in self.namespace}
        for name in self.selection.exclude:
            root["variables"].pop(name, None)
        self.root = root
        for name, live in self._differing.items():
            values = f": {short(repr(root['variables'].get(name)))} is used, not {short(live)}" if live else ""
            self.status.notice(
                f"{name} is not what it was when the cell was begun, so the saved value is used{values}; "
                "--fresh starts over with it as it is"
            )
        self._differing = {}
        self.home.namespace.update(self.home.made)
        self.namespace.update(found | root["variables"])
        self._put_attributes()
        self.metrics = dict(saved.description.get("metrics", {}))

    def _put_attributes(self) -> None:
        self.attributes.clear()
        self.attributes.update(self.root["attributes"])

    def arrive(
        self, position: Position, rebound: frozenset[str] = frozenset(), edited: frozenset[str] = frozenset()
    ) -> None:
        """Stand at the saved boundary: every variable is what it was there, and so is the random state.

        On the way here loop variables and contexts were bound again; what was saved wins, except for the
        definitions in `rebound`, which ran again, and of these the `edited` ones are as they are now.

        Raises:
            MissingVariableError: something that could not be saved is needed, and nothing made it again.
        """
        saved = self._saved()
        description = saved.description
        self.namespace.update({k: v for k, v in self.root["variables"].items() if k not in rebound})
        self._put_attributes()
        live = {name: self.home.definition(name) for name in self.home.saved}
        self._note_fresh({name: thing for name, thing in live.items() if name not in self.home.made})
        for name, state in self.root["definitions"].items():
            if name in live and name not in edited:
                definitions.put_state(live[name], state)
        for name in description["deleted"]:
            self.namespace.pop(name, None)
        needed = self.needed(position)
        lacking = {
            name: why["why"]
            for name, why in description["left_out"].items()
            if name in needed and name not in self.namespace
        }
        if lacking:
            listed = ", ".join(f"{name} ({why})" for name, why in lacking.items())
            raise MissingVariableError(
                f"the rest of the cell needs {listed}, which could not be saved. Nothing was lost: make it again in "
                "a cell before this one, or open it in a `with` block around the loop, and run the cell again",
                tuple(lacking),
            )
        if self.settings.rng and self.root["random"] is not None:
            randomness.restore(self.root["random"])
        if unmade := surroundings.put_back(self.root["surroundings"]):
            self.status.notice(unmade)
        self.result = self.root["result"]
        self.status.kept = self.status.worked = self.worked_before
        self.status.resumed_age = max(0.0, time.time() - float(description.get("saved_at", time.time())))
        self.status.saved_at = description.get("saved_at")
        self.status.resumed_at = self.status.saved_progress = str(description.get("progress", ""))
        self.saved, self.root = None, {}
        self.started_at = time.monotonic()
        self._tell_of_left_out({name: why["why"] for name, why in description["left_out"].items()})
        if position.where == "end":
            self.status.state = "restored"
            self.tell("restored")
        else:
            self.tell("resumed")

    def _saved(self) -> Loaded:
        assert self.saved is not None  # noqa: S101 - only a run that goes on from a snapshot restores
        return self.saved

    def needed(self, position: Position) -> frozenset[str]:
        """The names that the code from a position on may read."""
        raise NotImplementedError

    # -- snapshot --------------------------------------------------------------------------------------------

    def position(self) -> Position:
        """Where the run is."""
        raise NotImplementedError

    def progress(self, position: Position) -> str:
        """Say where that is."""
        raise NotImplementedError

    def plan_json(self) -> dict[str, Any]:
        """What of the code a later run has to know."""
        raise NotImplementedError

    def boundary(self, position: Position, *, turn: bool) -> None:
        """Stand at a boundary that somebody asked for: save if it is time, and show the progress."""
        self.status.progress = self.progress(position)
        if self.schedule.wants_snapshot(turn=turn) and not self.fenced:
            self.save(position)
        else:
            self.tell("progress")

    def save(self, position: Position, *, finished: bool = False) -> bool:
        """Commit a snapshot of this moment; return whether that worked. A failure never stops the run."""
        began = time.perf_counter()
        protected = not self.status.unprotected
        try:
            parts, description = self._capture(position, finished=finished)
            committed = self.writer.commit(description, parts, final=finished)
        except CheckpointConflict as error:
            self.fenced = True
            self.status.unprotect(str(error))
        except Exception as error:  # noqa: BLE001 - saving must never kill the computation; it is shown in red
            self.status.unprotect(f"{error}" if str(error) else type(error).__name__)
        else:
            self.status.protect()
            self.status.saved_at, self.status.saved_progress = time.time(), description["progress"]
            self.status.snapshots += 1
            self.status.size = committed.total_bytes
            self.schedule.saved(time.perf_counter() - began)
            self.tell("saved")
            return True
        self.schedule.saved(time.perf_counter() - began)
        self.tell("unprotected" if protected else "progress")
        return False

    def _capture(self, position: Position, *, finished: bool) -> tuple[list[PartData], dict[str, Any]]:
        pickled, contents = self._pickle(position)
        code, uncopied = pickling.pickle_definitions(contents.definitions | pickled.definitions)
        for name in sorted(uncopied.keys() - self.selection.binds):
            self.status.notice(
                f"{name} cannot be saved ({uncopied[name]}): to resume, run the cell that defines it first"
            )
        variables = [{"name": name, "type": _type_name(value)} for name, value in contents.data.items()]
        shown = self.recorder.to_json(with_result=self.result is pickling.NOTHING)
        parts = [
            PartData("state", pickled.stream, pickled.buffers, {"variables": variables}),
            PartData("definitions", pickle.dumps(code), [], {"names": sorted(code)}),
            PartData("output", shown, [], {}),
        ]
        description = {
            "kind": self.kind,
            "position": position.to_json(),
            "progress": self.progress(position),
            "finished": finished,
            **self.plan_json(),
            "python": PYTHON,
            "packages": _packages(contents.data.values()),
            "modules": contents.modules,
            "deleted": sorted(set(contents.missing) & self.selection.binds),
            "left_out": self._left_out(position),
            "inputs": self.inputs,
            "worked": self.worked(),
            "saved_at": time.time(),
            "run": self.who["run"],
            "every": str(self.settings.every),
            "metrics": self.metrics,
            **self.origin,
        }
        return parts, description

    def _pickle(self, position: Position) -> tuple[pickling.Pickled, names.Contents]:
        """Pickle the state as one graph; what it is found to need joins it."""
        needed = self.needed(position)
        while True:
            contents = names.sort_names(self.selection.chosen(self.namespace), self.namespace)
            data = self.omissions.keep(contents.data, needed)
            root = {
                "variables": data,
                "loops": {
                    key: self.loops[key].saved(at_top=position.where == "top" and key == position.key)
                    for key in position.turns
                },
                "definitions": self._changed_definitions(self.referred | contents.definitions.keys()),
                "attributes": self.attributes,
                "result": self.result,
                "surroundings": surroundings.changes(self.surroundings),
                "random": randomness.capture() if self.settings.rng else None,
            }
            try:
                pickled = pickling.dump(root)
            except UnpicklableError as error:
                self._leave_out(contents.data, needed, error)
                continue
            known = self.referred >= pickled.definitions.keys()
            self.referred |= pickled.definitions.keys()
            used = names.names_of_definitions(pickled.definitions.values(), self.namespace)
            if not self.selection.grow(used) and known:
                contents = names.Contents(data, contents.modules, contents.definitions, contents.missing)
                return pickled, contents

    def _left_out(self, position: Position) -> dict[str, dict[str, str]]:
        """What this snapshot is without: what cannot be saved, and what the user does not want in it."""
        known = {name: omission.why for name, omission in self.omissions.known.items()}
        unwanted = (self.needed(position) & self.selection.names) - self.selection.chosen(self.namespace)
        for name in names.sort_names(unwanted, self.namespace).data:
            known[name] = "left out by --exclude" if name in self.selection.exclude else "not named by --vars"
        return {name: {"why": why} for name, why in known.items()}

    def _changed_definitions(self, found: set[str]) -> dict[str, definitions.State]:
        """What the run has changed in definitions; one that was made again by now is new all over."""
        states = {}
        for name in sorted(found):
            thing = self.home.namespace.get(name)
            if isinstance(thing, (types.FunctionType, type)):
                before, fresh = self.fresh.get(name, (None, {}))
                if state := definitions.changed_state(thing, fresh if before is thing else {}):
                    states[name] = state
        return states

    def _leave_out(self, data: Mapping[str, Any], needed: frozenset[str], error: UnpicklableError) -> None:
        """Leave out what may be left out of a state that cannot be pickled."""
        drawn_again = [loop.item for loop in self.loops.values() if loop.cursor and loop.cursor.kind == "replay"]
        for notice in self.omissions.find(data, needed, drawn_again, error):
            self.status.notice(notice)

    # -- finish ----------------------------------------------------------------------------------------------

    def worked(self) -> float:
        """Seconds of work in this run and those that it goes on from."""
        return self.worked_before + time.monotonic() - self.started_at

    def finish(self, position: Position) -> None:
        """Save the result, unless it was there already."""
        if self.status.state == "restored":
            self._write_status()
            return
        self.status.worked = self.worked()
        self.schedule.stop()
        if pickling.digest(self.result) is None:
            self.result = pickling.NOTHING  # what was shown of it is part of the recorded output
        if not self.fenced and self.save(position, finished=True):
            self.status.state = "finished"
            if left_out := self.omissions.known:
                listed = ", ".join(f"{name} ({omission.why})" for name, omission in left_out.items())
                self.status.notice(f"the saved result is without what cannot be saved: {listed}")
            self.tell("finished")
        else:
            self.status.state = "finished"
            self.tell("unprotected")
        self._write_status()

    def _tell_of_left_out(self, left_out: Mapping[str, str]) -> None:
        if left_out:
            listed = ", ".join(f"{name} ({why})" for name, why in left_out.items())
            self.status.notice(f"not in the snapshot, and as this kernel has it or missing: {listed}")

    def stop(self) -> None:
        """The run ended early, by an error or an interrupt: the last snapshot stands."""
        self.status.worked = self.worked()
        self.status.state = "stopped"
        self.tell("stopped")
        self._write_status()

    def _write_status(self) -> None:
        with contextlib.suppress(StoreError):  # for people only: it says nothing that a snapshot does not
            self.repository.write_status(self.name, {**self.who, "state": self.status.state})

    def close(self) -> None:
        """Let go of everything."""
        self.schedule.stop()
        self.recorder.stop()
        self.writer.close()

    def tell(self, event: str) -> None:
        """Show the status; what it shows is not part of the cell's output."""
        with self.recorder.paused():
            self.reporter.show(self.status, event=event)


def short(text: str, width: int = 40) -> str:
    """A value's text, cut where it gets long."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise RestoreError(
            f"the snapshot needs the package {error.name!r}, which is not installed here. Nothing was touched: "
            "install it and run the cell again"
        ) from error


def _type_name(value: Any) -> str:
    kind = type(value)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def _packages(values: Any) -> dict[str, str]:
    """The versions of the packages that the saved variables' classes come from."""
    found = {}
    for package in sorted({type(value).__module__.partition(".")[0] for value in values}):
        if package not in sys.stdlib_module_names and package != "__main__":
            version = getattr(sys.modules.get(package), "__version__", None)
            found[package] = str(version or _installed_version(package))
    return found


def _installed_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
