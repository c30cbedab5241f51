"""What resumable functions are outside of a run, which are refused, and what an edit does."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nbckpt
from programs.harness import Lab, Outcome, Photo, Program

TRAIN = """
import nbckpt
@nbckpt.resumable
def train(n):
    a = 1
    for k in range(n):
        for j in range(2):
            a += j
    return a
"""


def made(tmp_path: Path, text: str) -> dict[str, Any]:
    """The names of a module with this text."""
    path = tmp_path / "made.py"
    path.write_text(text)
    module = types.ModuleType("made")
    exec(compile(text, str(path), "exec"), vars(module))
    return vars(module)


def test_outside_of_a_run_a_resumable_function_is_the_function(tmp_path: Path) -> None:
    """Nothing about it differs: it is the same object with the same code."""
    marked = made(tmp_path, TRAIN)["train"]
    plain = made(tmp_path, TRAIN.replace("@nbckpt.resumable", "#"))["train"]
    assert marked(3) == plain(3) == 4
    assert marked.__code__.co_code == plain.__code__.co_code
    assert inspect.signature(marked) == inspect.signature(plain)
    assert marked.__closure__ is None


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("@nbckpt.resumable\ndef f():\n    yield 1\n", "f is a generator"),
        ("@nbckpt.resumable\nasync def f():\n    yield 1\n", "f is a generator"),
        ("@nbckpt.resumable\nclass A: pass\n", "is for functions written with `def`"),
        (
            "import functools\nwraps = functools.wraps(print)\n@nbckpt.resumable\n@wraps\ndef f(): pass\n",
            "is for the function alone",
        ),
    ],
)
def test_what_cannot_be_resumed_is_refused_when_it_is_decorated(tmp_path: Path, text: str, match: str) -> None:
    """The error says what to decorate instead."""
    with pytest.raises(nbckpt.OptionError, match=match):
        made(tmp_path, f"import nbckpt\n{text}")


def test_a_function_without_source_stays_ordinary() -> None:
    """It says so, and works."""
    names: dict[str, Any] = {}
    with pytest.warns(UserWarning, match="leaves it an ordinary function"):
        exec(TRAIN, names)
    assert names["train"](2) == 3


def test_static_and_class_methods_can_be_decorated_on_top(tmp_path: Path) -> None:
    """They are looked through."""
    text = "import nbckpt\nclass A:\n    @nbckpt.resumable\n    @staticmethod\n    def f(x):\n        return x\n"
    assert made(tmp_path, text)["A"].f(3) == 3


def _photo(lab: Lab, cell: str, number: int = 9, before: str = TRAIN) -> Path:
    """What is left of a cell that is killed at one of its boundaries, in a function."""
    _, photos = lab.photographed(Program("killed", "", cell, before=(before,)), lab.folder())
    assert "train()" in photos[number].progress
    return photos[number].store


Edit = Callable[[str], str]


@pytest.mark.parametrize(
    ("edit", "value"),
    [
        (lambda text: text.replace("    return a", "    # done\n    return a, a"), (5, 5)),
        (lambda text: text.replace("a += j", "a += 100 * j"), 203),
        (lambda text: text.replace("range(n)", "range(n + 1)"), 6),
        (
            lambda text: text.replace("(n)", "(n, *m, k=7, **o)", 1).replace("return a", "return a, m, k, o"),
            (5, (), 3, {}),
        ),
        (lambda text: text.replace("(n)", "(n, m=7)", 1).replace("return a", "return a, m"), (5, 7)),
    ],
    ids=["code not reached", "body in progress", "header that extends", "parameters of any kind", "a parameter"],
)
def test_a_function_may_be_edited_where_it_has_not_run(lab: Lab, edit: Edit, value: Any) -> None:
    """By the rules for cells."""
    store = _photo(lab, "x = train(4)\ny = [x]\n")
    outcome, new = lab.again(store, "x = train(4)\ny = [x]\n", before=(edit(TRAIN),))
    assert not outcome.error, new.shell.tracebacks
    assert new.status.resumed_at
    assert outcome.names["x"] == value


def test_a_new_parameter_without_a_value_is_refused(lab: Lab) -> None:
    """The call in progress was made without it."""
    edited = TRAIN.replace("(n)", "(n, m)", 1).replace("return a", "return a, m")
    outcome, _ = lab.again(_photo(lab, "x = train(4)\n"), "x = train(4)\n", before=(edited,))
    assert "CellChangedError" in outcome.error
    assert "its parameter m is new" in outcome.error


@pytest.mark.parametrize("where", ["an earlier cell", "the cell"])
def test_a_function_that_was_edited_where_it_had_run_is_refused(lab: Lab, where: str) -> None:
    """With the diff, and without touching anything."""
    cell = "x = train(4)\ny = [x]\n"
    edited = TRAIN.replace("a = 1", "a = 2")
    if where == "an earlier cell":
        store = _photo(lab, cell)
        outcome, _ = lab.again(store, cell, before=(edited,))
        assert "x" not in outcome.names
    else:
        store = _photo(lab, TRAIN + cell, before="")
        outcome, _ = lab.again(store, edited + cell)
    assert "CellChangedError: train() is not the one that was saved" in outcome.error
    assert "+    a = 2" in outcome.error


def test_a_function_that_was_edited_starts_over_if_asked_to(lab: Lab) -> None:
    """`--on-change restart`."""
    cell = "x = train(4)\ny = [x]\n"
    outcome, _ = lab.again(_photo(lab, cell), cell, "--on-change restart", before=(TRAIN.replace("a = 1", "a = 2"),))
    assert not outcome.error
    assert outcome.names["x"] == 6


def test_a_function_that_lost_its_decorator_is_refused(lab: Lab) -> None:
    """It cannot be entered in its middle any more."""
    cell = "x = train(4)\ny = [x]\n"
    outcome, _ = lab.again(_photo(lab, cell), cell, before=(TRAIN.replace("@nbckpt.resumable", ""),))
    assert "not @nbckpt.resumable any more" in outcome.error


OPENING = """
import nbckpt, os
@nbckpt.resumable
def train(n):
    out = open(os.devnull, "a")
    for k in range(n):
        for j in range(2):
            pass
    out.write("x")
    return n
