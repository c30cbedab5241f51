"""A cell that was edited before it is run again."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest

from nbckpt.run import resumable
from programs.harness import Program

if TYPE_CHECKING:
    from programs.harness import Lab

CELL = """
import ledger
log, total = [], 0
for k in range(4):
    total += k
    for j in range(2):
        log.append((k, j))
        ledger.note((k, j))
print("end", total)
"""
MIDDLE = "len(log) == 5"


def test_code_that_was_not_reached_may_change(lab: Lab) -> None:
    """Later statements are the new ones; nothing is said and nothing repeated."""
    left = lab.killed(CELL, MIDDLE)
    done, kernel = lab.again(left, CELL.replace('print("end", total)', 'total *= 100\nprint("new end", total)'))
    assert not done.error
    assert done.names["total"] == 600
    assert len(done.names["log"]) == 8
    assert done.shown == [("stdout", "new end 600\n")]
    assert "edited" not in kernel.notices


def test_the_body_of_the_loop_in_progress_may_change(lab: Lab) -> None:
    """New iterations run the new code, and a notice says how many ran the old one."""
    left = lab.killed(CELL, MIDDLE)
    done, kernel = lab.again(left, CELL.replace("log.append((k, j))", "log.append((k, j, 'new'))"))
    assert done.names["log"][:5] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    assert done.names["log"][5:] == [(2, 1, "new"), (3, 0, "new"), (3, 1, "new")]
    assert "edited" in kernel.notices
    assert "2 iterations ran the old code" in kernel.notices


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("range(4)", "range(6)"),
        ("[0, 1, 2, 3]", "[0, 1, 2, 3, 4, 5]"),
        ("'abcd'", "'abcdef'"),
        ("(0, 1, 2, 3)", "[0, 1, 2, 3, 4, 5]"),
        ("zip([0, 1, 2, 3], 'abcd')", "zip([0, 1, 2, 3, 4], 'abcde')"),
        ("enumerate('abcd', 5)", "enumerate('abcdef', 5)"),
        ("range(8, 0, -2)", "range(8, -4, -2)"),
        ("range(4)", "__import__('tqdm').tqdm(range(6))"),
        ("{'a': 1, 'b': 2, 'c': 3, 'd': 4}", "{'a': 1, 'b': 2, 'c': 3, 'd': 4, 'e': 5}"),
        ("enumerate({'a': 1, 'b': 2, 'c': 3}.items())", "enumerate({'a': 1, 'b': 2, 'c': 3, 'd': 4}.items())"),
        ("reversed([3, 4, 5, 6])", "reversed([1, 2, 3, 4, 5, 6])"),
        ("zip(map(str, [1, 2, 3, 4]), {4: 1, 5: 2, 6: 3})", "zip(map(str, [1, 2, 3, 4, 5]), {4: 1, 5: 2, 6: 3, 7: 4})"),
        ("__import__('collections').deque([1, 2, 3, 4])", "__import__('collections').deque([1, 2, 3, 4, 5])"),
        ("(str(n) for n in [1, 2, 3, 4] if n != 2)", "(str(n) for n in [1, 2, 3, 4, 5] if n != 2)"),
        ("(n + m for n in range(2) for m in range(2))", "(n + m for n in range(3) for m in range(2))"),
    ],
)
@pytest.mark.parametrize("nested", [True, False])
def test_a_header_that_only_extends_goes_on_at_the_same_count(lab: Lab, old: str, new: str, nested: bool) -> None:
    """No item is done twice or left out."""
    inner = "    for j in range(1):\n        seen.append(k)\n" if nested else "    seen.append(k)\n"
    cell = f"seen = []\nfor k in {old}:\n{inner}print(len(seen))\n"
    left = lab.killed(cell, "len(seen) == 3")
    done, _ = lab.again(left, cell.replace(old, new))
    assert not done.error
    assert done.names["seen"] == list(eval(new))  # noqa: S307


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("zip([0, 1, 2, 3], 'abcd')", "zip([0, 1, 7, 3, 4], 'abcde')"),
        ("zip([0, 1, 2, 3], 'abcd')", "zip([0, 1, 2, 3, 4], 'abxde')"),
        ("enumerate('abcd')", "enumerate('abcdef', 1)"),
        ("enumerate('abcd')", "enumerate('abxdef')"),
    ],
)
def test_an_extended_zip_or_enumerate_must_begin_as_it_did(lab: Lab, old: str, new: str) -> None:
    """Each of its parts counts, and where the numbers begin."""
    cell = f"seen = []\nfor k in {old}:\n    seen.append(k)\n"
    done, _ = lab.again(lab.killed(cell, "len(seen) == 3"), cell.replace(old, new))
    assert done.error.startswith("CellChangedError")


MAPPED = """
import ledger
def f(x):
    ledger.note(x)
    return x % 2
