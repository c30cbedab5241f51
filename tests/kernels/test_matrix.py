"""Every row of the table of what is saved, killed at a random moment in a real kernel and resumed in a new one.

`pytest tests/kernels/test_matrix.py --matrix` takes every program there is, not only the chosen ones.
"""

from __future__ import annotations

import random
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from frameworks.conftest import needs
from frameworks.test_frameworks import PROGRAMS as LIBRARIES
from programs.harness import Program, _overwritten
from programs.test_programs import PROGRAMS

from .notebook import PATIENCE, Notebook, Reply, notebook

CHOSEN = """
three_deep break_out_of_try_inside_loops opaque_loops an_error_at_the_end list_growing_while_iterated user_iterator
shuffled_batches_of_a_numpy_generator global_random_states dataframes aliases_with_earlier_cells classes_of_the_cell
closures top_level_await
""".split()
"""The programs that every run takes: of each kind of loop, of iterable, of state."""

MORE = """
break_continue_else if_inside_loops loops_in_a_with walrus deleted_names dicts_and_views enumerate_zip_reversed_filter
generator_expressions random_generators_in_variables state_dict_source optimizer_param_groups classes_of_an_earlier_cell
collections_of_the_standard_library
""".split()
"""Others of these kinds, with the slow tests; so are the libraries, which every run kills without a kernel."""

ONLY_IN_PROCESS = {
    "displays_that_are_updated": "a replay shows an updated display once",
    "a_lot_of_output": "the replay of what was cut is shorter",
    "shell_and_line_magics": "what a child process prints comes late",
    "sets": "another process orders strings otherwise",
    "itertools_headers": "another process orders strings otherwise",
    "torch_loss_printed_after_its_loop": "run once more in one kernel, to be counted, it begins with a result in use",
    "torch_compiled": "the compiler leaves names of its own, other ones in each process",
}
"""Programs that two processes need not do alike, and why."""

_DEADLY = '''
"""Imported by a kernel that is to die: every boundary is saved, and after one of them it kills itself."""
import os, signal
from nbckpt.run.checkpoint import Run
from nbckpt.run.schedule import Schedule

saved, last = 0, None
save = Run.save

def saving(run, *args, **options):
    global saved
    done = save(run, *args, **{**options, "durable": True})  # each counts, however long its writer takes
    saved += done
    if done and saved == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

def always(schedule, **_):
    schedule.due = True
    return True

def start(schedule):
    schedule.due = True

Run.save, Schedule.wants_snapshot, Schedule.start = saving, always, start
Schedule.insists = True
'''
_LEDGER = '''
"""Imported by cells: what they have done to the world."""
def note(what):
    with open("notes", "a") as file:
        file.write(f"{what!r}\\n")
'''
_OWN = r"_i*|_i?\d+|__|___|_[dio]h|In|Out|get_ipython|exit|quit|open|__\w+__"
_NAMES = f"sorted(name for name in globals() if not __import__('re').fullmatch({_OWN!r}, name))"
_UNCHANGED = "sorted(name for name, thing in __import__('deadly').given.items() if globals().get(name) is thing)"
_GIVEN = "setattr(__import__('ledger'), 'given', dict(globals()))"
_RANDOM = (
    "__import__('hashlib').sha256(repr((__import__('random').getstate(), *__import__('numpy').random.get_state(False)"
    "['state'].values())).encode() + __import__('numpy').random.get_state(False)['state']['key'].tobytes()).hexdigest()"
)


def _taken(config: pytest.Config) -> list[Any]:
    core = [program for program in PROGRAMS if program.name in {*CHOSEN, *MORE} or config.getoption("--matrix")]
    return [pytest.param(program, marks=_marks(program)) for program in [*core, *LIBRARIES]]


def _marks(program: Program) -> list[Any]:
    skip = [pytest.mark.skip(reason=ONLY_IN_PROCESS[program.name])] if program.name in ONLY_IN_PROCESS else []
    return skip if program.name in CHOSEN else [*skip, pytest.mark.slow]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "program" in metafunc.fixturenames:
        metafunc.parametrize("program", _taken(metafunc.config), ids=str)


