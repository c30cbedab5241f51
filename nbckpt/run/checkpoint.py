"""One run of a checkpoint, in the order in which it happens: find, restore, run, snapshot, finish.

Cells (`cell.py`) and scripts (`script.py`) differ in how they know their position. How a snapshot's state is put in
place is told in `restore.py`, what happens when the machine goes in `departure.py`; all else is here.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import (
    OptionError,
    RestoreError,
    StoreError,
    UnknownCheckpoint,
    VerificationError,
)
from ..settings import OUTPUT_LIMIT, Settings
from ..state import adapters, namespace as names, pickling, randomness, surroundings
from ..state.home import NOTHING, Home
from ..storage.handover import Handover
from ..storage.lease import PATIENCE as WRITERS_PATIENCE, wait_for_writer
from ..storage.repository import Repository
from ..storage.retention import Retention
from ..storage.snapshot import PartData
from ..storage.spool import upload_waiting
from .capture import Capture, info_of, names_in, packages_of, type_name
from .departure import Departure
from .forking import Forking
from .interrupts import Interrupts
from .news import News
from .outputs import Recorder
from .place import described, outermost_loop, progress, saved_loops, standing
from .position import Position
from .restore import Restore
from .schedule import Schedule
from .status import Reporter, Status, listed, said_of, short
from .verification import KEPT, Verification, verify

if TYPE_CHECKING:
    from .forking import Capturing
    from .loops import Loop
    from .place import Layer, Place


PATIENCE, PATIENCE_SECONDS = 20, 60.0
"""How many boundaries, and how long, a snapshot waits for the end of a step that cannot be saved half way."""

FAREWELL = 5.0
"""Seconds that a run which ends early waits for the snapshot on its way; then that is finished without it."""

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Run(ABC):
    """One attempt at a checkpoint, from its first statement or from a snapshot until it ends or dies.

    `namespace` is where its variables live, `selection` says which of them are its state, `remade` which a
    `with` statement makes again by itself; `home` is where functions live, if that is elsewhere.
    """

    kind = ""
    stops_in_order = True
    """Whether an interrupt, or a signal that ends the process, waits for a boundary."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        namespace: dict[str, Any],
        selection: names.Selection,
        reporter: Reporter,
        *,
        remade: frozenset[str] = frozenset(),
        home: dict[str, Any] | None = None,
        shell: Any = None,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.settings, self.namespace, self.selection = name, settings, namespace, selection
        self.origin = dict(origin or {})
        """Where it runs: `notebook`, `cell`."""
        self.status = Status(name, settings.store, str(settings.every))
        self.schedule = Schedule(settings.every)
        self.recorder = Recorder(OUTPUT_LIMIT, shell)
        self.news = News(self.status, reporter, self.recorder, self.schedule)
        self.interrupts = Interrupts(self)
        self.news.turned = self._write_status_meanwhile
        self._writing = threading.Lock()
        self.attributes: dict[str, Any] = {}
        """What a script keeps on `ckpt.state`."""
        self.callees: set[str] = set()
        """The names of the functions at whose calls its code can be entered again."""
        self.told: set[str] = set()
        """The names of those that were said to be called where it cannot."""
        self.metrics: dict[str, float] = {}
        self.result: Any = NOTHING
        self.restore: Restore = Restore(self)
        self.home = Home(namespace if home is None else home)
        self.capture = Capture(self.home, selection, remade, self.status.notice)
        self.who: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "run": secrets.token_hex(8)}
        self.worked_before = 0.0
        self.surroundings: dict[str, Any] = {}
        """The working folder and the like, as they were when the cell was begun in this kernel."""
        self.wanted: int | None = None
        """The number of the snapshot to go on from, if that need not be the newest."""
        self.is_retry = False
        """Whether an attempt at the cell failed just now, and this is the next one."""
        self.verification = Verification(wanted=settings.verify)
        self.owed: Loop | None = None
        """The loop at whose end a snapshot is due that made no sense inside it."""
        self.waited, self.waiting_since = 0, time.monotonic()
        """For how many boundaries a snapshot has been waiting, and since when."""
        self.departure = Departure(self)
        self.forking = Forking(self, wanted=settings.capture == "fork")

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
        self._wait_for_writer()
        if not self.settings.fresh:
            upload_waiting(self.repository, self.name, keep=self._retention(), tell=self.status.notice)
        found = None if self.settings.fresh else self.restore.read(self.wanted)
        if found is None and self.wanted is not None:
            raise UnknownCheckpoint(f"checkpoint {self.name!r} is gone from the store {self.repository.url}")
        if found is not None:
            for damage in found.damaged:
                self.status.notice(damage)
            self._check_python(found.description)
        self.restore.saved = self._found = found

    def _wait_for_writer(self) -> None:
        """Let the writer of a kernel that died, or that was left just now, finish the newest snapshot."""
        writers: list[str] = []

        def tell(about: Mapping[str, Any]) -> None:
            writers.append(f"the writer of an earlier run (pid {about.get('pid', '?')})")
            self.status.waiting = f"waiting for {writers[0]} to finish its snapshot"
            self.tell("waiting")

        done = wait_for_writer(self.repository.store_id, self.name, tell)
        self.status.waiting = ""
        if not done:
            self.status.notice(
                f"{writers[0]} has made no progress for {WRITERS_PATIENCE:.0f} s: this run does not wait for its "
                "snapshot any longer"
            )

    def _check_python(self, description: Mapping[str, Any]) -> None:
        if description.get("python", PYTHON) != PYTHON:
            raise RestoreError(
                f"checkpoint {self.name!r} was saved by Python {description['python']} and this is Python {PYTHON}, "
                "which may not build the same objects. Nothing was touched: run it with that Python, or start over "
                "with --fresh"
            )

    def follow(self, earlier: Run, seq: int) -> None:
        """Be the next attempt after one that failed, from snapshot `seq`: what the cell was given is known."""
        self.is_retry, self.wanted = True, seq
        self.surroundings = earlier.surroundings
        if unmade := surroundings.take_back(self.surroundings):  # first of all: the store's name may be relative
            self.status.notice(unmade)
        self.capture.follow(earlier.capture)
        self.selection.follow(earlier.selection)
        self.status.follow(earlier.status)

    def start(self) -> None:
        """Make sure that saving will work; start to listen and to watch the clock."""
        saved = self.restore.saved
        if saved is not None:
            self.worked_before = float(saved.description.get("worked", 0.0))
            self.schedule.take_over(saved.description.get("pace", {}))
        self.started_at = time.monotonic()
        if not self.is_retry:
            self.surroundings = surroundings.capture()
        for caution in self.repository.cautions(self.name):
            self.status.notice(caution)
        if saved is not None:
            surroundings.put_back_first(saved.description.get("first", {}))
        self.news.handover = self.handover = Handover(
            self.repository,
            self.name,
            keep=self._retention(),
            writer_info=self.who,
            based_on=self._found,
            tell=self.status.notice,
        )
        self._found = None
        try:
            self._begin()
        except BaseException:  # as by an interrupt: nobody else will end what was begun
            self.close()
            raise

    def _begin(self) -> None:
        if not self.is_retry:
            self.selection.start(self.namespace)
        self.recorder.start()
        saved = self.restore.saved
        if saved is None:
            self.tell("started")
        else:
            # shown before the old output, where an uninterrupted run shows it
            self.status.progress = self.status.saved_progress = str(saved.description.get("progress", ""))
            self.tell("progress")
            if self.is_retry:
                self.recorder.adopt(saved.parts["output"].stream)
            elif self.settings.replay and "output" in saved.parts:
                self.recorder.replay(saved.parts["output"].stream)
        self._write_status()
        self.schedule.start()
        if self.verification.pending:
            self.schedule.look()
        if self.stops_in_order:
            self.interrupts.start()
        self.departure.start(listens=not self.is_retry)

    def _retention(self) -> Retention:
        """Which snapshots stay besides the newest."""
        return Retention(self.settings.keep, self.settings.keep_best, self.settings.keep_every)

    def check(self, inputs: frozenset[str], needed: frozenset[str]) -> None:
        """Find out before any compute whether what the code is given, and what it draws from, can be saved.

        Raises:
            UnpicklableError: it cannot.
        """
        self.capture.check_inputs(self.namespace, inputs, needed)
        if self.settings.rng:
            randomness.capture()

    @property
    @abstractmethod
    def outermost(self) -> Layer:
        """The code that the run began with."""

    def needed(self, place: Place) -> frozenset[str]:
        """The names that the code from a place on may read."""
        return frozenset().union(*(layer.needed(position) for layer, position in place))

    # -- snapshot --------------------------------------------------------------------------------------------

    @abstractmethod
    def plan_json(self) -> dict[str, Any]:
        """What of the code a later run has to know."""

    def boundary(self, place: Place, *, turn: bool) -> None:
        """Stand at a boundary that somebody asked for: save if it is time, and show the progress."""
        self.status.progress = progress(place)
        self.schedule.stand(*standing(place))
        if not self.interrupts.asked:
            self._save_if_due(place, turn=turn)
        if self.interrupts.asked:
            self._end(place, turn=turn)

    def _save_if_due(self, place: Place, *, turn: bool) -> None:
        positions = [position for _, position in place]
        to_verify = self.verification.is_due(positions)
        if self.is_due(turn=turn, insisting=to_verify) and not self._is_in_vain(place) and not self._is_passing(place):
            saved = self.save(place, durable=self.schedule.is_asked or to_verify)
            if to_verify:
                self._verify(place, saved=saved)
        else:
            self.tell("progress")
        if self.verification.pending:
            self.schedule.look()

    def _end(self, place: Place, *, turn: bool) -> None:
        """Somebody asked the run to end: save it here, if that can be, and end it.

        If it cannot, and that was only a notice, the run goes on: what it did last is lost either way when the machine
        goes, and it may be saved by then.

        Raises:
            KeyboardInterrupt: unless a signal's own handler lets it live.
        """
        interrupts = self.interrupts
        interrupts.look_at_child()
        if interrupts.obstacle or self.news.fenced:
            interrupts.leave(saved=False)
        elif interrupts.patient and not self.is_due(turn=turn):
            self.tell("progress")
        elif self._is_in_vain(place):
            if self.status.unprotected and not interrupts.patient:
                interrupts.leave(saved=False)
        elif not self._is_passing(place):
            # a writer that a restart has ended with the kernel's children is replaced by a new one
            saved = self.save(place) or (self.news.lost and self.save(place))
            if saved or not interrupts.patient:
                interrupts.leave(saved=saved)

    def whereabouts(self) -> str:
        """Say where its own loops are, in the middle of an iteration."""
        loops = self.outermost.loops
        for loop in list(loops.values()):
            loop.look()
        turns = {key: (loop.count, loop.total) for key, loop in loops.items()}
        return progress([(self.outermost, Position("top", [*turns][-1], turns))]) if turns else ""

    def is_due(self, *, turn: bool, insisting: bool = False) -> bool:
        """Whether to save here; if it is only time, and the snapshot before is on its way, it may be later."""
        self.news.hear()
        wanted = self.schedule.wants_snapshot(turn=turn) or insisting
        if wanted and self.handover.is_busy and not (self.schedule.insists or insisting):
            self.schedule.put_off()
            return False
        return wanted and not self.news.fenced

    def _verify(self, place: Place, *, saved: bool) -> None:
        """Make sure that the snapshot just taken can be loaded elsewhere, and is what was saved.

        Raises:
            VerificationError: it is not, or there is none. The cell stops before it computes any more.
        """
        if not saved:
            raise VerificationError(f"nothing could be saved: {self.status.unprotected}")
        held = place[-1][0].variables(place)
        state = {
            "variables": {name: self.namespace[name] for name in self.news.handed["variables"]},
            "locals": {name: held[name] for name in self.news.handed["locals"]},
            **self._rest(place),
        }
        for notice in verify(self.name, self.settings.store, self.news.committed, {what: state[what] for what in KEPT}):
            self.status.notice(notice)
        self.verification.done([position for _, position in place])
        self.status.verified = True
        self.tell("verified")

    def _is_in_vain(self, place: Place) -> bool:
        """Whether a snapshot here could not be resumed: inside a replayed loop whose data has changed, for one.

        Then the loop around it is waited for, where there is one.
        """
        around = [(layer, key) for layer, position in place for key in position.turns]
        for layer, key in around:
            loop = layer.loops[key]
            if loop.gathering is not None and loop.gathering.is_shared:
                self.status.notice(
                    f"{layer.loop_name(key)} makes functions that share its variables: nothing is saved inside it, "
                    "but when it ends"
                )
                self.owed = loop
                return True
            cursor = loop.cursor
            if cursor is not None and cursor.sources is not None and (changed := cursor.sources.changed()):
                why = (
                    f"{layer.loop_name(key)} goes over something that cannot be saved half way and works on "
                    f"{', '.join(changed)}, which changes while it runs"
                )
                if len(around) == 1:
                    self.status.unprotect(f"{why}; loop over a list, or put a loop around it")
                else:
                    self.status.notice(f"{why}: nothing is saved inside it, but when it ends")
                self.owed = loop
                return True
        return False

    def _is_passing(self, place: Place) -> bool:
        """Whether this is in the middle of what cannot be saved and will soon be over, as a step through a network.

        Then the next boundary is waited for, within reason: after that, it is tried and the reason shown.
        """
        values = {**self.namespace, **place[-1][0].variables(place)}
        if not any(adapters.is_passing(values.get(name)) for name in self.needed(place)):
            self.waited, self.waiting_since = 0, time.monotonic()
            return False
        self.waited += 1
        if self.waited > PATIENCE and time.monotonic() - self.waiting_since > PATIENCE_SECONDS:
            return False
        self.schedule.ask()
        return True

    def left(self, loop: Loop) -> None:
        """Take note that a loop was left."""
        if self.owed is loop:
            self.owed = None
            self.schedule.ask()

    def save(self, place: Place, *, finished: bool = False, durable: bool = True) -> bool:
        """Hand over a snapshot of this moment, and wait until it is `durable`; return whether all is well so far.

        A failure never stops the run.
        """
        began, stood, before = time.perf_counter(), 0.0, self.news.handed
        try:
            while self.handover.is_busy:
                self.news.hear(None)
            began = time.perf_counter()  # to wait until something is durable is not what a save costs
            held = place[-1][0].variables(place)
            capturing = self._capture(place, held, finished=finished)
            told = self.forking.told = dict[str, Any]()  # to which a copy adds what it took
            handed = {"at": time.time(), "progress": progress(place), "capture": told}
            self.news.handed = handed  # before it is on its way: an interrupt may come at any moment
            if not self.forking.hand_over(capturing, held, durable=durable):
                parts, description = capturing()
                self.forking.took = time.perf_counter() - began
                handed |= {"variables": names_in(parts), "locals": names_in(parts, "locals")}
                self.handover.hand_over(description, parts, final=finished)
                told.update(self.handover.capture)
            stood = told["stall"] = time.perf_counter() - began
        except Exception as error:  # noqa: BLE001 - saving must never kill the computation; it is shown in red
            if not self.handover.is_busy:  # nothing came of it: what is heard late is of the one before
                self.news.handed = before
            self.news.failed(error)
        else:
            self.news.handed_over(durable=durable)
        self.schedule.saved(stood or time.perf_counter() - began)
        return not self.status.unprotected

    def _capture(self, place: Place, held: Mapping[str, Any], *, finished: bool) -> Capturing:
        """Note of this moment what only this process knows, which takes no time; return what takes some."""
        needed, rest = self.needed(place), self._rest(place)
        loops = [loop for layer, _ in place for loop in layer.loops.values()]
        drawn_again = [loop.current for loop in loops if loop.cursor and loop.cursor.kind == "replay"]
        self.capture.prepare(self.namespace, held)
        shown = self.recorder.to_json(with_result=self.result is NOTHING)
        known = {
            "kind": self.kind,
            "position": place[0][1].to_json(),
            **described([(layer.described(), position.to_json()) for layer, position in place[1:]]),
            "progress": progress(place),
            "finished": finished,
            **self.plan_json(),
            "python": PYTHON,
            "first": surroundings.first_changes(self.surroundings),
            "worked": self.worked(),
            "saved_at": time.time(),
            "run": self.who["run"],
            "every": str(self.settings.every),
            **({"pace": self.schedule.pace.to_json()} if self.schedule.pace is not None else {}),
            "metrics": self.metrics,
            "notice": self.departure.notice,
            "loop": outermost_loop(place),
            **self.origin,
        }

        def capturing() -> tuple[list[PartData], dict[str, Any]]:
            captured = self.capture.take(self.namespace, held, needed, drawn_again, rest)
            contents = captured.contents
            types = {name: type_name(value) for name, value in contents.data.items()}
            data = [
                *(PartData(p.name, p.stream, p.buffers, info_of(p, types)) for p in captured.parts),
                PartData("definitions", pickle.dumps(captured.code), [], {"names": sorted(captured.code)}),
                PartData("output", shown, [], {}),
            ]
            return data, {
                **known,
                "packages": packages_of(contents.data.values()),
                "modules": contents.modules,
                "redefined": [name for name in sorted(captured.code) if self._is_redefined(name)],
                "deleted": sorted(set(contents.missing) & self.selection.binds),
                "left_out": self.capture.left_out(self.namespace, needed),
                "inputs": self.capture.inputs,
                "code": self.capture.code,
            }

        return capturing

    def _rest(self, place: Place) -> dict[str, Any]:
        """What belongs to a snapshot beside the variables and what they need."""
        calls = [{"loops": saved_loops(layer, position), **layer.captured()} for layer, position in place[1:]]
        return {
            "loops": saved_loops(*place[0]),
            "calls": {str(depth): call for depth, call in enumerate(calls)},
            "attributes": self.attributes,
            **place[0][0].captured(),
            "moment": {
                "result": self.result,
                "surroundings": surroundings.changes(self.surroundings),
                "random": randomness.capture() if self.settings.rng else None,
            },
        }

    def _is_redefined(self, name: str) -> bool:
        """Whether a definition was made since the cell began, in this run or those that it goes on from."""
        return name in self.restore.redefined or self.selection.is_new(name, self.home.namespace.get(name))

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Record numbers with the snapshots from now on.

        Raises:
            OptionError: one of them is not a number.
        """
        for name, value in metrics.items():
            try:
                self.metrics[name] = float(value)
            except (TypeError, ValueError) as error:
                raise OptionError(f"log({name}={short(repr(value))}) records numbers, and this is none") from error

    # -- finish ----------------------------------------------------------------------------------------------

    def worked(self) -> float:
        """Seconds of work in this run and those that it goes on from."""
        return self.worked_before + time.monotonic() - self.started_at

    def finish(self) -> None:
        """Save the result, unless it was there already."""
        if self.status.state == "restored":
            self.recorder.replay_rest()
            self.departure.outlived()
            self._write_status()
            return
        self.status.worked = self.worked()
        self.schedule.stop()
        if pickling.digest(self.result) is None:
            self.result = NOTHING  # what was shown of it is part of the recorded output
        saved = not self.news.fenced and self.save([(self.outermost, Position("end"))], finished=True)
        if not saved and self.interrupts.patient:
            self.interrupts.asked = ""  # the code that follows may have a use for what is not saved
        self.departure.outlived()
        self.status.state = "finished"
        if saved:
            if left_out := self.capture.left_out(self.namespace, frozenset()):
                self.status.notice(f"the saved result is without what cannot be saved: {listed(left_out)}")
            self.tell("finished")
        else:
            self.tell("unprotected")
        self._write_status()

    def stop(self, error: BaseException | None = None) -> None:
        """The run ended early, by an error or an interrupt: the last snapshot stands."""
        self.status.worked = self.worked()
        if isinstance(error, Exception):
            self.status.error = said_of(error)
        self.news.hear(FAREWELL)
        self.departure.stopped()
        self.status.state = "stopped"
        self.tell("stopped")
        self._write_status()

    def _write_status(self) -> None:
        with self._writing, contextlib.suppress(StoreError):  # for people only: it is never needed to go on
            status = self.status
            told = {"unprotected": status.unprotected, "since": status.unprotected_since} if status.unprotected else {}
            how = {"capture": status.capture} if status.capture else {}
            self.repository.write_status(self.name, {**self.who, "state": status.state, **told, **how})

    def _write_status_meanwhile(self) -> None:
        """Do so beside the loop, which need not wait for a store that may be away."""
        threading.Thread(target=self._write_status, name="nbckpt status", daemon=True).start()

    def close(self, *, tried_again: bool = False) -> None:
        """Let go of everything; where it is tried again, the next attempt relieves this one of listening."""
        with contextlib.ExitStack() as last:  # of everything, whatever one of them raises
            last.callback(self.interrupts.close)
            last.callback(self.handover.close)
            last.callback(self.recorder.stop)
            last.callback(self.schedule.stop)
            if not tried_again:
                self.departure.close()

    def tell(self, event: str) -> None:
        """Show the status."""
        self.news.tell(event)
