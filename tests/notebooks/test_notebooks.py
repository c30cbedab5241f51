"""Notebooks as people write them: killed at random moments, they end as if they had been left alone.

They lie beside this file and can be opened in Jupyter. Cells tagged `again` are those that a person runs again
in a new kernel who wants nothing but to go on: imports, and what cannot be saved.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest

from frameworks.conftest import needs
from kernels.notebook import ROOT, Notebook, Reply, notebook

HERE = Path(__file__).parent
MAGIC = "%%checkpointed"
SEEDS = range(int(os.environ.get("BOOKS_SEEDS", "1")))
"""How many times each notebook is killed, at other moments each time."""


@dataclass(frozen=True, slots=True)
class Book:
    """A notebook. `loose` are its variables that tell the time, or hold what does."""

    name: str
    library: str = ""
    """What it needs beyond what every test has, by the names of packages."""
    loose: frozenset[str] = frozenset()

    place: Path = HERE

    def __str__(self) -> str:
        return self.name

    @property
    def content(self) -> nbformat.NotebookNode:
        return nbformat.read(self.place / f"{self.name}.ipynb", as_version=nbformat.NO_CONVERT)

    @property
    def title(self) -> str:
        """The heading of its first cell."""
        return self.content.cells[0].source.partition("\n")[0].removeprefix("# ")

    @property
    def cells(self) -> list[nbformat.NotebookNode]:
        return [cell for cell in self.content.cells if cell.cell_type == "code"]

    @property
    def shows_bars(self) -> bool:
        """Whether what it writes to stderr tells the time."""
        return any("tqdm" in cell.source for cell in self.cells)


BOOKS = [
    Book("digits_search", "sklearn pandas", frozenset({"t0"})),
    Book("posterior_sampling", "tqdm"),
    Book("shortest_tour"),
    Book("shop_reports", "pandas", frozenset({"started", "took"})),
    Book("slow_service"),
    Book("pictures", "PIL tqdm"),
    Book("live_curve", "matplotlib"),
    Book("torch_training", "torch sklearn", frozenset({"start"})),
    Book("frozen_lake", "gymnasium matplotlib"),
    Book("boosting_study", "optuna sklearn pandas", frozenset({"study", "trial"})),
]

SHORTEST = "shortest_tour"
"""The one that every run kills; the others are slow."""

EXAMPLE = Book("pytorch", "torch tqdm", place=ROOT / "notebooks")
"""What the documentation shows, with what it showed."""


def test_the_example_shows_a_killed_run() -> None:
    """Its outputs are those of a kernel that resumed, in the order of the code, without errors."""
    nbformat.validate(EXAMPLE.content)
    outputs = {cell.id: cell.outputs for cell in EXAMPLE.cells}
    status, printed = outputs["train"]
    assert "resumed at epoch" in status["data"]["text/plain"]
    assert [line.partition(":")[0] for line in printed["text"].splitlines()] == [
        f"epoch {epoch:2}" for epoch in range(5, 31, 5)
    ]
    assert "weights: True" in outputs["result"][0]["text"]


def test_every_notebook_is_run() -> None:
    """No notebook lies here unread; each is valid, without outputs, and has one checkpointed cell."""
    assert sorted(book.name for book in BOOKS) == sorted(path.stem for path in HERE.glob("*.ipynb"))
    for book in BOOKS:
        nbformat.validate(book.content)
        assert all(cell.outputs == [] and cell.execution_count is None for cell in book.cells)
        assert sum(cell.source.startswith(MAGIC) for cell in book.cells) == 1


@pytest.mark.kernel
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "book",
    [pytest.param(book, marks=[pytest.mark.slow] if book.name != SHORTEST else []) for book in [*BOOKS, EXAMPLE]],
    ids=str,
)
def test_a_killed_notebook_ends_as_if_it_had_not_been(book: Book, seed: int, tmp_path: Path) -> None:
    """What it shows and every variable, whether it is run from the top again or from the killed cell on."""
    needs(*book.library.split())
    chance = random.Random(f"{book} {seed}")
    with reading(book, tmp_path / "plain") as plain:
        plain.read(magic=False)
        with reading(book, tmp_path / "whole") as whole:
            whole.read()
            whole.compare(plain)
            saves = whole.saves
        assert saves >= 8, "there is nothing to kill between"

        killed = tmp_path / "killed"
        kill(book, killed, chance.randint(1, saves - 2), chance)
        for way in ("top", "cell"):
            with reading(book, copy(killed, tmp_path / way)) as resumed:
                resumed.read(every_cell=way == "top")
                resumed.compare(plain)
        kill(book, killed, chance.randint(1, 3), chance, every_cell=False)
        with reading(book, killed) as resumed:
            resumed.read()
            resumed.compare(plain)


# ---------------------------------------------------------------------------------------------------------

_COUNT = """
from nbckpt.run.checkpoint import Run
Run.commits, save = 0, Run.save
def saving(run, *args, **options):
    done = save(run, *args, **options)
    Run.commits += done
    return done
