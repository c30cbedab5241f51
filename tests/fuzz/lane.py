"""The light lane: thousands of cells killed at every boundary, at some milliseconds a kill.

What runs is what runs in a kernel (rewriting, the run, capturing, pickling, restoring), less the shell around it and
the disk below it: a namespace is a plain `__main__`, and a snapshot is the bytes that would have been written.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import json
import pickle
import random
import signal
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from cloudpickle import cloudpickle

from nbckpt.errors import NbckptError
from nbckpt.front import display
from nbckpt.front.magics import Extension
from nbckpt.run import RUN, checkpoint
from nbckpt.state import memory
from nbckpt.storage.fetch import Allocate
from nbckpt.storage.snapshot import PartData
from nbckpt.storage.writer import Committed
from programs.canonical import _Walk, canonical
from programs.harness import Saves, Screen, _Stream, take_over_the_clock

TWICE = 8
"""How many of the boundaries after a resume are killed at again, about."""
PATIENCE = 20
"""Seconds after which a run is taken for one that never ends."""
SHOWN = "__shown__"
_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@dataclass(frozen=True, slots=True)
class Cell:
    """A program: a cell, the cells before it, and what may be said of it."""

    cell: str
    before: tuple[str, ...] = ()
    refuses: bool = False
    """Whether it goes over something that cannot always be resumed: then it must say so."""
    redefines: bool = False
    """Whether it defines again what the cells before it had defined."""
    outside: frozenset[str] = frozenset()
    """Names that only the cells before know, and that share objects with the cell's."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, and where."""

    kind: str
    """Without numbers and values, so that it is the same for a smaller program."""
    what: str


class _StuckError(BaseException):
    pass


# ---------------------------------------------------------------------------------------------------------
# a store without a disk


@dataclass(frozen=True, slots=True)
class Photo:
    """One snapshot, as the bytes that a store would hold."""

    description: str
    parts: tuple[tuple[str, bytes, tuple[bytes, ...], str], ...]
    progress: str = ""


