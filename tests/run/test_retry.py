"""`--retry`: a cell that failed goes on from its newest snapshot, and ends as if it had not failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nbckpt.errors import StoreError
from nbckpt.run import retry
from nbckpt.storage.repository import Repository
from programs.harness import Kernel, Lab, Program, kernel


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each try waited, which no test does."""
    waited: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", waited.append)
    return waited


FLAKY = (
    "import asyncio, ledger\nclass Flaky(Exception):\n    pass\n"
    "def flaky(k):\n    ledger.tried = getattr(ledger, 'tried', 0) + 1\n"
    "    if ledger.tried == ledger.fails_at:\n        raise Flaky(k)\n"
)
CELLS = {
    "a loop": (
        "import random\nout = []\nfor k in range(5):\n    out.append(random.random())\n    flaky(k)\n"
        "    print(k)\nout\n"
    ),
    "nested loops": (
        "from __future__ import annotations\nimport random\nfrom math import *\nrows = []\nfor i in range(3):\n"
        "    row = []\n    rows.append(row)\n    for j in range(3):\n        row.append(random.random())\n"
        "        flaky(j)\n    print(i, sum(row))\nlast = rows[-1]\nlen(rows), last is rows[2]\n"
    ),
    "while, with and if": (
        "import contextlib\nn, seen = 0, {}\nwith contextlib.suppress(KeyError):\n    while n < 4:\n        n += 1\n"
        "        if n % 2:\n            seen[n] = n\n        flaky(n)\n    seen['missing']\n"
        "print(n)\ntotal = sum(seen)\n"
    ),
    "await": (
        "out = []\nasync def later(k):\n    await asyncio.sleep(0)\n    flaky(k)\n    return k\n"
        "for k in range(4):\n    out.append(await later(k))\n    print(k)\nawait later(9)\n"
    ),
    "a comprehension and figures that change place": (
        "import os\nos.environ['STEP'] = '0'\nsquares = [flaky(k) or k * k for k in range(4)]\nfor k in range(3):\n"
        "    os.environ['STEP'] += str(k)\n    flaky(k)\nos.environ.pop('STEP')\n"
    ),
    "a resumable function": (
        "import nbckpt\n@nbckpt.resumable\ndef train(n):\n    acc = []\n    for k in range(n):\n        acc.append(k)\n"
        "        flaky(k)\n    return acc\nout = train(4)\nsum(out)\n"
    ),
}


