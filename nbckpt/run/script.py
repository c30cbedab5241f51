"""A script's run: what a `with nbckpt.checkpointed(...)` block does at its begin, at its end and where it was."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..errors import CellChangedError, RestoreError
from ..state import pickling
from . import doors
from .block import Block
from .checkpoint import Run
from .function import check
from .in_place import CONTAINERS, Memo, is_plain, refill, replace
from .loops import Loop
from .place import Layer, Place
from .position import Position
from .restore import Restore
from .resumable import source_of

_RESULT = "the result of "
_APART = "what was made from it in this run is not connected with it: guard such code with `if not ckpt.resumed:`"


class ScriptRun(Run):
    """The run of a `with` block."""

    kind = "script"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, home=vars(sys.modules["__main__"]))
        self.block = Block(self)
        self.ours: tuple[Any, ...] = ()
        """What the script knows this run by."""
        self.restore: ScriptRestore = ScriptRestore(self)

    @property
    def outermost(self) -> Layer:
        return self.block

    def prepare(self) -> None:
        """Put the variables in place, for the code before the loop.

        Raises:
            CellChangedError: the snapshot is of a cell, or a function in progress was edited where it had run.
        """
        if self.restore.saved is None:
            given = self.selection.only or frozenset()
            self.check(given, given)
            self.capture.inputs = {}  # nobody can tell which variables the code only reads
            return
        description = self.restore.saved.description
        if description.get("kind") != self.kind:
            raise CellChangedError(
                f"checkpoint {self.name!r} was made by a cell, not by a script. Nothing was run: use another name, "
                "or start over with fresh=True"
            )
        self.callees |= set(description.get("callees", ()))
        check(self, ())
        self.block.way = Position.from_json(description["position"])
        self.restore.begin()

    def start(self) -> None:
        super().start()
        self.recorder.stop()  # a script's output is its terminal's or its log's

    def ask(self) -> None:
        if self.block.in_loop:
            self.schedule.ask()
        elif self.block.way is None:
            self.save([(self.block, self.block.before_next())])

    def before_loop(self) -> None:
        """A loop is about to begin: who wants the run to end waits for none of its iterations, if it is in no other."""
        block = self.block
        if self.interrupts.asked and block.way is None and not (block.in_loop or block.calling):
            block.boundary(block.before_next(), turn=False)

    def boundary(self, place: Place, *, turn: bool) -> None:
        with doors.shut():
            super().boundary(place, turn=turn)

    def needed(self, place: Place) -> frozenset[str]:
        """What functions in progress hold, and `vars`: other variables of the module are made again by its code."""
        return frozenset(name for name in super().needed(place) if "()" in name) | self.only

    @property
    def only(self) -> frozenset[str]:
        """The variables that are to be saved."""
        return self.selection.only or frozenset()

    def leave(self) -> None:
        """The block ended."""
        if self.block.way is not None:
            if self.block.way.where != "end":
                raise RestoreError(
                    "the script ended without coming to the loop or call that was in progress. Nothing was lost: undo "
                    "the edit, or start over with fresh=True"
                )
            self.block.arrive()
        self.finish()

    def plan_json(self) -> dict[str, Any]:
        """How long its loops are, and what it may call: all that is known of a script."""
        return {"totals": self.block.totals, "callees": sorted(self.callees)}

    def save(self, place: Place, *, finished: bool = False, durable: bool = True) -> bool:
        """Commit a snapshot; a name in `vars` that there is no variable for is said."""
        if missing := sorted(self.only - self.namespace.keys()):
            self.status.notice(f"vars names {', '.join(missing)}, which does not exist, so it is not saved")
        ours = {name for name, value in list(self.namespace.items()) if any(value is one for one in self.ours)}
        self.selection.exclude |= ours  # they lead to everything, and are made again
        with doors.shut():
            return super().save(place, finished=finished, durable=durable)


class ScriptRestore(Restore):
    """The way back into a `with` block: the code before its loop is run again, and may change what was saved."""

    _run: ScriptRun

    def __init__(self, run: ScriptRun) -> None:
        super().__init__(run)
        self._digests: dict[str, str | None] = {}

    def begin(self) -> None:
        """Put the variables in place for the code before the loop."""
        self.build()
        self._digests = self.variable_digests()

    def take_variables(self, loop: Loop | None = None) -> None:
        """Put the variables in place for good; objects that the code before this changed are built anew."""
        run = self._run
        with doors.shut():
            now = self.variable_digests()
            saved = self.root["variables"]
            again = [
                name
                for name, value in saved.items()
                if (live := run.namespace.get(name, value)) is not value and not (is_plain(live) and is_plain(value))
            ]
            changed = [name for name in now if now[name] != self._digests[name]]
            lost = [] if run.namespace else [name for name in changed if name.startswith(_RESULT)]
            if lost and not run.trusting:
                raise RestoreError(
                    f"the block was run again up to where it was, and changed {', '.join(lost)} a second time. "
                    "Nothing was lost: keep it on ckpt.state, go on with on_change='resume' if it does not matter, or "
                    "start over with fresh=True"
                )
            if again:
                run.status.notice(
                    f"code before the loop made {', '.join(again)} again, and the saved one took its place; {_APART}"
                )
            if changed:
                run.status.notice(
                    f"code before the loop changed {', '.join(changed)} again, which was put back as saved; {_APART}"
                )
                self._put_back(changed, {**run.block.loops, **({loop.key: loop} if loop else {})})
            run.namespace.update(self.root["variables"])
            self.put_attributes()
            run.block.put_back_states()
            run.block.refuse_lost()

    def _put_back(self, changed: Iterable[str], entered: Mapping[str, Loop]) -> None:
        """Build the saved objects anew; lists and the like stay the objects that the code at hand may hold."""
        run = self._run
        live = {**run.attributes, **run.namespace}
        self.build_again(entered)
        memo = Memo()
        for name in changed:
            for kind in ("variables", "attributes"):
                saved = self.root[kind].get(name)
                if type(saved) is type(live.get(name)) and type(saved) in CONTAINERS:
                    memo.note(saved, live[name])
        try:
            replace(memo, self.roots())
        except RestoreError:  # something that cannot be changed holds them
            self.build_again(entered)
            return
        for saved, container in memo.pairs.values():
            refill(container, saved)
        self.put_attributes()

    def roots(self) -> list[Any]:
        """What came back with the snapshot and may refer to one another."""
        return [self.root[kind] for kind in ("variables", "locals", "attributes", "loops", "calls", "done")]

    def build(self, made: Collection[str] = ()) -> None:
        super().build(made)
        for thing in [*self.root["variables"].values(), *self.root["attributes"].values()]:
            if source_of(thing) is not None:
                doors.note(thing)

    def variable_digests(self) -> dict[str, str | None]:
        results = {
            f"{_RESULT}{done['name']}()": done["value"] for done in self.root.get("done", {}).values() if done["name"]
        }
        states = {f"the state of an nbckpt.loop ({key})": value for key, value in self.root.get("states", {}).items()}
        found = {name: pickling.digest(value) for name, value in {**results, **states}.items()}
        return {**super().variable_digests(), **found}