def g(n):
    for k in range(n):
        yield k
seen = []
for k in HEADER:
    seen.append(k)
"""


@pytest.mark.parametrize(
    ("old", "new", "seen", "notes"),
    [
        ("map(f, [1, 2, 3])", "map(f, [1, 2, 3, 4])", [1, 0, 1, 0], (3, 4)),
        ("filter(f, [1, 2, 3, 4, 5])", "filter(f, [1, 2, 3, 4, 5, 6, 7])", [1, 3, 5, 7], (4, 5, 6, 7)),
        ("map(lambda x: f(x), [1, 2, 3])", "map(lambda x: f(x), [1, 2, 3, 4])", [1, 0, 1, 0], (3, 4)),
        ("g(3)", "g(5)", [0, 1, 2, 3, 4], ()),
    ],
)
def test_an_extended_header_calls_nothing_for_what_is_done(
    lab: Lab, old: str, new: str, seen: list[int], notes: tuple[int, ...]
) -> None:
    """What a function is given is compared, not what it makes of it; a generator is drawn from again."""
    cell = MAPPED.replace("HEADER", old)
    done, _ = lab.again(lab.killed(cell, "len(seen) == 2"), cell.replace(old, new))
    assert not done.error
    assert done.names["seen"] == seen
    assert done.notes == notes


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("map(f, [1, 2, 3])", "map(f, [1, 7, 3, 4])"),
        ("map(f, [1, 2, 3])", "map(int, [1, 2, 3])"),
        ("map(lambda x: x, [1, 2, 3])", "map(lambda x: x + 1, [1, 2, 3])"),
        ("filter(f, [1, 2, 3, 5])", "filter(f, [1, 2, 4, 3, 5])"),
        ("{1: 2, 3: 4, 5: 6}", "{3: 4, 1: 2, 5: 6}"),
        ("reversed([1, 2, 3])", "reversed([1, 2, 3, 4])"),
        ("g(3)", "map(lambda x: x + 1, g(3))"),
        ("(object() for _ in 'abc')", "(object() for _ in 'abcd' for _ in 'a')"),
    ],
)
def test_an_edited_header_that_begins_otherwise_is_refused(lab: Lab, old: str, new: str) -> None:
    """With the change and both ways on; `--on-change resume` leaves out as many items."""
    cell = MAPPED.replace("HEADER", old)
    left = lab.killed(cell, "len(seen) == 2")
    done, kernel = lab.again(left, cell.replace(old, new))
    assert done.error.startswith("CellChangedError")
    assert "--fresh" in done.error
    assert "--on-change resume" in done.error
    assert f"+for k in {new}:" in done.error
    forced, kernel = lab.again(left, cell.replace(old, new), "--on-change resume")
    assert not forced.error, kernel.shell.tracebacks
    assert len(forced.names["seen"]) >= 3


DEFINITIONS = """
import functools
def changed(f):
    @functools.wraps(f)
    def g(*a):
        return f(*a)
    return g
class Box:
    rate = 1
    def __init__(self):
        self.x = 0
    def up(self, k=1):
        self.x += k * self.rate
        return self.x
@changed
def f(x, n=1):
    return x * n