Run.save = saving
"""
_KILL = """
import os, signal, threading
from nbckpt.run.checkpoint import Run
save, left = Run.save, [{after}]
def saving(run, *args, **options):
    done = save(run, *args, **options)
    left[0] -= done
    if done and not left[0]:
        if {delay}:
            threading.Timer({delay}, os.kill, (os.getpid(), signal.SIGKILL)).start()
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return done
Run.save = saving
"""


@dataclass
class Reading:
    """A notebook in the hands of somebody who runs its cells."""

    book: Book
    kernel: Notebook
    replies: dict[str, Reply] = field(default_factory=dict)
    """What the cells that were run came to, by their ids."""
    given: set[str] = field(default_factory=set)
    """The names that were there before the checkpointed cell."""

    def read(self, *, magic: bool = True, every_cell: bool = True) -> None:
        """Run the notebook, or the checkpointed cell, those below it, and what has to be run again."""
        for cell in self.before(every_cell=every_cell):
            self.run(cell.id, cell.source)
        self.given = self.kernel.names()
        self.kernel.hidden(_COUNT)
        for cell in self.after():
            self.run(cell.id, cell.source if magic else re.sub(f"{MAGIC}.*", "", cell.source))

    def before(self, *, every_cell: bool) -> list[nbformat.NotebookNode]:
        """The cells above the checkpointed one."""
        cells = self.book.cells[: self.place]
        return [cell for cell in cells if every_cell or "again" in cell.metadata.get("tags", ())]

    def after(self) -> list[nbformat.NotebookNode]:
        """The checkpointed cell and those below it."""
        return self.book.cells[self.place :]

    @property
    def place(self) -> int:
        return next(index for index, cell in enumerate(self.book.cells) if cell.source.startswith(MAGIC))

    def run(self, name: str, source: str) -> None:
        reply = self.replies[name] = self.kernel.run(source)
        assert reply.status == "ok", f"cell {name!r}: {reply.traceback or reply.error} {reply.said}"
        assert not any("NOT" in line for line in reply.said), reply.said

    @property
    def saves(self) -> int:
        """How many snapshots were committed."""
        count: int = self.kernel.value("__import__('nbckpt.run.checkpoint', fromlist=['Run']).Run.commits")
        return count

    def compare(self, plain: Reading) -> None:
        """Hold it against the notebook without nbckpt."""
        for name, reply in self.replies.items():
            assert self.seen(reply) == self.seen(plain.replies[name]), f"what cell {name!r} shows"
        names = self.kernel.names()
        lacking = plain.kernel.names() - names
        assert lacking <= plain.given - self.given, "a variable of the cell is missing"
        assert names <= plain.kernel.names()
        compared = names - self.book.loose
        assert self.kernel.form(compared) == plain.kernel.form(compared)

    def seen(self, reply: Reply) -> tuple[list[tuple[str, str]], str]:
        """What a cell shows, apart from the time; what is written to stderr has no place among the rest."""
        merged = Reply()
        for stream, text in reply.shown:
            if stream != "stderr":
                merged.add(stream, _without_time(text))
        return merged.shown, "" if self.book.shows_bars else _without_time(reply.text("stderr"))


def _without_time(text: str) -> str:
    return re.sub(r"\b\d+\.\d+ s\b|\b\d\d:\d\d:\d\d\b", "(time)", text)


def kill(book: Book, place: Path, after: int, chance: random.Random, *, every_cell: bool = True) -> None:
    """Run a notebook and kill it after some snapshots: at once, or a moment later."""
    delay = chance.choice([0, chance.uniform(0, 0.02), chance.uniform(0, 0.2)])
    with reading(book, place) as victim:
        for cell in victim.before(every_cell=every_cell):
            victim.run(cell.id, cell.source)
        victim.kernel.hidden(_KILL.format(after=after, delay=delay))
        victim.kernel.run_to_death(victim.after()[0].source)


def folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


@contextmanager
def reading(book: Book, place: Path) -> Iterator[Reading]:
    """A notebook in a new kernel."""
    with notebook(folder(place)) as kernel:
        yield Reading(book, kernel)