@dataclass(slots=True)
class Memory:
    """What a run takes for its repository and its writer: keeps each snapshot, gives back the one it was given."""

    photo: Photo | None = None
    taken: list[Photo] = field(default_factory=list)
    outcomes: list[Committed] = field(default_factory=list)

    store_id = "memory"

    def cautions(self, name: str) -> list[str]:
        return []

    def load(self, name: str, *, seq: int | None = None, allocate: Allocate) -> Any:
        if self.photo is None:
            return None
        parts = {}
        for part, stream, buffers, text in self.photo.parts:
            info = json.loads(text)
            rooms = allocate(info, [len(buffer) for buffer in buffers])
            put = [_put(room, buffer) for room, buffer in zip(rooms, buffers, strict=True)]
            parts[part] = PartData(part, memoryview(bytearray(stream)), put, info)
        manifest = SimpleNamespace(parts=[SimpleNamespace(buffers=[*map(len, p.buffers)]) for p in parts.values()])
        description = json.loads(self.photo.description)
        return SimpleNamespace(description=description, manifest=manifest, parts=parts, damaged=[], seq=1)

    def handover(self, *_: Any, **__: Any) -> Memory:
        return self

    is_busy = False
    capture: dict[str, Any] = field(default_factory=dict)

    def hand_over(self, description: dict[str, Any], parts: Sequence[PartData], *, final: bool = False) -> None:
        kept = tuple((p.name, bytes(p.stream), tuple(map(bytes, p.buffers)), json.dumps(p.info)) for p in parts)
        self.taken.append(Photo(json.dumps(description), kept, str(description["progress"])))
        self.outcomes.append(Committed(len(self.taken), "", 0, 0, 0.0))

    def outcome(self, timeout: float | None = 0.0) -> Committed | None:
        return self.outcomes.pop() if self.outcomes else None

    def write_status(self, name: str, status: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


def _put(room: memoryview | None, content: bytes) -> memoryview:
    """What a buffer is read to: the memory that is kept for it, if there is any."""
    if room is None:
        return memoryview(bytearray(content))
    room[:] = content
    return room


# ---------------------------------------------------------------------------------------------------------
# a kernel without a shell


class _Front(Extension):
    """nbckpt's extension in a shell that is hardly there."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.shell = SimpleNamespace(
            user_ns=names,
            ast_node_interactivity="last_expr",
            display_pub=SimpleNamespace(publish=lambda *_, **__: None, clear_output=lambda *_, **__: None),
            displayhook=SimpleNamespace(start_displayhook=lambda: None, finish_displayhook=lambda: None),
        )
        self.config: Any = SimpleNamespace(values=dict)
        self.prepared: list[Any] = []
        self.running: list[Any] = []
        self.depth = 0


class _Silent:
    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def show(self, status: Any, *, event: str) -> None:
        pass


@dataclass
class Outcome:
    """Everything that a cell leaves behind."""

    module: types.ModuleType
    names: dict[str, Any]
    before: dict[str, Any]
    error: str
    shown: list[tuple[str, str]]
    random: bytes
    refused: bool = False
    """Whether nbckpt itself said no."""
    resumed: bool = False
    unprotected: str = ""
    notices: tuple[str, ...] = ()
    forms: dict[frozenset[str], dict[str, Any]] = field(default_factory=dict)
    """What it was compared by, for the names that were."""
    changed: frozenset[str] = frozenset()
    """The names that only the cells before know, and whose objects this one changed nevertheless."""


class Lane:
    """Runs cells and kills them."""

    def __init__(self, saves: Saves) -> None:
        self.saves = saves
        self.memory = Memory()
        self.kills = 0
        self.refusals = 0

    def check(self, program: Cell) -> Failure | None:
        """Kill a program at each boundary; return the first thing that is not as if it had not been killed."""
        return Killing(self, program).failure()

    def plain(self, program: Cell) -> Outcome:
        """What a program comes to when nobody interferes."""
        return Killing(self, program).run()


class Killing:
    """One program, compiled once."""

    def __init__(self, lane: Lane, program: Cell) -> None:
        self.lane, self.program = lane, program
        self.before = [compile(text, "<before>", "exec", dont_inherit=True) for text in program.before]
        self.plain_code = _compiled(ast.parse(program.cell))
        self.rewritten: Any = None

    def failure(self) -> Failure | None:
        try:
            plain = self.run()
        except Exception:  # noqa: BLE001 - a cell before it fails: no program, as one gets by cutting another down
            return None
        if plain.error.startswith(("_StuckError", "SyntaxError")):
            return None  # no program at all
        with self.lane.saves.at_every_boundary(lambda _: None):
            saved, photos = self.checkpointed(None)
        if bad := self.compare(plain, saved, "saved everywhere"):
            return bad
        if saved.unprotected and not self.program.refuses:
            return Failure("unprotected", f"it was not saved: {saved.unprotected}")
        for number, photo in enumerate(photos):
            for before in (True, False) if self.before else (True,):
                twice = number == len(photos) // 3 and not (before and self.before)
                if bad := self.resumed(plain, photo, before=before, twice=twice):
                    return bad
        if photos and not self.program.redefines:
            same = photos[len(photos) // 2]
            outcome, _ = self.checkpointed(same, over=saved)
            bad = self.judge(plain, outcome, f"resumed at {same.progress} where the cell has run", before=True)
            return bad and Failure(f"{bad.kind} in the same kernel", bad.what)
        return None

    def resumed(self, plain: Outcome, photo: Photo, *, before: bool, twice: bool) -> Failure | None:
        """Go on from one photo; if `twice`, kill that run at each of its boundaries as well."""
        about = f"resumed at {photo.progress}{'' if before else ' in a fresh namespace'}"
        if not twice:
            outcome, _ = self.checkpointed(photo, before=before)
            return self.judge(plain, outcome, about, before=before)
        with self.lane.saves.at_every_boundary(lambda _: None):
            outcome, photos = self.checkpointed(photo, before=before)
        if bad := self.judge(plain, outcome, f"{about}, saved everywhere", before=before):
            return bad
        for second in photos[:: len(photos) // TWICE + 1]:
            outcome, _ = self.checkpointed(second, before=before)
            if bad := self.judge(plain, outcome, f"{about}, then at {second.progress}", before=before):
                return bad
        return None

    def judge(self, plain: Outcome, outcome: Outcome, about: str, *, before: bool) -> Failure | None:
        self.lane.kills += 1
        if outcome.refused:
            self.lane.refusals += 1
            return None if self.program.refuses else Failure("refused", f"{about}: {outcome.error}")
        if not outcome.resumed:
            return Failure("not resumed", f"{about}: it began anew")
        return self.compare(plain, outcome, about, before=before)

    def compare(self, plain: Outcome, other: Outcome, about: str, *, before: bool = True) -> Failure | None:
        if other.error != plain.error:
            return Failure(f"error {other.error.partition(':')[0]}", f"{about}: {other.error!r}, not {plain.error!r}")
        if other.shown != plain.shown:
            return Failure("output", f"{about}: shows {other.shown}, not {plain.shown}")
        spare = set()
        if not before:
            same = {name for name, value in plain.before.items() if plain.names.get(name) is value}
            spare = same - set(other.names)
            there = [plain.names[name] for name in other.names if name in plain.names]
            spare -= {name for name in self.program.outside & spare if _share(plain, plain.names[name], there)}
            spare -= plain.changed
        expected = set(plain.names) - spare
        if set(other.names) != expected:
            more, less = sorted(set(other.names) - expected), sorted(expected - set(other.names))
            return Failure(f"names {'more' if more else 'less'}", f"{about}: {more} too many, {less} lacking")
        key = frozenset(expected)
        if (mine := plain.forms.get(key)) is None:
            mine = canonical({name: plain.names[name] for name in expected}, vars(plain.module))
            plain.forms[key] = mine
        theirs = canonical({name: other.names[name] for name in expected}, vars(other.module))
        for name in sorted(expected):
            if mine[name] != theirs[name]:
                values = f"{_short(theirs[name])}, not {_short(mine[name])}"
                return Failure(f"value of {name}", f"{about}: {name} is {values}")
        if other.random != plain.random:
            return Failure("random", f"{about}: random state")
        return None

    # -- running -----------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """The plain cell in a new namespace."""
        with _namespace(1) as module:
            given = self._given(vars(module), before=True)
            outside = {name: given[name] for name in self.program.outside & given.keys()}
            known = {name: canonical({name: value}, vars(module)) for name, value in outside.items()}
            outcome = self._outcome(self.plain_code, module, given)
            now = {name: canonical({name: value}, vars(module)) for name, value in outside.items()}
            outcome.changed = frozenset(name for name in known if known[name] != now[name])
            return outcome

    def checkpointed(
        self, photo: Photo | None, *, before: bool = True, over: Outcome | None = None
    ) -> tuple[Outcome, list[Photo]]:
        """The checkpointed cell, from a photo, in a new namespace or `over` one in which it has run."""
        kept = Memory(photo)
        with _namespace(1 if photo is None else 17, over and over.module) as module, _store(kept):
            given = over.before if over else self._given(vars(module), before=before)
            front = _Front(vars(module))
            if self.rewritten is None:
                beginning, body = front._rewrite("prog", ast.parse(self.program.cell), ast.Pass(lineno=1, col_offset=0))
                self.rewritten = beginning, _compiled(ast.Module(body, []), beginning=True)
            beginning, code = self.rewritten
            beginning.extension = front
            front.prepared.append(beginning)
            with _builtin(front):
                outcome = self._outcome(code, module, given, front)
        return outcome, kept.taken

    def _given(self, names: dict[str, Any], *, before: bool) -> dict[str, Any]:
        for code in self.before if before else ():
            exec(code, names)
        return _users(names)

    def _outcome(
        self, code: Any, module: types.ModuleType, given: dict[str, Any], front: _Front | None = None
    ) -> Outcome:
        names, screen = vars(module), Screen()
        error: BaseException | None = None
        out, err = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _Stream(screen, "stdout"), _Stream(screen, "stderr")  # type: ignore[assignment]
        run = None
        try:
            with _time_limit(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    _execute(code, names)
                except Exception as raised:  # noqa: BLE001 - a cell may end as it likes
                    error = raised
                except _StuckError as raised:
                    error = raised
                if front is not None and front.running:
                    run = front.running[-1][0]
                    # what ends in a last snapshot is one more boundary, where there is one at each
                    succeeded = error is None and self.lane.saves.everywhere
                    front.after_cell(SimpleNamespace(success=succeeded, error_before_exec=None, error_in_exec=error))
        finally:
            sys.stdout, sys.stderr = out, err
        names.setdefault(SHOWN, None)
        outcome = Outcome(
            module,
            _users(names),
            given,
            f"{type(error).__name__}: {error}" if error else "",
            screen.shown,
            pickle.dumps((random.getstate(), np.random.get_state(legacy=False))),
            isinstance(error, NbckptError),
        )
        if run is not None:
            outcome.resumed = bool(run.status.resumed_at)
            outcome.unprotected, outcome.notices = run.status.unprotected, tuple(run.status.notices)
        return outcome


def _compiled(module: ast.Module, *, beginning: bool = False) -> Any:
    """Compile a cell; the value of its last expression goes to a name, as a shell would show it."""
    last = module.body[-1] if module.body else None
    if isinstance(last, ast.Expr):
        module.body[-1] = ast.copy_location(ast.Assign([ast.Name(SHOWN, ast.Store())], last.value), last)
    if beginning:
        module.body[:0] = ast.parse(f"{RUN}.begin(0)").body
    return compile(ast.fix_missing_locations(module), "<cell>", "exec", flags=_FLAGS, dont_inherit=True)


def _execute(code: Any, names: dict[str, Any]) -> None:
    result = eval(code, names)  # noqa: S307 - the test's own program
    if inspect.iscoroutine(result):
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(result)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


def _users(names: dict[str, Any]) -> dict[str, Any]:
    own = {"__name__", "__builtins__", "__doc__", "__package__", "__loader__", "__spec__", "__annotations__"}
    return {name: value for name, value in names.items() if name not in own}


def _share(outcome: Outcome, thing: Any, others: list[Any]) -> bool:
    """Whether an object can be reached in part from others, not only by its class."""
    one, other, code = (_Walk(vars(outcome.module)) for _ in range(3))
    one.form(thing)
    other.form(others)
    for part in [*one.alive]:
        if isinstance(part, (type, types.FunctionType)):
            code.form(part)
    return not (one.numbers.keys() & other.numbers.keys()) <= code.numbers.keys()


def _short(form: Any) -> str:
    text = str(form)
    return text if len(text) < 400 else f"{text[:400]}..."


@contextmanager
def _namespace(seed: int, module: types.ModuleType | None = None) -> Iterator[types.ModuleType]:
    """A `__main__` with random state of its own; classes of dead ones are forgotten, as by a new process."""
    main = sys.modules["__main__"]
    new = module or types.ModuleType("__main__")
    # else a class saved by value would come back as the very class of the kernel that is taken for dead
    cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
    cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS.clear()
    sys.modules["__main__"] = new
    vars(new).setdefault("__builtins__", builtins)
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield new
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _store(memory: Memory) -> Iterator[None]:
    known, checkpoint.Repository = checkpoint.Repository, SimpleNamespace(open=lambda _: memory)  # type: ignore[misc,assignment]
    handover, checkpoint.Handover = checkpoint.Handover, memory.handover  # type: ignore[misc,assignment]
    waiting, checkpoint.upload_waiting = checkpoint.upload_waiting, lambda *_, **__: None
    line, display.StatusLine = display.StatusLine, _Silent  # type: ignore[misc,assignment]
    try:
        yield
    finally:
        checkpoint.Repository, display.StatusLine = known, line  # type: ignore[misc,assignment]
        checkpoint.Handover, checkpoint.upload_waiting = handover, waiting  # type: ignore[misc]


@contextmanager
def _builtin(front: Any) -> Iterator[None]:
    setattr(builtins, RUN, front)
    try:
        yield
    finally:
        delattr(builtins, RUN)


@contextmanager
def _time_limit() -> Iterator[None]:
    def stuck(*_: Any) -> None:
        raise _StuckError(f"not done after {PATIENCE} seconds")

    known = signal.signal(signal.SIGALRM, stuck)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, known)


@contextmanager
def open_lane(patch: Any) -> Iterator[Lane]:
    """A lane in which snapshots are taken only where it says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(memory, "LEAST", 1)  # small arrays, too, are read to where they stay
        yield Lane(take_over_the_clock(patch))