"""


@pytest.mark.parametrize(
    ("old", "new", "last"),
    [
        ("k=1)", "k=10)", (12, 2)),
        ("rate = 1", "rate = 10", (12, 2)),
        ("n=1)", "n=5)", (3, 10)),
        ("return f(*a)", "return -f(*a)", (3, -2)),
        ("return x * n", "return x + n", (3, 3)),
        ("@changed", "@functools.lru_cache", (3, 2)),
    ],
    ids=["default of a method", "class attribute", "default", "decorator", "body", "another decorator"],
)
@pytest.mark.parametrize("inside", [True, False], ids=["in the cell", "in an earlier cell"])
def test_edited_definitions_take_effect(lab: Lab, old: str, new: str, last: tuple[int, int], inside: bool) -> None:
    """Iterations after the resume use them, with the objects that were made before."""
    cell = "box, seen = Box(), []\nfor k in range(3):\n    seen.append((box.up(), f(k)))\n"
    before, head = ((), DEFINITIONS) if inside else ((DEFINITIONS,), "")
    left = lab.killed(head + cell, "len(seen) == 2", before=before)
    edited = tuple(text.replace(old, new) for text in before)
    done, _ = lab.again(left, head.replace(old, new) + cell, before=edited)
    assert not done.error
    assert done.names["seen"] == [(1, 0), (2, 1), last]


@pytest.mark.parametrize(
    "last",
    ["len(seen);", "None", "(g for g in seen)", "seen.append(1)", "5 # x;", "seen ; ", "'a'", "x = [j for j in seen]"],
)
def test_a_finished_cell_shows_its_last_expression_as_the_plain_one(lab: Lab, last: str) -> None:
    """Also when it is quiet, None or cannot be saved."""
    cell = f"seen = []\nfor k in range(3):\n    seen.append(k)\n{last}"
    store = lab.folder()
    shown = [lab.again(store, cell) for _ in range(2)]
    assert shown[1][1].status.state == "restored"
    first, again = ([re.sub("0x[0-9a-f]+", "", text) for _, text in done.shown] for done, _ in shown)
    assert again == first


def test_a_notice_counts_the_iteration_in_progress(lab: Lab) -> None:
    """Where an iteration had begun, part of it ran the old code, too."""
    cell = "seen = []\nfor k in range(2):\n    seen.append('a')\n    for j in range(3):\n        seen.append(j)\n"
    left = lab.killed(cell, "len(seen) == 3")
    done, kernel = lab.again(left, cell.replace("'a'", "'b'"))
    assert done.names["seen"] == ["a", 0, 1, 2, "b", 0, 1, 2]
    assert "0 iterations ran the old code, and the one in progress in part" in kernel.notices


def test_loops_that_changed_places_are_refused(lab: Lab) -> None:
    """Another variable over something else is another loop, even if its first items are the same."""
    cell = "seen = []\nfor k in range(2):\n    for j in range(3):\n        seen.append((k, j))\n"
    swapped = "seen = []\nfor j in range(3):\n    for k in range(2):\n        seen.append((k, j))\n"
    done, _ = lab.again(lab.killed(cell, "len(seen) == 2"), swapped)
    assert done.error.startswith("CellChangedError")
    assert "seen" not in done.names


def test_a_loop_variable_may_be_renamed(lab: Lab) -> None:
    """It goes over the same."""
    cell = "seen = []\nfor k in range(4):\n    seen.append(k)\n"
    done, _ = lab.again(lab.killed(cell, "len(seen) == 2"), cell.replace("for k", "for n").replace("(k)", "(n)"))
    assert not done.error
    assert done.names["seen"] == [0, 1, 2, 3]


@pytest.mark.parametrize("call", ["f(5)", "g(5)"], ids=["directly", "through another function"])
@pytest.mark.parametrize("used", [True, False], ids=["used", "not used yet"])
def test_a_function_that_was_edited_after_it_was_used_is_named(lab: Lab, call: str, used: bool) -> None:
    """What it had computed stands, so old results stand beside new ones."""
    first, last = (call, "0") if used else ("0", call)
    cell = f"def f(x):\n    return x\ndef g(x):\n    return f(x)\nseen = [{first}]\n"
    cell += f"for k in range(3):\n    seen.append(k)\nseen.append({last})\n"
    left = lab.killed(cell, "len(seen) == 2")
    done, kernel = lab.again(left, cell.replace("return x", "return -x"))
    assert done.names["seen"] == ([5, 0, 1, 2, 0] if used else [0, 0, 1, 2, -5])
    assert ("f was edited: what had come of it by then stands" in kernel.notices) == used


EARLIER = """
def f(x, sign=1):
    return x * sign
def g(x):
    return f(x)
class Model:
    def fit(self, x):
        return x * 1