@pytest.mark.parametrize("about", CELLS)
def test_a_cell_that_fails_anywhere_ends_as_one_that_does_not(lab: Lab, about: str) -> None:
    """The same names, values, sharing, random state, result and recorded output, wherever it had failed once."""
    program = Program(about, "", CELLS[about], before=(FLAKY,), options="--retry 1")
    lab.ledger.fails_at = lab.ledger.tried = 0
    plain = lab.plain(program)
    calls = lab.ledger.tried
    assert calls >= 4
    for fails_at in range(1, calls + 1, 1 + calls // 5):
        lab.ledger.fails_at, lab.ledger.tried = fails_at, 0
        store = lab.folder()
        with lab.saves.at_every_boundary(lambda _: None):
            outcome, book = lab.execute(program, lab.marker(program, store))
        assert book.events.count("retrying") == 1, book.shell.tracebacks
        outcome.shown = plain.shown  # that of the failed attempt stays on the screen
        lab.compare(program, plain, outcome)
        lab.ledger.fails_at = 0
        again, _ = lab.execute(program, lab.marker(program, store), seed=5)
        lab.compare(program, plain, again)


def attempts(lab: Lab, cell: str, options: str, before: str = "") -> tuple[Any, Kernel]:
    """Run a cell that saves after every iteration; `errors` are raised by `fail()`, one each time, until None."""
    program = Program("failing", "", cell, before=(before,) if before else (), options=options)
    with lab.saves.at_every_boundary(lambda _: None):
        return lab.execute(program, lab.marker(program, lab.folder()))


def test_what_is_shown(lab: Lab) -> None:
    """The failed attempt's output stays, a line says what is done, and the rest comes below it, once."""
    cell = (
        "import ledger\nfor k in range(4):\n    print('begun', k)\n    if k == 2 and not ledger.notes:\n"
        "        ledger.note(k)\n        raise ConnectionError('no\\nroute')\n    print('done', k)\n'result'\n"
    )
    done, book = attempts(lab, cell, "--retry 3")
    assert not done.error
    assert done.result == "result"
    text = "begun 0\ndone 0\nbegun 1\ndone 1\nbegun 2\nbegun 2\ndone 2\nbegun 3\ndone 3\n"
    assert done.shown == [("stdout", f"{text}Out: 'result'\n")]
    assert book.status.retry == "retry 1 of 3 after ConnectionError: no, from k 2 of 4, in 1 s"
    assert book.shell.tracebacks == []
    assert book.events.count("finished") == 1


def test_an_error_that_comes_again_is_raised_as_it_is(lab: Lab, pauses: list[float]) -> None:
    """After so many tries, each after a longer pause; the traceback is that of the user's own lines."""
    cell = "import ledger\ndef work(k):\n    ledger.note(k)\n    if k == 2:\n        raise ValueError('bad')\n"
    cell += "for k in range(4):\n    work(k)\n"
    plain = lab.plain(Program("plain", "", cell, fails="ValueError"))
    done, book = attempts(lab, cell, "--retry 3")
    assert done.error == plain.error == "ValueError: bad"
    assert pauses == [1.0, 2.0, 4.0]
    # twice from where it failed, then from the snapshot before that one
    assert done.notes == (0, 1, 2, 2, 2, 1, 2), [book.status.notices, lab.saves.unprotected]
    (shown,) = book.shell.tracebacks
    assert [line for line in shown.splitlines() if "nbckpt" in line] == []
    assert book.status.error == "ValueError: bad"
    assert "tried again 3 times without progress" in book.status.notices
    assert book.status.saved_progress == "k 2 of 4"
    assert book.events[-1] == "stopped"


def test_progress_brings_back_the_tries(lab: Lab, pauses: list[float]) -> None:
    """A cell that fails again and again, but further on each time, comes to its end, whatever the number of tries."""
    cell = (
        "import ledger\nfor k in range(5):\n    if ledger.notes.count(k) == 0:\n        ledger.note(k)\n"
        "        raise OSError(k)\n'end'\n"
    )
    done, book = attempts(lab, cell, "--retry 1")
    assert done.result == "end"
    assert pauses == [1.0] * 5
    assert book.events.count("retrying") == 5


def test_a_snapshot_with_which_it_cannot_go_on_is_left_for_the_one_before(lab: Lab) -> None:
    """Two failures straight after a restore, and the one before it is taken; the newer one is not lost by that."""
    cell = (
        "import ledger\npoison = False\nfor k in range(5):\n    if poison:\n        ledger.note('failed')\n"
        "        raise RuntimeError(k)\n    if k == 2 and not ledger.notes:\n        poison = True\n"
        "    done = k\ndone\n"
    )
    kept: list[list[str]] = []

    def look(run: Any) -> None:
        if lab.ledger.notes:
            kept.append([info.description["progress"] for info in run.repository.history("prog")])

    program = Program("poisoned", "", cell, options="--retry 3")
    with lab.saves.at_every_boundary(look):
        done, book = lab.execute(program, lab.marker(program, lab.folder()))
    assert (done.result, done.names["poison"]) == (4, False)
    assert done.notes == ("failed",) * 3
    assert book.status.retry == "retry 3 of 3 after RuntimeError: 3, from k 2 of 5, in 4 s"
    assert kept[0] == ["k 3 of 5", "k 3 of 5", "k 2 of 5"], "the older k 3 is the one that was left"


def test_a_cell_that_was_killed_before_is_tried_again_from_there(lab: Lab, pauses: list[float]) -> None:
    """What an earlier kernel saved is the cell's own, as far as it went on from that, before it has saved, too."""
    cell = "import ledger\nseen = []\nfor k in range(5):\n    seen.append(k)\n    ledger.fail(k)\nseen\n"
    lab.ledger.fail = lambda _: None
    left = lab.killed(cell, "len(seen) == 3")
    failures = [OSError("again"), OSError("and again")]

    def fail(k: int) -> None:
        if k == 3 and failures:
            raise failures.pop()

    lab.ledger.fail = fail
    done, book = lab.again(left, cell, "--retry 2 --every 1h")
    assert done.result == [0, 1, 2, 3, 4], book.shell.tracebacks
    assert book.status.retry == "retry 2 of 2 after OSError: again, from k 2 of 5, in 2 s"
    assert pauses == [1.0, 2.0]


def test_what_was_saved_by_others_is_never_gone_on_from(lab: Lab) -> None:
    """With `--fresh`, a cell that fails before it saved anything is not tried again from what it was to leave alone."""
    cell = "import ledger\nledger.note('ran')\nfor k in range(3):\n    pass\n1 / len(ledger.notes[1:])\n"
    store = lab.folder()
    program = Program("before", "", cell.replace("1 / ", ""), options="--retry 2")
    lab.execute(program, lab.marker(program, store))
    program = Program("fresh", "", cell, options="--retry 2 --fresh --every 1h")
    done, book = lab.execute(program, lab.marker(program, store))
    assert done.error.startswith("ZeroDivisionError")
    assert done.notes == ("ran",)
    assert "not tried again: nothing was saved that it could go on from" in book.notices


@pytest.mark.parametrize(
    "error", ["NameError", "SyntaxError", "ImportError", "NotImplementedError", "KeyboardInterrupt"]
)
def test_what_would_come_again_is_not_tried(lab: Lab, error: str) -> None:
    """Errors in the code, and what is no error."""
    done, book = attempts(lab, f"for k in range(3):\n    if k:\n        raise {error}('x')\n", "--retry 3")
    assert done.error.startswith(error)
    assert "retrying" not in book.events


def test_nbckpts_own_errors_are_not_tried(lab: Lab) -> None:
    """A cell that could never be resumed says why, once."""
    cell = "import nbckpt\nfor k in range(3):\n    nbckpt.log(loss='x')\n"
    done, book = attempts(lab, cell, "--retry 3")
    assert done.error.startswith("OptionError")
    assert "retrying" not in book.events


@pytest.mark.parametrize(
    ("types", "tried"),
    [
        ("OSError", True),
        ("ValueError,TimeoutError", True),
        ("socket.timeout", True),
        ("Slow", True),
        ("Own", True),
        ("errors.Slow", True),
        ("ValueError", False),
    ],
)
def test_only_the_errors_that_are_named(lab: Lab, types: str, tried: bool) -> None:
    """Builtins, those of modules and of the notebook, also of the cell itself; subclasses count."""
    before = "import types\nclass Slow(TimeoutError):\n    pass\nerrors = types.SimpleNamespace(Slow=Slow)\n"
    cell = (
        "import ledger\nclass Own(Slow):\n    pass\nfor k in range(3):\n    if k and not ledger.notes:\n"
        "        ledger.note(k)\n        raise Own\n"
    )
    done, book = attempts(lab, cell, f"--retry 1 --retry-on {types}", before)
    assert (not done.error, "retrying" in book.events) == (tried, tried)
    done, book = attempts(
        lab, "for k in range(3):\n    1 / 0\nOwn = Slow = 3\n", f"--retry 1 --retry-on {types}", before
    )
    assert done.error == "ZeroDivisionError: division by zero", "also where the name is not bound yet"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--retry 1 --retry-on ValueErorr", "--retry-on ValueErorr is not known here"),
        ("--retry 1 --retry-on json.Nothing", "--retry-on json.Nothing is not known here"),
        ("--retry 1 --retry-on print", "--retry-on print is no exception"),
        ("--retry 1 --retry-on KeyboardInterrupt", "never tried again"),
        ("--retry 1 --retry-on OSError,ModuleNotFoundError", "never tried again"),
        ("--retry 1 --retry-on Value-Error", "is not the name of an exception"),
        ("--retry-on OSError", "add --retry 3"),
        ("--retry many", "--retry 'many' is not a number of tries"),
        ("--retry -1", "--retry"),
    ],
)
def test_options_that_make_no_sense(lab: Lab, options: str, says: str) -> None:
    """They are refused before the cell costs anything."""
    done, book = attempts(lab, "import ledger\nfor k in range(3):\n    ledger.note(k)\n", options)
    assert says in done.error + "".join(book.shell.tracebacks)
    assert done.notes == ()