"""


def test_an_open_file_that_a_function_needs_is_named(lab: Lab) -> None:
    """It is left out with a notice, and the resumed run says that it is missing instead of failing later."""
    store = _photo(lab, "x = train(4)\n", before=OPENING)
    outcome, _ = lab.again(store, "x = train(4)\n", before=(OPENING,))
    assert "MissingVariableError" in outcome.error
    assert "train().out" in outcome.error


def test_a_file_that_a_with_statement_opens_comes_back(lab: Lab) -> None:
    """Entering the statement again makes it again."""
    text = OPENING.replace('out = open(os.devnull, "a")', "out = 1").replace(
        '    for k in range(n):\n        for j in range(2):\n            pass\n    out.write("x")\n',
        '    with open(os.devnull, "a") as out:\n        for k in range(n):\n            for j in range(2):\n'
        '                pass\n        out.write("x")\n',
    )
    store = _photo(lab, "x = train(4)\n", before=text)
    outcome, new = lab.again(store, "x = train(4)\n", before=(text,))
    assert not outcome.error, new.shell.tracebacks


def test_what_cannot_be_saved_in_a_local_variable_is_named(lab: Lab) -> None:
    """The run is unprotected, and says which variable of which function it is."""
    text = OPENING.replace('open(os.devnull, "a")', "(k for k in [1])").replace('out.write("x")', "next(out)")
    lab.photographed(Program("unprotected", "", "x = train(4)\n", before=(text,)), lab.folder())
    assert any("train().out cannot be saved" in why for why in lab.saves.unprotected), lab.saves.unprotected


def test_the_traceback_of_a_resumed_function_shows_its_own_lines(lab: Lab) -> None:
    """As a plain one does: none of nbckpt's own frames, and the source of the function."""
    text = TRAIN.replace("return a", "raise ValueError(a)")
    _, photos = lab.photographed(Program("fails", "", "train(2)\n", before=(text,)), lab.folder())
    _, new = lab.again(photos[4].store, "train(2)\n", before=(text,))
    (shown,) = new.shell.tracebacks
    assert "raise ValueError(a)" in shown
    assert "nbckpt/run" not in shown


@pytest.mark.parametrize("imports", ["import random", "try:\n    import random\nexcept ImportError:\n    pass"])
def test_a_module_that_imports_may_call_what_it_imported(tmp_path: Path, imports: str) -> None:
    """Python compiles such calls in another way, and the function has its source all the same."""
    text = (
        f"{imports}\nimport os.path as p\n{TRAIN.replace('a += j', 'a += j * len(p.join(str(random.random())[:1]))')}"
    )
    assert made(tmp_path, text)["train"](2) == 3