model = Model()
"""


@pytest.mark.parametrize("call", ["f(5)", "g(5)", "model.fit(5)", "Model().fit(5)"])
@pytest.mark.parametrize("edit", ["x * 1", "sign=1", "x * sign", "#"])
@pytest.mark.parametrize("used", [True, False], ids=["used", "not used yet"])
def test_a_function_of_an_earlier_cell_that_was_edited_after_it_was_used_is_named(
    lab: Lab, call: str, edit: str, used: bool
) -> None:
    """As one of the cell itself is, once; one that was not edited, or not used, is not."""
    first, last = (call, "0") if used else ("0", call)
    cell = f"seen = [{first}]\nfor k in range(3):\n    seen.append(k)\nseen.append({last})\n"
    left = lab.killed(cell, "len(seen) == 2", before=(EARLIER,))
    done, kernel = lab.again(left, cell, before=(EARLIER.replace(edit, edit.replace("1", "2").replace("* s", "* -s")),))
    name = "Model" if edit == "x * 1" else "f"
    concerned = edit != "#" and (name == "Model") == ("odel" in call)
    new = 5 if not concerned else -5 if "sign" in edit and "=" not in edit else 10
    assert done.names["seen"] == ([5, 0, 1, 2, 0] if used else [0, 0, 1, 2, new])
    told = kernel.notices.count("was edited: what had come of it by then stands")
    if call == "model.fit(5)" and concerned:
        assert told == 1  # it had come of the class before
    else:
        assert told == (used and concerned)
    assert f"{name} was edited" in kernel.notices or not told


@pytest.mark.parametrize(
    "new", ["range(1, 5)", "range(2)", "[0, 1, 7, 3]", "[0, 9, 2, 3, 4]", "(0, 9, 2, 3)", "'abcd'", "range(0, 8, 2)"]
)
def test_another_header_is_refused_before_anything_runs(lab: Lab, new: str) -> None:
    """The items that are done are not the first ones of the new header."""
    cell = (
        "import ledger\nledger.note('start')\nseen = []\nfor k in range(4):\n    seen.append(k)\n    ledger.note(k)\n"
    )
    left = lab.killed(cell, "len(seen) == 3")
    done, _ = lab.again(left, cell.replace("range(4)", new))
    assert done.error.startswith("CellChangedError")
    assert done.notes == ()
    assert "--fresh" in done.error
    again, _ = lab.again(left, cell)
    assert again.names["seen"] == [0, 1, 2, 3], "a refusal must leave the snapshots alone"


def test_statements_that_had_completed_may_not_change(lab: Lab) -> None:
    """It is refused before anything runs, with the change and the ways on, and nothing of it is bound."""
    left = lab.killed(CELL, MIDDLE)
    done, kernel = lab.again(left, CELL.replace("log, total = [], 0", "log, total = [], 1000"))
    assert done.error.startswith("CellChangedError")
    lines = done.error.splitlines()
    assert any(line.startswith("-") and line.endswith("[], 0)") for line in lines)
    assert any(line.startswith("+") and line.endswith("[], 1000)") for line in lines)
    assert "--fresh" in lines[0]
    assert "--on-change resume" in lines[0]
    assert done.notes == ()
    assert not done.names
    assert len(kernel.shell.tracebacks) == 1
    assert "checkpoint.py" not in kernel.shell.tracebacks[0]
    assert "restore.py" not in kernel.shell.tracebacks[0]


@pytest.mark.parametrize(
    "new",
    [
        CELL.replace("\n    total", "  # a comment\n\n    # another\n    total"),
        CELL.replace("    ", "  "),
        CELL.replace("log, total = [], 0", "log,total = [],0"),
        CELL.replace("for k in range(4):", "for k in range(\n    4,\n):"),
        CELL.replace('"end"', "'end'"),
    ],
    ids=["comments", "indentation", "spaces", "line breaks", "quotes"],
)
def test_comments_and_layout_never_matter(lab: Lab, new: str) -> None:
    """The same code goes on without a word, though its lines have moved."""
    left = lab.killed(CELL, MIDDLE)
    done, kernel = lab.again(left, new)
    assert not done.error
    assert kernel.status.resumed_at
    assert not kernel.notices
    assert len(done.names["log"]) == 8


def test_options_never_matter(lab: Lab) -> None:
    """Other options on the line do not make it another cell."""
    left = lab.killed(CELL, MIDDLE)
    done, kernel = lab.again(left, CELL, "--every 3h --keep 7 --quiet --on-change error")
    assert kernel.status.resumed_at
    assert len(done.names["log"]) == 8


def test_on_change_resume_goes_on_all_the_same(lab: Lab) -> None:
    """What had completed is not executed again, changed or not."""
    left = lab.killed(CELL, MIDDLE)
    done, _ = lab.again(left, CELL.replace("log, total = [], 0", "log, total = [], 1000"), "--on-change resume")
    assert not done.error
    assert done.names["total"] == 6


def test_on_change_restart_starts_over(lab: Lab) -> None:
    """It says so, and runs the new code from the top."""
    left = lab.killed(CELL, MIDDLE)
    done, kernel = lab.again(left, CELL.replace("log, total = [], 0", "log, total = [], 1000"), "--on-change restart")
    assert done.names["total"] == 1006
    assert not kernel.status.resumed_at
    assert "starts over" in kernel.notices


def test_on_change_restart_resumes_what_was_not_changed(lab: Lab) -> None:
    """`restart` is about changes only."""
    left = lab.killed(CELL, MIDDLE)
    done, kernel = lab.again(left, CELL, "--on-change restart")
    assert kernel.status.resumed_at
    assert len(done.names["log"]) == 8


@pytest.mark.parametrize("new", [CELL + "x = 1\n", CELL.replace("total += k", "total += 1")], ids=["later", "body"])
def test_on_change_error_refuses_every_change(lab: Lab, new: str) -> None:
    """Even one that could be resumed."""
    left = lab.killed(CELL, MIDDLE)
    done, _ = lab.again(left, new, "--on-change error")
    assert done.error.startswith("CellChangedError")
    assert done.notes == ()


def test_fresh_starts_over_and_says_nothing_of_changes(lab: Lab) -> None:
    """`--fresh` runs any cell from the top, and the next run resumes from it, not from the old one."""
    left = lab.killed(CELL, MIDDLE)
    new = CELL.replace("log, total = [], 0", "log, total = [], 1000")
    done, kernel = lab.again(left, new, "--fresh")
    assert done.names["total"] == 1006
    assert not kernel.status.resumed_at
    again, _ = lab.again(left, new)
    assert again.names["total"] == 1006
    assert again.notes == ()


def test_the_old_snapshot_stands_until_a_fresh_run_has_saved(lab: Lab) -> None:
    """A fresh run that fails at once has lost nobody's work."""
    left = lab.killed(CELL, MIDDLE)
    done, _ = lab.again(left, "1 / 0\n", "--fresh")
    assert done.error.startswith("ZeroDivisionError")
    again, kernel = lab.again(left, CELL)
    assert kernel.status.resumed_at
    assert len(again.names["log"]) == 8