@pytest.mark.parametrize("interactivity", ["last_expr", "all", "none", "last", "last_expr_or_assign"])
def test_what_ipython_displays_is_the_same(lab: Lab, interactivity: str) -> None:
    """Whatever of the cell's expressions it was told to show."""
    shown = []
    for options in ("", "--retry 2"):
        with kernel() as book:
            book.shell.ast_node_interactivity = interactivity
            book.run(f"%%checkpointed prog --store {lab.folder()} {options}\n1\nfor k in range(2):\n    k\nx = 3\nx\n")
            shown.append(book.screen.shown)
    assert shown[0] == shown[1]


def test_a_store_that_is_away_when_the_cell_fails(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause may be what it needs: that it is away is one more try, and then the cell's own error is raised."""
    cell = (
        "import ledger\nfor k in range(4):\n    if k == 2 and len(ledger.notes) < ledger.fails:\n"
        "        ledger.note(k)\n        raise ConnectionError('cell')\n'end'\n"
    )
    load, history, away = Repository.load, Repository.history, [3]

    def absent(method: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if lab.ledger.notes and away[0]:
                away[0] -= 1
                raise StoreError("the store is away")
            return method(*args, **options)

        return call

    monkeypatch.setattr(Repository, "load", absent(load))
    monkeypatch.setattr(Repository, "history", absent(history))
    lab.ledger.fails = 1
    done, book = attempts(lab, cell, "--retry 4")
    assert done.result == "end", book.shell.tracebacks
    away[0] = 100
    done, book = attempts(lab, cell, "--retry 2")
    assert done.error == "ConnectionError: cell"
    assert book.events.count("retrying") == 2


def test_a_cell_that_can_be_gone_on_with_by_hand_only(lab: Lab) -> None:
    """Where a resume is refused, the cell's own error is the one that is raised, and the refusal its cause."""
    cell = "with open('out.txt', 'w') as f:\n    for k in range(3):\n        if k == 1:\n"
    cell += "            raise OSError('mine')\n"
    done, book = attempts(lab, cell, "--retry 2")
    assert done.error == "OSError: mine"
    assert "would open its file for writing again" in "".join(book.shell.tracebacks)


def test_the_first_thing_that_fails(workplace: Path) -> None:
    """There is a snapshot to go back to before the first statement, however seldom snapshots are asked for."""
    cell = (
        "%%checkpointed first --retry 1 --every 1h\nimport os\nx.append(1)\nos.environ['X'] = str(len(x))\n"
        "if not os.path.exists('failed'):\n    open('failed', 'w').close()\n    raise OSError\nx, os.environ.pop('X')\n"
    )
    with kernel() as book:
        book.run("x = []\n")
        done = book.run(cell)
        assert done.success, book.shell.tracebacks
        assert done.result == ([1], "1")
        assert book.status.retry == "retry 1 of 1 after OSError, from line 2, in 1 s"


def test_a_store_whose_name_is_relative(workplace: Path) -> None:
    """It is found again from another folder, to which the attempt that failed had changed."""
    Path("other").mkdir()
    cell = (
        "%%checkpointed moved --retry 1 --every 1it\nimport os, pathlib\nfor k in range(4):\n    if k == 1:\n"
        "        os.chdir('other')\n    if k == 2 and not pathlib.Path('failed').exists():\n"
        "        pathlib.Path('failed').touch()\n        raise OSError\nos.getcwd()\n"
    )
    with kernel() as book:
        done = book.run(cell)
        assert done.success, book.shell.tracebacks
        assert book.status.resumed_at == "k 2 of 4"
        assert done.result == str(workplace / "other")
        assert not (workplace / "other" / ".nbckpt").exists()


def test_an_error_that_cannot_say_what_it_is(lab: Lab) -> None:
    """It is tried again like another; what shows it in the end is IPython."""
    before = "class Odd(Exception):\n    def __str__(self):\n        raise RuntimeError\n"
    program = Program("odd", "", "for k in range(3):\n    raise Odd\n", before=(before,), options="--retry 1")
    with kernel() as book, lab.saves.at_every_boundary(lambda _: None):
        book.run(before)
        book.run(lab.marker(program, lab.folder()) + program.cell)
        assert book.status.retry == "retry 1 of 1 after Odd, from line 2, in 1 s"


def test_an_interrupt_before_the_error(workplace: Path) -> None:
    """Somebody wants the cell to stop: that the iteration fails which was to end first is no reason to go on."""
    cell = (
        "%%checkpointed prog --retry 3 --every 1it\nimport signal\nfor k in range(4):\n    if k == 2:\n"
        "        signal.raise_signal(signal.SIGINT)\n        raise OSError\n"
    )
    with kernel() as book:
        done = book.run(cell)
        assert isinstance(done.error_in_exec, OSError)
        assert "retrying" not in book.events


def test_an_interrupt_in_the_pause(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops the cell at once, with no frame of ours in what is shown, and the snapshot stands."""

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(retry.time, "sleep", interrupted)
    done, book = attempts(lab, "for k in range(3):\n    if k == 1:\n        raise OSError\n", "--retry 2")
    assert done.error.startswith("KeyboardInterrupt")
    assert book.status.saved_progress == "k 1 of 3"
    assert "nbckpt/run/retry.py" not in "".join(book.shell.tracebacks)