STEPS = (
    TRAIN.replace("train", "train_unheard_of")
    + """
class Trainer:
    @nbckpt.resumable
    def fit_unheard_of(self):
        for k in range(2):
            for j in range(2):
                pass
"""
)


@pytest.mark.parametrize(
    "cell",
    [
        "from PACKAGE.steps import train_unheard_of\nx = train_unheard_of(2)\n",
        "import PACKAGE.steps as steps\nx = steps.train_unheard_of(2)\n",
        "from PACKAGE import train_unheard_of\nx = train_unheard_of(2)\n",
        "from PACKAGE import steps\nx = steps.train_unheard_of(2)\n",
        "from PACKAGE import *\nx = Trainer().fit_unheard_of()\n",
    ],
)
def test_a_function_that_the_cell_itself_imports_first_is_saved_inside(
    lab: Lab, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cell is rewritten before it imports; a package may hand the name on. Looking runs none of it."""
    package = lab.place / f"steps_{abs(hash(cell))}"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("import ledger\nledger.note('imported')\nfrom .inner import *\n")
    (package / "inner" / "__init__.py").write_text("from ..steps import Trainer, train_unheard_of\n")
    (package / "steps.py").write_text(STEPS)
    monkeypatch.syspath_prepend(str(lab.place))
    program = Program("imports", "", cell.replace("PACKAGE", package.name))
    outcome, photos = lab.photographed(program, lab.folder())
    assert not outcome.error
    assert outcome.notes == ("imported",)
    assert photos[0].notes == ()
    assert any("unheard_of(): k 1 of 2" in photo.progress for photo in photos)


WRAPPED = """
import functools
def timed(f):
    @functools.wraps(f)
    def wrapper(*args):
        return f(*args)
    return wrapper
""" + TRAIN.replace("@nbckpt", "@timed\n@nbckpt")


def test_a_function_inside_another_decorator_is_said_not_to_be_saved_inside(lab: Lab) -> None:
    """It is the other decorator's function that is called, and runs as a whole."""
    outcome, kernel = lab.again(lab.folder(), "x = train(2)\nfor k in range(2):\n    y = train(k)\n", before=(WRAPPED,))
    assert (outcome.names["x"], outcome.names["y"]) == (3, 2)
    assert kernel.notices.count("train() is @nbckpt.resumable, but the decorator above that calls it") == 1


WHOLE = """@nbckpt.resumable
def outer():
    return 1 or train(2)
@nbckpt.resumable
def whole():
    return 1 and train(2)
y = outer() + whole()
"""


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("for k in range(train(2)):\n    y = k\n", 2),
        ("if train(2):\n    for k in range(2):\n        y = k\n", 2),
        ("n = 0\nwhile train(2) > n:\n    n += 1\n", 3),
        ("import contextlib\nwith contextlib.nullcontext(train(2)) as y:\n    pass\n", 3),
        ("y = True and train(2)\nz = True and train(3)\n", 2),
        ("y = [train(k) for k in range(3)]\n", 2),
        ("y = sum([train(k) for k in range(3)])\n", 2),
        ("def f(n=train(2)):\n    return n\ny = f()\n", 2),
        ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    y = train(2)\n", 5),
        (WHOLE, 7),
    ],
)
def test_a_call_that_cannot_be_entered_again_is_said_to_be_run_as_a_whole(lab: Lab, cell: str, line: int) -> None:
    """Once, however often it is made, and where it is; the call does what it does."""
    outcome, kernel = lab.again(lab.folder(), cell, before=(TRAIN,))
    assert not outcome.error
    assert kernel.notices.count("train() is @nbckpt.resumable, but") == 1
    assert f"line {line} calls it where" in kernel.notices


def test_nothing_is_said_of_calls_that_are_not_made_there(lab: Lab) -> None:
    """Of calls that can be entered again neither, nor of other functions' of the same name."""
    cell = """class A:
    train = len
x = train(2)
y = [A.train("ab")]
for k in range(A.train("ab")):
    z = train(k)
"""
    outcome, kernel = lab.again(lab.folder(), cell, before=(TRAIN,))
    assert not outcome.error
    assert "resumable" not in kernel.notices