def test_a_cell_of_other_code_under_the_same_name_is_refused(lab: Lab) -> None:
    """It neither runs nor touches what is saved."""
    left = lab.killed(CELL, MIDDLE)
    done, _ = lab.again(left, "import ledger\nledger.note('ran')\nother = 1\nother += 1\n")
    assert done.error.startswith("CellChangedError")
    assert done.notes == ()
    assert "other" not in done.names


def test_an_edited_helper_of_the_cell_takes_effect(lab: Lab) -> None:
    """`def` runs again on resume, so iterations after it use the new one."""
    cell = "def f(x):\n    return x\nseen = []\nfor k in range(4):\n    seen.append(f(k))\n"
    left = lab.killed(cell, "len(seen) == 2")
    done, _ = lab.again(left, cell.replace("return x", "return -x"))
    assert not done.error
    assert done.names["seen"] == [0, 1, -2, -3]


def test_an_edited_helper_of_an_earlier_cell_takes_effect(lab: Lab) -> None:
    """The live definition wins over the saved one, also for methods of objects that came back."""
    before = "class Box:\n    def up(self, x):\n        self.x = x\n        return x\ndef f(x):\n    return x\n"
    cell = "box, seen = Box(), []\nfor k in range(4):\n    seen.append((box.up(k), f(k)))\n"
    left = lab.killed(cell, "len(seen) == 2", before=(before,))
    done, _ = lab.again(left, cell, before=(before.replace("return x", "return -x"),))
    assert done.names["seen"] == [(0, 0), (1, 1), (-2, -2), (-3, -3)]
    assert isinstance(done.names["box"], done.names["Box"])


def test_statements_appended_to_a_finished_cell_run_alone(lab: Lab) -> None:
    """What had finished comes back and only what is new is executed."""
    cell = "import ledger\nseen = []\nfor k in range(3):\n    seen.append(k)\n    ledger.note(k)\n"
    store = lab.folder()
    lab.again(store, cell)
    done, _ = lab.again(store, cell + "seen.append('more')\nledger.note('more')\nlen(seen)\n")
    assert not done.error
    assert done.notes == ("more",)
    assert done.names["seen"] == [0, 1, 2, "more"]
    assert done.result == 4


