"""Killing a cell at every boundary, without a kernel to kill.

A checkpointed cell runs once, saving at every boundary, and after each save the store is photographed: that is
what a SIGKILL at this moment would leave behind. From each photo a new shell, with a new `__main__`, goes on, and
must end as the plain cell does: the same names, the same values, shared in the same way, the same random state,
the same output, the same `Out`, and every effect on the world done once.
"""

from __future__ import annotations

import atexit
import builtins
import os
import random
import re
import shutil
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import IPython
import numpy as np
from cloudpickle import cloudpickle
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

from nbckpt.front import display, magics
from nbckpt.run.checkpoint import Run
from nbckpt.run.schedule import Schedule
from nbckpt.run.status import Status

from .canonical import canonical

_IPYTHONS = re.compile(
    r"_i*|_i?\d+|__|___|_ii|_iii|_[dio]h|In|Out|get_ipython|exit|quit|open|_exit_code|__\w+__"
    r"|__(compiled_fn|resume_at|builtins_dict|import)_\w+"
)


@dataclass(frozen=True, slots=True)
class Program:
    """A cell to be killed, and what comes before and after it."""

    name: str
    says: str
    """What must hold."""
    cell: str
    before: tuple[str, ...] = ()
    """Cells run first. A resumed run must do without them, too, unless it `needs` them."""
    after: tuple[str, ...] = ()
    options: str = ""
    needs_before: bool = False
    unsaved: frozenset[str] = frozenset()
    """Names that cannot be saved (open files), so need not be the same afterwards."""
    loose: frozenset[str] = frozenset()
    """Streams that are not compared, as a progress bar tells the time; "random" for one that draws numbers."""
    unordered: bool = False
    """Whether its effects have no order: a set's elements before the loop over them began."""
    at_least: int = 4
    """Boundaries that must have been met, or the program tests nothing."""
    every: int = 1
    """Killed at each so many boundaries only: for libraries that take their time to get going."""
    fails: str = ""
    """The class of the error that the plain cell ends with."""
    library: str = ""
    """The packages that it needs, by the names that they are imported by; empty for what every test has."""
    row: str = ""
    """What it stands for in the table of what is saved: `PyTorch: modules and optimizers`."""
    exact: str = "bitwise"
    """How exactly that comes back, as the table says: `bitwise`, `statistical`."""

    def __str__(self) -> str:
        return self.name


# ---------------------------------------------------------------------------------------------------------
# a shell


class _Publisher(DisplayPublisher):
    screen: Any = None

    def publish(
        self, data: Any, metadata: Any = None, *, transient: Any = None, update: bool = False, **_: Any
    ) -> None:
        self.screen.display(data["text/plain"], (transient or {}).get("display_id"), update=update)

    def clear_output(self, wait: bool = False) -> None:
        self.screen.clear(wait=wait)


class _Shell(InteractiveShell):
    """A shell that keeps the tracebacks it would print."""

    display_pub_class = Type(_Publisher)
    colors = "NoColor" if IPython.version_info < (9,) else "nocolor"

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        self.tracebacks.append("\n".join(stb))

    def enable_gui(self, gui: Any = None) -> None:
        """As `%matplotlib inline` asks a kernel to."""

    def show_usage_error(self, exc: Any) -> None:
        self.tracebacks.append(f"UsageError: {exc}")


class _Stream:
    """`sys.stdout`, as far as a cell can tell."""

    encoding = "utf-8"

    def __init__(self, screen: Screen, name: str) -> None:
        self._screen, self._name = screen, name

    def write(self, text: str) -> int:
        self._screen.add(self._name, text)
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


@dataclass
class Screen:
    """What was shown, in order; neighbours on the same stream are one."""

    shown: list[tuple[str, str]] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    """Where displays that can be updated are."""
    clears: bool = False
    """Whether all is cleared by the next thing that is shown."""

    def add(self, stream: str, text: str) -> None:
        if self.clears and text:
            self.clear()
        if self.shown and self.shown[-1][0] == stream and stream != "display":
            text = self.shown.pop()[1] + text
        if text:
            self.shown.append((stream, text))

    def display(self, text: str, key: str | None, *, update: bool) -> None:
        if not update:
            self.add("display", text)
            if key:
                self.places[key] = len(self.shown) - 1
        elif key in self.places:
            self.shown[self.places[key]] = ("display", text)

    def clear(self, *, wait: bool = False) -> None:
        self.clears = wait
        if not wait:
            self.shown.clear()
            self.places.clear()

    def without(self, streams: frozenset[str]) -> list[tuple[str, str]]:
        """What is to be seen, apart from some streams."""
        kept = Screen()
        for stream, text in self.shown:
            if stream not in streams:
                kept.add(stream, re.sub(r"Out\[\d+\]", "Out", _overwritten(text)))
        return kept.shown