INDIRECTLY = """
import nbckpt, ledger
def fit(done, start):
    for k in nbckpt.loop(range(3), state=done):
        done.append((start, k))
        ledger.note((start, k))
ways, done = [fit], []
for start in {}:
    ways[0](done, start)
"""


SHRINKING = """
import nbckpt, ledger
def fit(rest, start):
    for k in nbckpt.loop(range(3), state=rest):
        {}
        ledger.note((start, k, len(rest)))
ways, rest = [fit], [5, 6, 7, 8, 9, 5]
for start in rest:
    ways[0](rest, start)
"""


@pytest.mark.parametrize("change", ["del rest[0]", "rest.pop()", "rest[:0] = [k] * (len(rest) < 7)", "rest.clear()"])
def test_an_item_that_leaves_its_list_while_it_is_current(lab: Lab, change: str) -> None:
    """The list itself does not tell any more which one it was."""
    program = Program("shrinking", "", SHRINKING.format(change))
    plain = lab.plain(program)
    _, photos = lab.photographed(program, lab.folder())
    resumed_twice(lab, program, plain, photos)


def resumed_twice(lab: Lab, program: Program, plain: Outcome, photos: list[Photo]) -> None:
    """Go on from each boundary, and from the first two that come after it once more."""
    for photo in photos:
        again = lab.copy(photo)
        lab.compare(program, plain, lab.resumed(program, photo, before=True))
        _, later = lab.photographed(program, again.store, seed=7, notes=again.notes)
        for second in later[:2]:
            lab.compare(program, plain, lab.resumed(program, second, before=True))


def _compare_unless_refused(lab: Lab, program: Program, plain: Outcome, changed: str) -> None:
    """Resume from every boundary; where a variable was changed on the way back the run may say that instead."""
    _, photos = lab.photographed(program, lab.folder())
    for photo in photos:
        again, _ = lab.execute(program, lab.marker(program, photo.store), seed=5, notes=photo.notes)
        if f"has changed {changed}" not in again.error:
            lab.compare(program, plain, again)


CHANGED_FIRST = """
import nbckpt, ledger
def fit(rest, done, start):
    {}
    for k in nbckpt.loop(range(3), state=done):
        done.append((start, k))
        ledger.note((start, k))
    for k in nbckpt.loop(range(2), state=done):
        ledger.note(k)
ways, done, rest = [fit], [], [{}]
for {} in rest:
    ways[0](rest, done, start)
"""


@pytest.mark.parametrize("change", ["rest.clear()", "rest[:] = [(0, 0)] * 4", "rest.pop()"])
@pytest.mark.parametrize(
    ("items", "target"), [("5, 6", "start"), ("(5, 1), (6, 2)", "start, _"), ("(5, 1), (6, 2)", "start")]
)
def test_an_item_that_has_left_its_list_before_a_loop_begins(lab: Lab, items: str, target: str, change: str) -> None:
    """Nobody can tell which it was: it is said that nothing is saved there, and the program is not in the way."""
    program = Program("late", "", CHANGED_FIRST.format(change, items, target))
    plain = lab.plain(program)
    with lab.saves.at_every_boundary(lambda _: None):
        whole, kernel = lab.execute(program, lab.marker(program, lab.folder()))
    lab.compare(program, plain, whole)
    if "pop" not in change:
        assert kernel.notices.count("the nbckpt.loop in fit() is not saved: its caller at line") == 1
    _compare_unless_refused(lab, program, plain, "rest")


LETTING_GO = """
import nbckpt, ledger, weakref
class Thing:
    def __init__(self, number):
        self.number = number
def fit(rest, number):
    for k in nbckpt.loop(range(number < 2), state=rest):
        rest[number] = None
def see(rest, thing):
    if thing.number < 2:
        ways[0](rest, thing.number)
    ledger.note(sum(one() is not None for one in refs))
rest = [Thing(number) for number in range(5)]
refs = [weakref.ref(thing) for thing in rest]
ways = [fit, see]
for thing in rest:
    ways[1](rest, thing)
del refs
"""


def test_an_item_that_left_its_list_is_let_go_of_when_its_iteration_ends(lab: Lab) -> None:
    """It was kept for a snapshot in that iteration, and not for the many that may come before the next one."""
    program = Program("letting go", "", LETTING_GO)
    plain = lab.plain(program)
    assert plain.notes == (5, 4, 3, 3, 3)
    whole, _ = lab.execute(program, lab.marker(program, lab.folder()))
    assert whole.notes == plain.notes