def test_an_import_or_definition_added_at_the_top_is_no_change(lab: Lab) -> None:
    """Imports and definitions run again anyway, so new ones may come before what is done."""
    left = lab.killed(CELL, MIDDLE)
    done, kernel = lab.again(
        left, "import math\ndef helper():\n    return 1\n" + CELL.replace("print", "helper(); print")
    )
    assert not done.error
    assert kernel.status.resumed_at
    assert len(done.names["log"]) == 8


DEFINES = """
first = [1]
import math
def double(k):
    return 2 * k
class Kind:
    print("made", double(math.floor(1.5)))
out = []
for k in range(3):
    out.append(double(k) + math.floor(1.5))
out
"""


def moved(part: str, before: str) -> str:
    """The cell with some lines of it further up."""
    return DEFINES.replace(part, "", 1).replace(before, part + before, 1)


@pytest.mark.parametrize(
    "edited",
    [
        DEFINES.replace("\nout\n", "\nout[:]\n"),
        DEFINES.replace("import math\n", "import math\nimport json\n"),
        DEFINES.replace("class Kind", "def other():\n    pass\nclass Kind"),
        DEFINES.replace("    return 2 * k", "    return k + k"),
        moved("import math\n", "first = [1]\n"),
        moved("def double(k):\n    return 2 * k\n", "first = [1]\n"),
        moved("def double(k):\n    return 2 * k\n", "import math\n"),
    ],
)
def test_what_is_defined_after_the_boundary_is_defined(lab: Lab, edited: str) -> None:
    """Imports and definitions that the run had not come to are there afterwards, wherever an edit has put them."""
    program = Program("edited", "", edited)
    plain = lab.plain(program)
    _, photos = lab.photographed(Program("saved", "", DEFINES), lab.folder())
    before = list(itertools.takewhile(lambda photo: photo.progress.startswith("line"), photos))
    assert len(before) >= 6
    for photo in before:
        lab.compare(program, plain, lab.resumed(program, lab.copy(photo), before=True))


LOOPED = "out = []\nfor k in range(2):\n    out.append(k)\n"


@pytest.mark.parametrize(
    ("cell", "edited"),
    [
        ("def f():\n    return 1\nx = f()\ndef f():\n    return 2\ny = f()\n", "{}z = f()\n"),
        ("class A:\n    n = 1\na = A()\nclass A:\n    n = 2\nb = A()\n", "{}z = a.n, b.n, type(a) is A\n"),
        ("def f():\n    return 1\nx = f()\ndel f\ndef f():\n    return 2\ny = f()\n", "{}z = f()\n"),
        ("def f():\n    return 1\nf = 3\nx = f\ndef f():\n    return 1\ny = f()\n", "{}z = f()\n"),
        ("import math\nx = math.pi\ndel math\n" + LOOPED, "{}import math\nz = math.floor(x)\n"),
        ("import math\nmath = math.pi\n" + LOOPED, "{}import math\nz = math.floor(3.5)\n"),
        ("def f():\n    return 1\nx = f()\ndel f\n" + LOOPED, "{}def f():\n    return 2\nz = f()\n"),
        ("from math import floor as f\n" + LOOPED, "from math import ceil as f\n" + LOOPED + "z = f(1.5)\n"),
        ("from math import floor\n" + LOOPED, "def floor(x):\n    return -x\n" + LOOPED + "z = floor(1.5)\n"),
        ("def floor(x):\n    return -x\n" + LOOPED, "from math import floor\n" + LOOPED + "z = floor(1.5)\n"),
        ("import math\nmath = math.pi\n" + LOOPED, "import math, json\nmath = math.pi\n" + LOOPED),
        ("import math\nx = math.pi\ndel math\n" + LOOPED, "import math, json\nx = math.pi\ndel math\n" + LOOPED),
    ],
)
def test_a_name_that_is_bound_again_is_what_it_would_be(lab: Lab, cell: str, edited: str) -> None:
    """By imports, definitions and statements, of which the edited cell has others or more than were run."""
    program = Program("edited", "", edited.format(cell))
    plain = lab.plain(program)
    _, photos = lab.photographed(Program("saved", "", cell), lab.folder())
    for photo in photos:
        lab.compare(program, plain, lab.resumed(program, lab.copy(photo), before=True))


def test_what_a_statement_made_of_an_edited_definition_stands(lab: Lab) -> None:
    """It is not replaced by the bare definition, though it goes by the same name."""
    cell = (
        "import functools\ndef doubled(f):\n    @functools.wraps(f)\n    def inner(x):\n        return 2 * f(x)\n"
        "    return inner\ndef f(x):\n    return x\nf = doubled(f)\nout = []\n"
        "for k in range(3):\n    out.append(f(k))\n"
    )
    left = lab.killed(cell, "len(out) == 1")
    done, kernel = lab.again(left, cell.replace("return x\n", "return x + 0\n"))
    assert done.names["out"] == [0, 2, 4]
    assert "f was edited: what had come of it by then stands" in kernel.notices