def _overwritten(text: str) -> str:
    """Text as a screen shows it, where a carriage return goes back to the start of the line."""
    lines = []
    for line in text.split("\n"):
        seen = ""
        for part in line.split("\r"):
            seen = part + seen[len(part) :]
        lines.append(seen)
    return "\n".join(lines)


@dataclass
class Kernel:
    """A shell with nothing in it but nbckpt."""

    shell: Any
    screen: Screen
    statuses: list[Status]
    events: list[str]

    def run(self, text: str) -> Any:
        return self.shell.run_cell(text, store_history=True)

    @property
    def names(self) -> dict[str, Any]:
        """The user's own names."""
        return {name: value for name, value in self.shell.user_ns.items() if not _IPYTHONS.fullmatch(name)}

    @property
    def status(self) -> Status:
        """What the latest run said about itself."""
        return self.statuses[-1]

    @property
    def notices(self) -> str:
        return "\n".join(self.status.notices) if self.statuses else ""


@contextmanager
def kernel(seed: int = 0, *, extension: bool = True) -> Iterator[Kernel]:
    """A new shell with a new `__main__`, and random state that nobody expects."""
    saved = {name: getattr(sys, name) for name in ("stdout", "stderr", "displayhook", "excepthook")}
    main, known = sys.modules["__main__"], set(vars(builtins))
    screen, statuses, events = Screen(), [], []
    quiet = Config()
    quiet.HistoryManager.enabled = False
    shell = _Shell(config=quiet)
    _adopt(shell)
    shell.tracebacks = []
    shell.display_pub.screen = screen
    random.seed(seed)
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)

    class Collect:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def show(self, status: Status, *, event: str) -> None:
            events.append(event)
            if not (statuses and statuses[-1] is status):
                statuses.append(status)

    # in a new process nobody knows the classes that others had made
    cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS.clear()
    cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
    shown_by, display.StatusLine = display.StatusLine, Collect
    sys.stdout, sys.stderr = _Stream(screen, "stdout"), _Stream(screen, "stderr")
    try:
        if extension:
            magics.load_extension(shell)
        with warnings.catch_warnings(), patch.dict(os.environ):
            warnings.simplefilter("ignore", ResourceWarning)  # as in any kernel
            yield Kernel(shell, screen, statuses, events)
    finally:
        magics.unload_extension(shell)
        display.StatusLine = shown_by
        for name, value in saved.items():
            setattr(sys, name, value)
        atexit.unregister(shell.atexit_operations)
        if IPython.version_info < (9,):  # which has them from the beginning, and would keep every shell to the end
            atexit.unregister(shell.magics_manager.registry["ScriptMagics"].kill_bg_processes)
        shell.restore_sys_module_state()
        sys.modules["__main__"] = main
        for name in set(vars(builtins)) - known:
            delattr(builtins, name)
        for kind in (_Shell, InteractiveShell):
            kind._instance = None


def _random_state() -> Any:
    torch = sys.modules.get("torch")
    return random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist() if torch else None


def _adopt(shell: Any) -> None:
    """Make a shell the one that `get_ipython()` finds."""
    for kind in (_Shell, InteractiveShell):
        kind._instance = shell


# ---------------------------------------------------------------------------------------------------------
# saving at every boundary


@dataclass(frozen=True, slots=True)
class Photo:
    """A store as a SIGKILL at a boundary would leave it, and what the world had seen by then."""

    store: Path
    notes: tuple[Any, ...]
    progress: str


@dataclass
class Saves:
    """Whether to save at every boundary, and whom to tell."""

    everywhere: bool = False
    seen: Callable[[Any], None] = lambda _: None
    unprotected: list[str] = field(default_factory=list)
    """Why a save failed: no program here may have one."""

    @contextmanager
    def at_every_boundary(self, seen: Callable[[Any], None]) -> Iterator[None]:
        before = self.everywhere, self.seen
        self.everywhere, self.seen = True, seen
        try:
            yield
        finally:
            self.everywhere, self.seen = before


def take_over_the_clock(patch: Any) -> Saves:
    """Save when the test says so, never because time has passed."""
    saves = Saves()
    save = Run.save

    def start(schedule: Schedule) -> None:
        schedule.due = saves.everywhere

    def wants_snapshot(schedule: Schedule, *, turn: bool) -> bool:
        schedule.due = saves.everywhere
        return saves.everywhere

    def saving(run: Run, *args: Any, **options: Any) -> bool:
        saved = save(run, *args, **options)
        if not saved:
            saves.unprotected.append(run.status.unprotected)
        elif saves.everywhere:
            saves.seen(run)
        return saved

    patch.setattr(Schedule, "start", start)
    patch.setattr(Schedule, "wants_snapshot", wants_snapshot)
    patch.setattr(Run, "save", saving)
    return saves