LASTING = """
import nbckpt, ledger
def fit(done, start):
    {2}
    for k in nbckpt.loop(range(3), state=done):
        done.append((start, k))
        ledger.note((start, k))
ways, done, box, items = [fit], [], {{}}, [{0}]
for {1} in items:
    ways[0](done, start)
"""
ODD = """
class Odd(tuple):
    def __len__(self):
        raise TypeError("nobody asks for that")
"""
MANY = ", ".join(f"a_variable_with_a_long_name_{number}" for number in range(9))


@pytest.mark.parametrize(
    ("target", "items"),
    [
        (f"start, {MANY}", "(5, *range(9)), (6, *range(9))"),
        ("(start, other), last", "((5, 1), 7), ((6, 2), 8)"),
        ("start, _", "'ab', 'äö'"),
    ],
)
def test_a_loop_by_many_variables(lab: Lab, target: str, items: str) -> None:
    """However many words they take, the item is known by them."""
    program = Program("many", "", LASTING.format(items, target, ""))
    plain = lab.plain(program)
    with lab.saves.at_every_boundary(lambda _: None):
        _, kernel = lab.execute(program, lab.marker(program, lab.folder()))
    assert not kernel.notices.count("is not saved")
    whole, photos = lab.photographed(program, lab.folder())
    lab.compare(program, plain, whole)
    for photo in photos:
        lab.compare(program, plain, lab.resumed(program, photo, before=True))


@pytest.mark.parametrize(
    ("target", "items"),
    [("start, box['at']", "(5, 1), (6, 2)"), ("start, *_", "(5, 1), (6, 2)"), ("start, _", "Odd((5, 1)), Odd((6, 2))")],
)
@pytest.mark.parametrize("change", ["", "items[:] = [items[-1]] * 4"])
def test_a_loop_whose_item_cannot_be_told_from_its_variables(lab: Lab, target: str, items: str, change: str) -> None:
    """It is not guessed, and no code of its own is run to find out: nothing is saved in what is called there."""
    program = Program("unsure", "", LASTING.format(items, target, change), before=(ODD,))
    plain = lab.plain(program)
    with lab.saves.at_every_boundary(lambda _: None):
        whole, kernel = lab.execute(program, lab.marker(program, lab.folder()))
    lab.compare(program, plain, whole)
    assert kernel.notices.count("nobody can tell the current item") == 1
    _compare_unless_refused(lab, program, plain, "items")


DRAWING = """
import nbckpt, ledger
def fit(items, done, start):
    for k in nbckpt.loop(range(2), state=done):
        done.append((start, k))
        if k == 0:
            next(items, None)
        ledger.note((start, k))
ways, done = [fit], []
items = iter({})
for start in items:
    ways[0](items, done, start)
"""


@pytest.mark.parametrize("items", ["[5, 6, 7, 8]", "(5, 6, 7, 8)", "range(5, 9)"])
def test_an_iterator_that_is_drawn_from_in_an_iteration(lab: Lab, items: str) -> None:
    """What it gave last is not the current item then."""
    program = Program("drawing", "", DRAWING.format(items))
    plain = lab.plain(program)
    whole, photos = lab.photographed(program, lab.folder())
    lab.compare(program, plain, whole)
    resumed_twice(lab, program, plain, photos)


@pytest.mark.parametrize("items", ["[5, 6]", "(5, 6)", "range(5, 7)", "map(str, [5, 6])"])
def test_killed_twice_in_one_iteration(lab: Lab, items: str) -> None:
    """An iteration that was gone on with, of a loop without boundaries in its body, still knows its item."""
    program = Program("twice", "", INDIRECTLY.format(items))
    plain = lab.plain(program)
    _, photos = lab.photographed(program, lab.folder())
    first = lab.copy(next(photo for photo in photos if photo.progress.endswith("k 1 of 3")))
    _, photos = lab.photographed(program, first.store, seed=7, notes=first.notes)
    second = next(photo for photo in photos if photo.progress.endswith("k 2 of 3"))
    assert first.notes == second.notes[:-1]
    lab.compare(program, plain, lab.resumed(program, second, before=True))