WORK = """
import nbckpt
@nbckpt.resumable
def work(n):
    scale = 2
    from math import floor
    def half(k):
        return k / scale
    out = []
    for k in range(n):
        out.append(k)
    out.append(half(floor(3)))
    return out
res = work(3)
"""


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        ("    return out", "    import json\n    return out", "json.loads('1')"),
        ("floor\n", "floor, ceil\n", "ceil(0.5)"),
        ("floor\n", "ceil as floor\n", "half(floor(0.5))"),
        ("    scale = 2", "    import math\n    scale = 2", "(lambda: math.pi)()"),
        ("    for k", "    def other():\n        return floor(0)\n    for k", "other()"),
        ("k / scale", "k / 2", "scale"),
        ("    return out", "    def other():\n        return len(out) + n\n    return out", "other()"),
    ],
)
def test_what_an_edited_function_imports_and_defines_is_there(lab: Lab, old: str, new: str, result: str) -> None:
    """So is what inner functions share that did not, or share no more."""
    program = Program("edited", "", WORK.replace(old, new, 1).replace("return out", f"return out, {result}"))
    plain = lab.plain(program)
    _, photos = lab.photographed(Program("saved", "", WORK), lab.folder())
    inside = [photo for photo in photos[:-1] if "work()" in photo.progress]
    assert len(inside) >= 8
    for photo in inside:
        lab.compare(program, plain, lab.resumed(program, lab.copy(photo), before=True))


def test_what_a_function_made_of_an_edited_import_is_not_undone(lab: Lab) -> None:
    """That is refused, since the import would bind the name anew."""
    cell = WORK.replace("    def half", "    floor = floor(2.5)\n    def half")
    _, photos = lab.photographed(Program("saved", "", cell), lab.folder())
    photo = next(photo for photo in photos if "k 1 of 3" in photo.progress)
    edited = cell.replace("floor\n", "floor, ceil\n", 1).replace("half(floor(3))", "floor")
    refused, _ = lab.again(lab.copy(photo).store, edited)
    assert refused.error.startswith("CellChangedError: work() is not the one that was saved: line 7 was edited")
    assert "floor" in refused.error.splitlines()[0]
    forced, _ = lab.again(lab.copy(photo).store, edited, "--on-change resume")
    assert forced.names["res"] == [0, 1, 2, 2]


def test_an_error_fixed_goes_on_at_the_boundary(lab: Lab) -> None:
    """The statement that failed runs again, with the state it had, and the fixed code."""
    cell = (
        "import ledger\nseen, n = [], 0\nfor k in range(4):\n    for j in range(1):\n        n += 1\n"
        "    ledger.note(k)\n    seen.append(1 / (k - 2))\nlen(seen)\n"
    )
    store = lab.folder()
    with lab.saves.at_every_boundary(lambda _: None):
        failed, kernel = lab.again(store, cell)
    assert failed.error == "ZeroDivisionError: division by zero"
    assert kernel.status.state == "stopped"
    done, kernel = lab.again(store, cell.replace("1 / (k - 2)", "1 / (k - 2 or 1)"))
    assert not done.error
    assert done.names["seen"] == [-0.5, -1.0, 1.0, 1.0]
    assert done.names["n"] == 4
    assert done.notes == (3,)


def test_an_error_not_fixed_fails_again_at_the_same_place(lab: Lab) -> None:
    """Running it again repeats nothing that had worked."""
    cell = "import ledger\nseen = []\nfor k in range(4):\n    ledger.note(k)\n    seen.append(1 / (k - 2))\n"
    store = lab.folder()
    with lab.saves.at_every_boundary(lambda _: None):
        lab.again(store, cell)
        again, _ = lab.again(store, cell)
    assert again.error.startswith("ZeroDivisionError")
    assert again.notes == (2,)
    assert again.names["seen"] == [-0.5, -1.0]