def test_the_chosen_programs_are_there() -> None:
    """No name in the lists is of a program that was renamed."""
    assert {*CHOSEN, *MORE, *ONLY_IN_PROCESS} <= {program.name for program in [*PROGRAMS, *LIBRARIES]}


class Matrix:
    """One program in several kernels."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program = program
        self.plain_folder, self.folder = folder / "plain", folder / "killed"
        for place in (self.plain_folder, self.folder):
            place.mkdir()
            (place / "deadly.py").write_text(_DEADLY)
            (place / "ledger.py").write_text(_LEDGER)

    def cell(self, store: str) -> str:
        return f"%%checkpointed prog --store {store} {self.program.options}\n{self.program.cell}"

    def before(self, book: Notebook, seed: int) -> None:
        """Random state that the test knows, and the cells before this one."""
        book.value(f"__import__('random').seed({seed}) or __import__('numpy').random.seed({seed})")
        if "torch" in self.program.library.split():  # whose seed is another one in each process
            book.value(f"__import__('torch').manual_seed({seed}).initial_seed()")
        for text in self.program.before:
            book.ok(text)

    def plain(self) -> None:
        """Run the cell without interruption, and then once more to count its boundaries."""
        with notebook(self.plain_folder) as book:
            self.before(book, 1)
            book.value(_GIVEN)
            self.reply = book.run(self.program.cell)
            assert self.reply.error.partition(":")[0] == self.program.fails, self.reply.traceback
            self.notes = self.noted(self.plain_folder)
            self.names = set(book.value(_NAMES)) - self.program.unsaved
            self.unchanged = set(book.value(_UNCHANGED.replace("deadly", "ledger")))
            self.random = book.value(_RANDOM)
            self.form = self.form_of(book, self.names)
            self.form_without = self.form_of(book, self.names - self.unchanged)
            book.value("setattr(__import__('deadly'), 'last', None)")
            book.run(self.cell("counted"))
            self.boundaries = int(book.value("__import__('deadly').saved"))

    def kill(self, seed: int) -> int:
        """Run the cell until a random one of its snapshots is committed; return which one it was."""
        last = random.Random(seed).randint(1, max(1, self.boundaries - 1))
        with notebook(self.folder) as book:
            self.before(book, 1)
            book.value(f"setattr(__import__('deadly'), 'last', {last})")
            book.send(self.cell("store"))
            book.manager.provisioner.process.wait(PATIENCE)
        return last

    def resume(self, *, before: bool) -> None:
        """Go on in a new kernel, and hold what comes out against the plain run."""
        with notebook(self.folder) as book:
            if before:
                self.before(book, 2)
            reply = book.run(self.cell("store"))
            assert any("resumed at" in line for line in reply.said), [reply.said, reply.traceback]
            names = set(book.value(_NAMES)) - self.program.unsaved
            expected = self.names if before or names >= self.names else self.names - (self.unchanged - names)
            assert names == expected
            form = self.form if expected == self.names else self.form_of_plain(expected)
            if form is not None:
                assert self.form_of(book, expected) == form
            if "random" not in self.program.loose:
                assert book.value(_RANDOM) == self.random
        assert reply.error == self.reply.error
        for stream in ("stdout", "stderr", "display_data", "execute_result"):
            noise = stream == "stderr" and self.program.library  # libraries tell there what they like, and when
            if stream not in self.program.loose and not noise:
                assert _shown(reply, stream) == _shown(self.reply, stream)
        assert self.noted(self.folder) == self.notes, "an effect was missed or repeated"

    def form_of_plain(self, expected: set[str]) -> str | None:
        return self.form_without if expected == self.names - self.unchanged else None

    def form_of(self, book: Notebook, names: set[str]) -> str:
        """The values of some names, and what they share."""
        chosen = f"{{name: globals()[name] for name in {sorted(names)!r}}}"
        return str(book.value(f"repr(__import__('programs.canonical').canonical.canonical({chosen}, globals()))"))

    def noted(self, folder: Path) -> list[str]:
        notes = folder / "notes"
        lines = notes.read_text().splitlines() if notes.exists() else []
        return sorted(lines) if self.program.unordered else lines


def _shown(reply: Reply, stream: str) -> str:
    return _overwritten(reply.text(stream))


@pytest.fixture
def matrix(program: Program, folder: Path) -> Matrix:
    needs(*program.library.split())
    return Matrix(program, folder)


def test_a_row_killed_at_a_random_moment(program: Program, matrix: Matrix) -> None:
    """It ends as if it had not been killed, whether the earlier cells run again or not."""
    seed = zlib.crc32(program.name.encode())
    matrix.plain()
    last = matrix.kill(seed)
    for before in (True, False) if program.before and not program.needs_before else (True,):
        try:
            notes, store = _kept(matrix.folder)
            matrix.resume(before=before)
        except AssertionError as error:
            where = (
                f"killed at boundary {last} of {matrix.boundaries}, {'with' if before else 'without'} what is before"
            )
            error.args = (f"{program.name}, {where}: {error.args[0] if error.args else ''}",)
            raise
        _restore(matrix.folder, notes, store)


def _kept(folder: Path) -> tuple[bytes | None, dict[Path, bytes]]:
    """What a killed kernel left, to begin from it a second time."""
    notes = folder / "notes"
    store = {path: path.read_bytes() for path in (folder / "store").rglob("*") if path.is_file()}
    return notes.read_bytes() if notes.exists() else None, store


def _restore(folder: Path, notes: bytes | None, store: dict[Path, bytes]) -> None:
    for path in (folder / "store").rglob("*"):
        if path.is_file() and path not in store:
            path.unlink()
    for path, content in store.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if notes is not None:
        (folder / "notes").write_bytes(notes)


_LONG = {
    "training": """