# ---------------------------------------------------------------------------------------------------------
# plain, checkpointed, killed and resumed


@dataclass
class Outcome:
    """Everything that a cell leaves behind."""

    names: dict[str, Any]
    namespace: dict[str, Any]
    before: dict[str, Any]
    """The names as they were when the cell began."""
    result: Any
    underscore: Any
    out: Any
    error: str
    shown: list[tuple[str, str]]
    random: Any
    notes: tuple[Any, ...]

    def form(self, names: set[str]) -> dict[str, Any]:
        """What can be compared with another outcome."""
        found = {name: value for name, value in self.names.items() if name in names}
        return canonical({**found, "<result>": self.result, "<Out>": self.out}, self.namespace)


class Lab:
    """Runs programs in a folder of its own."""

    def __init__(self, place: Path, saves: Saves) -> None:
        self.place, self.saves = place, saves
        self.ledger = types.ModuleType("ledger")
        self.ledger.notes = []
        self.ledger.note = self.ledger.notes.append
        self.count = 0

    def marker(self, program: Program, store: Path, options: str = "") -> str:
        return f"%%checkpointed prog --store {store} {program.options} {options}\n"

    def folder(self) -> Path:
        self.count += 1
        return self.place / f"store{self.count}"

    def execute(
        self, program: Program, head: str = "", *, seed: int = 1, before: bool = True, notes: tuple[Any, ...] = ()
    ) -> tuple[Outcome, Kernel]:
        """Run a program in a new kernel; `head` goes on top of its cell."""
        with kernel(seed, extension=bool(head)) as new:
            return self.execute_in(new, program, head, before=before, notes=notes), new

    def execute_in(
        self, new: Kernel, program: Program, head: str = "", *, before: bool = True, notes: tuple[Any, ...] = ()
    ) -> Outcome:
        self.ledger.notes[:] = notes
        sys.modules["ledger"] = self.ledger
        for text in program.before if before else ():
            done = new.run(text)
            assert done.success, new.shell.tracebacks
        new.screen.clear()
        given = dict(new.names)
        done = new.run(head + program.cell)
        shown = new.screen.without(program.loose)
        error = done.error_before_exec or done.error_in_exec
        outcome = Outcome(
            {},
            new.shell.user_ns,
            given,
            done.result,
            new.shell.user_ns["_"],
            new.shell.user_ns["Out"].get(done.execution_count),
            f"{type(error).__name__}: {error}" if error else "",
            shown,
            _random_state(),
            tuple(self.ledger.notes),
        )
        for text in program.after:
            done = new.run(text)
            assert done.success, new.shell.tracebacks
        outcome.names = new.names
        return outcome

    def plain(self, program: Program) -> Outcome:
        outcome, new = self.execute(program)
        expected = program.fails
        assert outcome.error.partition(":")[0] == expected, new.shell.tracebacks or outcome.error
        return outcome

    def photographed(
        self, program: Program, store: Path, *, seed: int = 1, before: bool = True, notes: tuple[Any, ...] = ()
    ) -> tuple[Outcome, list[Photo]]:
        """Run a checkpointed cell; return also what a kill at each of its boundaries would leave."""
        photos: list[Photo] = []

        def look(run: Any) -> None:
            copy = self.folder()
            shutil.copytree(store, copy, copy_function=os.link)
            photos.append(Photo(copy, tuple(self.ledger.notes), run.status.progress))

        with self.saves.at_every_boundary(look):
            outcome, _ = self.execute(program, self.marker(program, store), seed=seed, before=before, notes=notes)
        return outcome, photos

    def resumed(self, program: Program, photo: Photo, *, before: bool, options: str = "") -> Outcome:
        """Run the cell again in a new kernel, from what a kill left."""
        seed = 1000 + self.count
        head = self.marker(program, photo.store, options)
        outcome, new = self.execute(program, head, seed=seed, before=before, notes=photo.notes)
        assert new.statuses, new.shell.tracebacks
        assert new.status.resumed_at, f"it did not resume: {new.shell.tracebacks}"
        return outcome

    def compare(self, program: Program, plain: Outcome, other: Outcome, *, before: bool = True) -> None:
        """Hold a run against the plain one."""
        assert not self.saves.unprotected
        assert other.error == plain.error
        assert other.shown == plain.shown
        order = sorted if program.unordered else list
        assert order(other.notes) == order(plain.notes), "an effect was missed or repeated"
        spare = set() if before else {n for n, v in plain.before.items() if plain.names.get(n) is v} - set(other.names)
        expected = set(plain.names) - spare - program.unsaved
        assert set(other.names) - program.unsaved == expected
        assert other.form(expected) == plain.form(expected)
        assert "random" in program.loose or other.random == plain.random
        if before or "_" not in plain.before:
            assert canonical({"_": other.underscore}, other.namespace) == canonical(
                {"_": plain.underscore}, plain.namespace
            )

    def kill_everywhere(self, program: Program) -> int:
        """Do it; return how many boundaries there were."""
        plain = self.plain(program)
        whole, photos = self.photographed(program, self.folder())
        with _about(program, "uninterrupted"):
            self.compare(program, plain, whole)
        assert len(photos) >= program.at_least, [photo.progress for photo in photos]
        photos = photos[:: -program.every][::-1]
        for number, photo in enumerate(photos):
            with _about(program, f"killed at boundary {number} ({photo.progress})"):
                self.compare(program, plain, self.resumed(program, self.copy(photo), before=True))
            if program.before and not program.needs_before and number % 2:
                with _about(program, f"killed at boundary {number} ({photo.progress}), nothing run before"):
                    again = self.resumed(program, self.copy(photo), before=False)
                    self.compare(program, plain, again, before=False)
        for first in {0, len(photos) // 2} if program.every == 1 else {len(photos) // 2}:
            self._killed_twice(program, plain, photos[first])
        self._in_the_same_kernel(program, plain, photos[len(photos) // 3])
        if not program.fails:
            self._finished(program, plain, photos[-1])
        return len(photos)

    def _killed_twice(self, program: Program, plain: Outcome, photo: Photo) -> None:
        store = self.copy(photo).store
        whole, photos = self.photographed(program, store, seed=77, notes=photo.notes)
        with _about(program, f"resumed at {photo.progress}, saving everywhere"):
            self.compare(program, plain, whole)
        for second in photos[:: max(1, len(photos) // 4)]:
            with _about(program, f"killed at {photo.progress} and again at {second.progress}"):
                self.compare(program, plain, self.resumed(program, second, before=True))

    def _in_the_same_kernel(self, program: Program, plain: Outcome, photo: Photo) -> None:
        """Nobody was killed: the cell was stopped, its names hold what they held, and it is run again."""
        with _about(program, f"resumed at {photo.progress} where the cell has run"), kernel(5) as same:
            self.execute_in(same, program)
            again = self.copy(photo)
            outcome = self.execute_in(same, program, self.marker(program, again.store), notes=photo.notes)
            assert same.status.resumed_at, same.shell.tracebacks
            outcome.before = plain.before
            self.compare(program, plain, outcome)

    def _finished(self, program: Program, plain: Outcome, photo: Photo) -> None:
        with _about(program, "executed again when finished"):
            finished = self.copy(photo)
            again = self.resumed(program, finished, before=True)
            self.compare(program, plain, again)
        with _about(program, "--fresh"):
            head = self.marker(program, finished.store, "--fresh")
            anew, new = self.execute(program, head)
            assert not new.status.resumed_at
            self.compare(program, plain, anew)

    def killed(self, cell: str, when: str, *, before: tuple[str, ...] = (), options: str = "") -> Path:
        """What is left of a cell killed at the first boundary at which `when` holds of its variables."""
        program = Program("killed", "", cell, before=before, options=options)
        store, left = self.folder(), self.folder()

        def look(run: Any) -> None:
            with suppress(NameError):
                if not left.exists() and eval(when, dict(run.namespace)):  # noqa: S307 - the test's own words
                    shutil.copytree(store, left, copy_function=os.link)

        with self.saves.at_every_boundary(look):
            self.execute(program, self.marker(program, store), before=True)
        assert left.exists(), f"it was never so that {when}"
        return left

    def again(
        self, store: Path, cell: str, options: str = "", *, before: tuple[str, ...] = ()
    ) -> tuple[Outcome, Kernel]:
        """Run a cell in a new kernel on what is left in a store."""
        program = Program("again", "", cell, before=before, options=options)
        return self.execute(program, self.marker(program, store), seed=99)

    def copy(self, photo: Photo) -> Photo:
        copy = self.folder()
        shutil.copytree(photo.store, copy, copy_function=os.link)
        return Photo(copy, photo.notes, photo.progress)


@contextmanager
def _about(program: Program, what: str) -> Iterator[None]:
    """Say in a failure which of the many runs it was."""
    try:
        yield
    except AssertionError as error:
        error.args = (f"{program.name}, {what}: {error.args[0] if error.args else ''}",)
        raise