COMPREHENSION = "seen = []\nxs = [seen.append(k) or k * 10 for k in range(4) if k != 1]\nlen(xs)\n"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("k * 10", "k * 100", [0, 20, 300]),
        ("if k != 1", "if k", [0, 20, 30]),
        ("len(xs)", "sum(xs)", [0, 20, 30]),
        ("range(4)", "range(6)", [0, 20, 30, 40, 50]),
        ("xs = ", "xs = ys = ", [0, 20, 30]),
        ("k != 1]", "k != 1 for _ in 'ab']", [0, 20, 30, 30]),
    ],
    ids=["element", "condition", "later", "extended", "target", "clause"],
)
def test_a_comprehension_in_progress_may_change_like_a_loop(lab: Lab, old: str, new: str, expected: list[int]) -> None:
    """The elements that are made stay, the others are made by the new code, and a notice says how many."""
    left = lab.killed(COMPREHENSION, "len(seen) == 2")
    done, kernel = lab.again(left, COMPREHENSION.replace(old, new))
    assert not done.error
    assert done.names["xs"] == expected
    edited = old in ("k * 10", "if k != 1", "k != 1]")
    assert ("the body of the comprehension at line 3 was edited: 3 iterations ran the old code" in kernel.notices) == (
        edited
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[seen.append(k) or k * 10 for k in range(4) if k != 1]", "{k: 1 for k in range(4) if k != 1}"),
        ("[seen.append(k) or k * 10 for k in range(4) if k != 1]", "list(range(4))"),
        ("range(4)", "range(1, 4)"),
        ("xs = [", "xs = []\nxs += ["),
    ],
    ids=["another kind", "no comprehension", "another header", "added to something"],
)
@pytest.mark.parametrize("options", ["", "--on-change resume"])
def test_another_comprehension_is_refused(lab: Lab, old: str, new: str, options: str) -> None:
    """What was made so far cannot become part of something else; another header is gone over if that is asked for."""
    left = lab.killed(COMPREHENSION, "len(seen) == 2")
    done, _ = lab.again(left, COMPREHENSION.replace(old, new), options)
    if options and old == "range(4)":
        assert done.names["xs"] == [0, 20]
        return
    assert done.error.startswith("CellChangedError")
    assert "xs" not in done.names


def test_an_inner_clause_in_progress_may_be_extended(lab: Lab) -> None:
    """Outer items are not drawn again, and the rest of the inner ones is the new header's."""
    cell = "seen = []\nxs = {(j, k): seen.append((j, k)) for j in 'ab' for k in range(2)}\n"
    left = lab.killed(cell, "len(seen) == 1")
    done, _ = lab.again(left, cell.replace("range(2)", "range(3)"))
    assert not done.error
    assert done.names["seen"] == [(j, k) for j in "ab" for k in range(3)]


def test_an_edited_definition_shows_what_it_shows_now(lab: Lab) -> None:
    """What runs again shows nothing twice, but what is new in it is seen; so is an error in it."""
    cell = "class A:\n    print('old')\nclass B:\n    print('same')\nfor k in range(3):\n    print(k)\n"
    left = lab.killed(cell, "k == 1")
    done, _ = lab.again(left, cell.replace("old", "new"), "--on-change resume")
    assert done.shown == [("stdout", "old\nsame\n0\n1\nnew\n2\n")]
    assert not done.error


def test_an_error_in_what_runs_again_is_shown(lab: Lab) -> None:
    """Swallowing what was shown already never hides why a cell stopped."""
    before = (
        "class Picky:\n    pass\n",
        "class Picky:\n    def __init_subclass__(cls):\n        raise OSError('no more')\n",
    )
    cell = "print('begun')\nclass A(Picky):\n    pass\nfor k in range(3):\n    print(k)\n"
    left = lab.killed(cell, "k == 1", before=before[:1])
    done, kernel = lab.again(left, cell, before=before[1:])
    assert done.error == "OSError: no more"
    assert any("no more" in text for text in kernel.shell.tracebacks)


@pytest.mark.parametrize("options", ["", "--on-change error"])
def test_a_resumable_function_of_the_same_name_is_no_edit(lab: Lab, options: str) -> None:
    """Somebody else's, of which the process has heard since: there are more boundaries then, in the same code."""
    cell = (
        "def work(k):\n    return k\nout = []\nif work(1):\n    out.append(work(2))\nfor k in range(3):\n"
        "    out.append(work(k))\n    out.append(-k)\nwork(out)\n"
    )
    program = Program("named", "", cell, options=options)
    plain = lab.plain(program)
    _, photos = lab.photographed(program, lab.folder())
    resumable.NAMES.add("work")
    for photo in photos:
        lab.compare(program, plain, lab.resumed(program, lab.copy(photo), before=True))