import random
import numpy as np
rng = np.random.default_rng(3)
random.seed(5)
X, w, losses = rng.normal(size=(64, 5)), np.zeros(5), []
first = w[:2]
for epoch in range(40):
    for k in rng.permutation(64)[:12]:
        w += 0.01 * (1 - X[k] @ w) * X[k]
        random.random()
        for _ in range(3000):
            pass
    losses.append(float(np.abs(w).sum()))
    print(epoch, losses[-1])
float(first.sum()), first.base is w, random.random()
""",
    "counting": """
import collections
words, counts, seen = [f"w{k % 17}" for k in range(3000)], collections.Counter(), []
for k, word in enumerate(words):
    counts[word] += len(seen) % 3
    if k % 100 == 0:
        seen.append(counts)
        print(k, counts.most_common(1))
    for _ in range(1000):
        pass
len(seen), all(one is counts for one in seen)
""",
}


@pytest.mark.parametrize("delay", [0.3, *(pytest.param(delay, marks=pytest.mark.slow) for delay in (0.05, 0.8))])
@pytest.mark.parametrize("about", _LONG)
def test_a_kernel_killed_from_outside(about: str, delay: float, folder: Path) -> None:
    """Nobody in the kernel knows when: the newest snapshot that was committed is where it goes on."""
    head = "%%checkpointed train --every 20ms\n"
    with notebook(folder) as book:
        plain, form = book.ok(_LONG[about]), book.form()
    with notebook(folder) as book:
        sent = book.send(head + _LONG[about])
        first = book.watch(sent, "\n")
        assert first.text()
        pause = delay * random.Random(zlib.crc32(f"{about}{delay}".encode())).uniform(0.7, 1.3)
        timer = threading.Timer(pause, book.manager.provisioner.process.kill)
        timer.start()
        book.manager.provisioner.process.wait(PATIENCE)
    with notebook(folder) as book:
        resumed = book.ok(head + _LONG[about])
        assert book.form() == form
    assert resumed.text() == plain.text()
    assert resumed.text("execute_result") == plain.text("execute_result")
