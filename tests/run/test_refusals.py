"""What cannot be done is said in a sentence, before it costs anything."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from nbckpt.storage.repository import Repository
from nbckpt.storage.snapshot import PartData
from programs.harness import Lab, Program, Run, kernel

CELL = "import ledger\nseen = []\nfor k in range(5):\n    seen.append(k)\n    ledger.note(k)\nlen(seen)\n"


# -- what cannot be saved --------------------------------------------------------------------------------


def test_an_input_that_cannot_be_saved_is_named_with_its_path_before_anything_runs(lab: Lab) -> None:
    """The path leads to the culprit, the sentence says what to do, and no statement is executed."""
    before = (
        "class Trainer:\n    pass\ntrainer = Trainer()\ntrainer.parts = {'gen': [1, (x for x in ())]}\n"
        "trainer.name = 'x'\n"
    )
    cell = "import ledger\nledger.note('ran')\ntrainer.name = 'y'\nfor k in range(2):\n    trainer.name += str(k)\n"
    done, kernel = lab.again(lab.folder(), cell, before=(before,))
    assert done.error.startswith("UnpicklableError")
    assert "trainer.parts['gen'][1]" in done.error
    for way in ("--exclude", "__getstate__", "nbckpt.register"):
        assert way in done.error
    assert done.notes == ()
    assert len(kernel.shell.tracebacks[0].splitlines()) <= 2


@pytest.mark.parametrize("name", ["Out", "In", "_oh"])
def test_a_cell_that_reads_the_kernels_history_is_refused(lab: Lab, name: str) -> None:
    """Another kernel's is another one; what the cell needs of it can have a name of its own."""
    cell = f"import ledger\nledger.note('ran')\nseen = []\nfor k in range(3):\n    seen.append(len({name}))\n"
    done, _ = lab.again(lab.folder(), cell, before=("6 * 7\n",))
    assert done.error.startswith("UnpicklableError")
    assert f"the cell reads {name}" in done.error
    assert done.notes == ()
    done, _ = lab.again(lab.folder(), cell, f"--exclude {name}", before=("6 * 7\n",))
    assert not done.error


def test_what_is_excluded_is_not_saved_and_blocks_nothing(lab: Lab) -> None:
    """With `--exclude` the cell runs, and a resumed one uses what an earlier cell made again."""
    before = "gen = (x for x in range(100))\n"
    cell = "seen = []\nfor k in range(4):\n    seen.append(next(gen))\n"
    left = lab.killed(cell, "len(seen) == 2", before=(before,), options="--exclude gen")
    done, _ = lab.again(left, cell, "--exclude gen", before=(before,))
    assert done.names["seen"] == [0, 1, 0, 1]


def test_caches_whose_results_cannot_be_saved_are_said_at_the_start(lab: Lab) -> None:
    """By the function's name, and no others; and as soon as one is found that was filled by the cell."""
    before = (
        "import functools, threading\n@functools.cache\ndef lock(k):\n    return threading.Lock()\n"
        "@functools.lru_cache\ndef double(k):\n    return 2 * k\nclass Box:\n    @functools.cache\n"
        "    def lock(self):\n        return threading.Lock()\n"
        "box = Box()\n"
    )
    cell = "out = []\nfor k in range(3):\n    out.append((lock(0) is lock(0), double(k), box.lock() is None))\n"
    _, kernel = lab.again(lab.folder(), cell, before=(f"{before}lock(0), double(1)\n",))
    said = "keeps results that cannot be saved in its cache: a resumed run computes them again"
    assert f"lock() {said}" in kernel.status.notices
    assert f"double() {said}" not in kernel.notices
    left = lab.killed(cell, "len(out) == 2", before=(before,))
    done, kernel = lab.again(left, cell, before=(before,))
    assert not done.error
    for name in ("lock()", "Box.lock()"):
        assert kernel.status.notices.count(f"{name} {said}") == 1


@pytest.mark.parametrize("boundaries", ["for j in range(2):\n            total += j", "total += 1"])
def test_rows_appended_around_a_loop_are_all_there_once(lab: Lab, boundaries: str) -> None:
    """A kill loses no row of a finished iteration, and a csv.writer made before the loop goes on writing."""
    cell = (
        "import csv, ledger\nseen, total = [], 0\nwith open('rows.csv', 'a', newline='') as f:\n"
        "    w = csv.writer(f, delimiter=';')\n    d = csv.DictWriter(f, ['k', 'square'])\n    again = w\n"
        "    w.writerow(['begun', 'a;b'])\n    d.writeheader()\n"
        "    for k in range(4):\n        w.writerow([k, 'x;y'])\n"
        f"        {boundaries}\n        d.writerow({{'k': k, 'square': k * k}})\n        seen.append(k)\n"
        "again is w, w.dialect.delimiter\n"
    )
    left = lab.killed(cell, "len(seen) == 2 and __import__('shutil').copy('rows.csv', 'then.csv')")
    whole = Path("rows.csv").read_text()
    assert whole.count("\n") == 10
    shutil.copy("then.csv", "rows.csv")
    done, kernel = lab.again(left, cell)
    assert not done.error
    assert done.result == (True, ";")
    assert Path("rows.csv").read_text() == whole
    assert not lab.saves.unprotected
    assert "w is" not in kernel.notices


def test_a_writer_whose_file_nothing_opens_again_is_said(lab: Lab) -> None:
    """It is left out with its file, and a resumed run says that it is missing."""
    cell = (
        "import csv\nseen = []\nf = open('rows.csv', 'a', newline='')\nw = csv.writer(f)\nfor k in range(4):\n"
        "    w.writerow([k])\n    seen.append(k)\nf.close()\n"
    )
    left = lab.killed(cell, "len(seen) == 2")
    done, _ = lab.again(left, cell)
    assert done.error.startswith("MissingVariableError")
    assert "w (a writer to an open file)" in done.error
    assert not lab.saves.unprotected


def test_names_always_assigned_before_they_are_read_never_block(lab: Lab) -> None:
    """A file handle, a response, a generator: bound anew in each turn, they need not be saved."""
    Path("in.txt").write_text("text")
    cell = (
        "sizes = []\nfor k in range(4):\n    for j in range(2):\n        pass\n"
        "    with open('in.txt') as fh:\n        resp = (c for c in fh.read())\n        sizes.append(len(list(resp)))\n"
        "sizes\n"
    )
    left = lab.killed(cell, "len(sizes) == 2")
    done, _ = lab.again(left, cell)
    assert not done.error
    assert done.result == [4, 4, 4, 4]
    assert not lab.saves.unprotected


def test_a_live_resource_made_again_is_used(lab: Lab) -> None:
    """An open log file and a lock are not saved; resumed with them made again, the cell goes on."""
    before = "import threading\nlock = threading.Lock()\nout = open('log.txt', 'a')\n"
    cell = (
        "seen = []\nfor k in range(4):\n    with lock:\n        seen.append(k)\n    print(k, file=out, flush=True)\n"
        "out.close()\n"
    )
    left = lab.killed(cell, "len(seen) == 2", before=(before,))
    done, _ = lab.again(left, cell, before=(before,))
    assert not done.error
    assert done.names["seen"] == [0, 1, 2, 3]


def test_a_live_resource_that_nothing_made_again_is_named(lab: Lab) -> None:
    """In a kernel without it the error says what is missing; nothing runs and nothing is lost."""
    before = "out = open('log.txt', 'a')\n"
    cell = (
        "import ledger\nseen = []\nfor k in range(4):\n    seen.append(k)\n    ledger.note(k)\n    print(k, file=out)\n"
        "out.close()\n"
    )
    left = lab.killed(cell, "len(seen) == 2", before=(before,))
    done, _ = lab.again(left, cell)
    assert done.error.startswith("MissingVariableError")
    assert "out" in done.error
    assert "an open file" in done.error
    assert done.notes == ()
    again, _ = lab.again(left, cell, before=(before,))
    assert again.names["seen"] == [0, 1, 2, 3]


def test_a_live_resource_left_out_is_told_when_the_cell_starts(lab: Lab) -> None:
    """The notice names it and what it is, though nothing has been saved yet."""
    cell = "for k in range(3):\n    with lock:\n        x = k\n"
    _, new = lab.again(lab.folder(), cell, before=("import threading\nlock = threading.Lock()\n",))
    assert "lock is a lock and is not saved" in new.notices


def test_what_turns_up_unpicklable_in_the_middle_leaves_the_run_unprotected_not_dead(lab: Lab) -> None:
    """The run goes on to its end, says in red why it is not saved, and the last good snapshot stands."""
    cell = (
        "import ledger\nseen, gen = [], None\nfor k in range(4):\n    seen.append(k)\n    ledger.note(k)\n"
        "    if k == 1:\n        gen = (x for x in range(9))\nnext(gen)\n"
    )
    store = lab.folder()
    left: list[Path] = []

    def look(run: Run) -> None:
        if len(run.namespace.get("seen", ())) < 4:
            left[:] = [lab.folder()]
            shutil.copytree(store, left[0])

    with lab.saves.at_every_boundary(look):
        done, new = lab.again(store, cell)
    assert not done.error
    assert done.names["seen"] == [0, 1, 2, 3]
    assert done.result == 0
    assert "unprotected" in new.events
    assert lab.saves.unprotected
    assert all("gen cannot be saved" in why and "generator" in why for why in lab.saves.unprotected)
    again, new = lab.again(left[0], cell)
    assert new.status.resumed_at
    assert again.notes == (1, 2, 3)
    assert again.names["seen"] == [0, 1, 2, 3]


def test_registered_classes_are_saved_their_own_way(lab: Lab) -> None:
    """`nbckpt.register` teaches it a class that does not pickle."""
    before = (
        "import nbckpt\nclass Handle:\n    def __init__(self, n):\n        self.n, self.gen = n, (x for x in ())\n"
        "nbckpt.register(Handle, save=lambda h: h.n, load=lambda n: Handle(n))\n"
    )
    cell = "h, seen = Handle(0), []\nfor k in range(4):\n    h.n += k\n    seen.append(h)\nh.n, seen[0] is h\n"
    left = lab.killed(cell, "len(seen) == 2", before=(before,))
    done, _ = lab.again(left, cell, before=(before,))
    assert done.result == (6, True)


@pytest.mark.parametrize(
    ("capture", "says"), [("lambda: 1 / 0", "ZeroDivisionError"), ("lambda: (x for x in ())", "generator")]
)
def test_a_random_source_that_does_not_tell_its_state_is_named_before_anything_runs(
    lab: Lab, capture: str, says: str
) -> None:
    """The error names the source and the reason, and what to mend."""
    before = f"import nbckpt\nnbckpt.register_random_source('mine', {capture}, lambda state: None)\n"
    done, _ = lab.again(lab.folder(), CELL, before=(before,))
    assert done.error.startswith("UnpicklableError")
    assert "random source 'mine'" in done.error
    assert says in done.error
    assert done.notes == ()


def test_a_random_source_that_takes_no_state_back_is_named(lab: Lab) -> None:
    """Nothing of the cell runs, and the snapshot stays."""
    before = "import nbckpt\nnbckpt.register_random_source('mine', lambda: 1, lambda state: 1 / 0)\n"
    left = lab.killed(CELL, "len(seen) == 2", before=(before,))
    done, _ = lab.again(left, CELL, before=(before,))
    assert done.error.startswith("RestoreError")
    assert "random source 'mine'" in done.error
    assert done.notes == ()


def test_a_generator_that_draws_other_items_is_refused(lab: Lab) -> None:
    """A replay that yields other items than the ones done is an error, not a wrong result."""
    Path("in.txt").write_text("a\nb\nc\nd\n")
    cell = "import ledger\nseen = []\nfor line in open('in.txt'):\n    seen.append(line)\n    ledger.note(line)\n"
    left = lab.killed(cell, "len(seen) == 2")
    Path("in.txt").write_text("x\nb\nc\nd\n")
    done, _ = lab.again(left, cell)
    assert done.error.startswith("ReplayError")
    assert done.notes == ()
    Path("in.txt").write_text("a\n")
    short, _ = lab.again(left, cell)
    assert short.error.startswith("ReplayError")
    assert "ends after 1" in short.error


def test_a_generator_that_would_be_made_of_other_arguments_is_refused(lab: Lab) -> None:
    """What is left of it may be other items, too, although the finished ones are the same."""
    cell = (
        "n, seen = 3, []\ndef up(n):\n    yield from range(n)\nfor k in up(n):\n    seen.append(k)\n    n += 1\nseen\n"
    )
    left = lab.killed(cell, "len(seen) == 2")
    done, _ = lab.again(left, cell)
    assert done.error.startswith("ReplayError")
    assert "(n)" in done.error
    done, _ = lab.again(left, cell, "--on-change resume")
    assert done.result == [0, 1, 2, 3, 4]


def test_a_generator_that_draws_in_turn_with_the_body_goes_on_when_told_to(lab: Lab) -> None:
    """Its finished items cannot be drawn as they were; it says so, and `--on-change resume` ends as the plain cell."""
    cell = (
        "import random\nrandom.seed(1)\nseen = []\ndef draws(n):\n    for _ in range(n):\n"
        "        yield random.random()\nfor x in draws(6):\n    seen.append((x, random.random()))\nseen\n"
    )
    left = lab.killed(cell, "len(seen) == 3")
    plain, _ = lab.again(lab.folder(), cell)
    done, _ = lab.again(left, cell)
    assert done.error.startswith("ReplayError")
    assert "--on-change resume" in done.error
    done, _ = lab.again(left, cell, "--on-change resume")
    assert done.result == plain.result


# -- bad options -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--every banana", "banana"),
        ("--every 0s", "0s"),
        ("--every 0it", "0it"),
        ("--every -5m", "every"),
        ("--keep 0", "--keep"),
        ("--keep many", "many"),
        ("--nonsense", "--nonsense"),
        ("--vars nosuch", "nosuch"),
        ("--vars 1x", "1x"),
        ("--exclude a-b", "a-b"),
        ("--on-change never", "never"),
        ("--store http://nowhere/x", "nowhere"),
        ("second", "second"),
    ],
)
def test_a_bad_option_is_one_line_and_nothing_runs(lab: Lab, options: str, says: str) -> None:
    """It names the option or value; the cell does not run."""
    done, kernel = lab.again(lab.folder(), CELL, options)
    assert done.error
    assert says in done.error
    assert done.notes == ()
    assert "seen" not in done.names
    assert [len(text.strip().splitlines()) for text in kernel.shell.tracebacks] == [1]


@pytest.mark.parametrize("name", ["a/b", "../x", ".hidden", "-", "a b", "ä", "x" * 200])
def test_a_bad_name_is_one_line_and_nothing_runs(lab: Lab, name: str) -> None:
    """A name that could leave its folder, or hide in it, is refused."""
    with_name = f"%%checkpointed '{name}' --store {lab.folder()}\n"
    with kernel() as new:
        done = new.run(with_name + "ran = 1\n")
        assert done.error_in_exec or done.error_before_exec
        assert "ran" not in new.names
        assert [len(text.strip().splitlines()) for text in new.shell.tracebacks] == [1]


def test_vars_narrows_what_is_saved(lab: Lab) -> None:
    """Only what is asked for is saved; the rest comes from what runs again."""
    cell = "a, b = [], []\nfor k in range(4):\n    a.append(k)\n    b = [k]\n"
    left = lab.killed(cell, "len(a) == 2", options="--vars a")
    loaded = Repository.open(str(left)).load("prog")
    assert loaded is not None
    saved = {variable["name"] for variable in loaded.manifest.parts[0].info["variables"]}
    assert "a" in saved
    assert "b" not in saved
    done, _ = lab.again(left, cell, "--vars a")
    assert done.names["a"] == [0, 1, 2, 3]


# -- stores and snapshots --------------------------------------------------------------------------------


def test_a_store_that_cannot_be_written_is_an_error_before_anything_runs(lab: Lab) -> None:
    """The error names the place."""
    Path("file").write_text("not a folder")
    done, _ = lab.again(Path("file/store"), CELL)
    assert done.error.startswith("StoreError")
    assert "file" in done.error
    assert done.notes == ()


def test_a_snapshot_of_another_python_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence names both versions; nothing is touched."""
    left = lab.killed(CELL, "len(seen) == 2")
    from nbckpt.run import checkpoint

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "PYTHON", "3.99")
        done, _ = lab.again(left, CELL)
    assert done.error.startswith("RestoreError")
    assert "3.99" in done.error
    assert "Nothing was touched" in done.error
    assert done.notes == ()
    assert lab.again(left, CELL)[0].names["seen"] == [0, 1, 2, 3, 4]


def _damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.unlink()  # a hard link of what other tests look at
    path.write_bytes(raw)


@pytest.mark.parametrize("kind", ["log", "manifests", "packs"])
def test_a_damaged_newest_snapshot_is_named_and_the_one_before_is_used(lab: Lab, kind: str) -> None:
    """The run resumes one boundary earlier, says so, and ends right."""
    left = lab.killed(CELL, "len(seen) == 3")
    log = sorted((left / "prog" / "log").iterdir())
    newest, before = (json.loads(path.read_bytes().partition(b"\n")[0] or path.read_bytes()) for path in log[:-3:-1])
    if kind == "log":
        _damage(log[-1])
    else:
        fresh = max((left / "prog" / kind).iterdir(), key=lambda path: path.stat().st_mtime_ns)
        _damage(fresh)
    done, kernel = lab.again(left, CELL)
    assert not done.error
    assert done.names["seen"] == [0, 1, 2, 3, 4]
    assert done.notes == (2, 3, 4)
    assert "Snapshot" in kernel.notices or "snapshot" in kernel.notices
    assert newest != before


def test_only_damaged_snapshots_are_never_a_fresh_start(lab: Lab) -> None:
    """Nothing runs; `--fresh` does."""
    left = lab.killed(CELL, "len(seen) == 3")
    shutil.rmtree(left / "prog" / "packs")
    done, _ = lab.again(left, CELL)
    assert done.error.startswith("DamagedSnapshot")
    assert "--fresh" in done.error
    assert done.notes == ()
    anew, _ = lab.again(left, CELL, "--fresh")
    assert anew.notes == (0, 1, 2, 3, 4)


def test_a_snapshot_signed_elsewhere_is_not_loaded(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another key nothing of it is unpickled and nothing runs."""
    left = lab.killed(CELL, "len(seen) == 3")
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(lab.place / "other"))
    done, _ = lab.again(left, CELL)
    assert done.error.startswith("UntrustedSnapshot")
    assert done.notes == ()


def test_a_second_kernel_under_the_same_name_fences_the_first(lab: Lab) -> None:
    """The first computes on to its end, unprotected, and says who holds the name; the second's snapshots stand."""
    store = lab.folder()
    taken = []

    def intrude(run: Run) -> None:
        if not taken and len(run.namespace.get("seen", ())) == 2:
            taken.append(1)
            other = Repository.open(str(store)).writer("prog")
            other.commit({"kind": "script"}, [PartData("state", b"x", [], {})])

    with lab.saves.at_every_boundary(intrude):
        done, kernel = lab.again(store, CELL)
    assert taken
    assert not done.error
    assert done.names["seen"] == [0, 1, 2, 3, 4]
    assert "another kernel" in kernel.status.unprotected
    assert str(os.getpid()) in kernel.status.unprotected


def test_keep_says_how_many_snapshots_stay(lab: Lab) -> None:
    """While the cell runs there are as many as were asked for, after it the final one."""
    left = lab.killed(CELL, "len(seen) == 5", options="--keep 2")
    assert len(Repository.open(str(left)).history("prog")) == 2
    lab.again(left, CELL, "--keep 2")
    (final,) = Repository.open(str(left)).history("prog")
    assert final.final


def test_an_input_that_differs_is_named_in_a_warning(lab: Lab) -> None:
    """Restored values replace what the namespace holds, and say so when it held something else."""
    cell = "total = 0\nfor k in range(4):\n    total += rate\n"
    left = lab.killed(cell, "total == 20", before=("rate = 10\n",))
    done, kernel = lab.again(left, cell, before=("rate = 7\n",))
    assert done.names["total"] == 40
    assert "rate" in kernel.notices
    assert "10" in kernel.notices
    assert "7" in kernel.notices
    _, quiet = lab.again(left, cell, "--fresh", before=("rate = 10\n",))
    assert "rate" not in quiet.notices


def test_a_file_that_a_resume_would_empty_is_not_opened(lab: Lab) -> None:
    """`with open(..., "w")` around a loop is told at the start, and refused rather than entered again."""
    cell = 'with open("out.txt", "{mode}") as file:\n    for k in range(4):\n        print(k, file=file, flush=True)\n'
    left = lab.killed(cell.format(mode="w"), "k == 2")
    Path("out.txt").write_text("0\n1\n2\n")
    done, _ = lab.again(left, cell.format(mode="w"))
    assert done.error.startswith("RestoreError: line 2 was in progress and would open its file for writing again")
    assert Path("out.txt").read_text() == "0\n1\n2\n"
    done, _ = lab.again(left, cell.format(mode="a"), "--on-change resume")
    assert not done.error
    assert Path("out.txt").read_text() == "0\n1\n2\n3\n"
    _, kernel = lab.again(lab.folder(), cell.format(mode="w"))
    assert "opens a file for writing around a loop" in kernel.notices


def test_a_culprit_deep_inside_data_is_named_before_anything_runs(lab: Lab) -> None:
    """A connection in a list of records, a lock in a closure: the path leads there, and the words say what it is."""
    before = (
        "import sqlite3, threading\nrecords = [{'k': k} for k in range(1000)]\n"
        "records[700]['db'] = sqlite3.connect(':memory:')\n"
        "def made():\n    lock = threading.Lock()\n    return lambda: lock\ncall = made()\n"
    )
    done, _ = lab.again(lab.folder(), "for k in range(3):\n    records[0]['k'] += k\n", before=(before,))
    assert done.error.startswith("UnpicklableError: records[700]['db'] cannot be saved: a database connection")
    done, _ = lab.again(lab.folder(), "for k in range(3):\n    call()\n", before=(before,))
    assert done.error.startswith("UnpicklableError: call.<lock> cannot be saved: a lock belongs to this process")


def test_live_resources_of_libraries_are_known_by_their_names(lab: Lab) -> None:
    """A client, a browser: a class of that name is left out with a notice; its library is not imported for it."""
    before = (
        "import sys, types\ndef library(name, kind):\n    made = type(kind, (), {'__module__': name})\n"
        "    setattr(sys.modules.setdefault(name, types.ModuleType(name)), kind, made)\n    return made\n"
        "redis = library('redis.client', 'Redis')()\n"
        "driver = type('Chrome', (library('selenium.webdriver.remote.webdriver', 'WebDriver'),), {})()\n"
    )
    cell = "for k in range(3):\n    redis.k = driver.k = k\n"
    done, new = lab.again(lab.folder(), cell, before=(before,))
    assert not done.error
    assert "redis is a database connection and is not saved" in new.notices
    assert "driver is a browser and is not saved" in new.notices


def test_a_live_resource_that_is_registered_comes_back(lab: Lab) -> None:
    """`nbckpt.register` goes before what nbckpt knows of a class, also deep inside."""
    before = (
        "import nbckpt, sqlite3\nnbckpt.register(sqlite3.Connection, save=lambda c: list(c.iterdump()),\n"
        "    load=lambda lines: [c := sqlite3.connect(':memory:'), c.executescript('\\n'.join(lines))][0])\n"
        "db = sqlite3.connect(':memory:')\n_ = db.execute('create table t (k)')\nbox = {'db': [db]}\n"
    )
    cell = "for k in range(4):\n    with box['db'][0]:\n        _ = db.execute('insert into t values (?)', (k,))\n"
    cell += "rows = [k for k, in db.execute('select k from t')], box['db'][0] is db\n"
    left = lab.killed(cell, "db.execute('select count(*) from t').fetchone() == (2,)", before=(before,))
    done, _ = lab.again(left, cell, before=(before,))
    assert not done.error
    assert done.names["rows"] == ([0, 1, 2, 3], True)


def test_a_large_memory_map_is_left_out_and_a_changed_file_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made for more than memory holds is opened again by the notebook; what is only read is what it was."""
    from nbckpt.state.adapters import memory_maps

    before = "import numpy as np\nnp.arange(6.0).tofile('m.bin')\nm = np.memmap('m.bin', mode='{}', dtype=float)\n"
    cell = "total = 0.0\nfor k in range(4):\n    total += float(m[k])\n"
    with monkeypatch.context() as patch:
        patch.setattr(memory_maps, "LARGEST", 40)
        done, new = lab.again(lab.folder(), cell, before=(before.format("r+"),))
    assert not done.error
    assert "m is a memory map and is not saved" in new.notices
    left = lab.killed(cell, "total == 1.0", before=(before.format("r"),))
    assert lab.again(left, cell)[0].names["total"] == 6.0
    Path("m.bin").write_bytes(bytes(48))
    done, _ = lab.again(left, cell)
    assert done.error.startswith("RestoreError")
    assert "was changed since" in done.error


DRAWS = """
import ledger, nbckpt
from contextlib import suppress
from pathlib import Path
def draws():
    for k in range(4):
        yield k + int(Path('from').read_text())
"""


@pytest.mark.parametrize(
    "cell",
    [
        """
try:
    for x in draws():
        pass
except Exception:
    ledger.note('handled')
ledger.note('after')
""",
        """
with suppress(Exception):
    for x in draws():
        pass
""",
        """
for a in range(2):
    try:
        for x in draws():
            pass
    except Exception:
        ledger.note('handled')
        continue
""",
        """
try:
    for x in draws():
        pass
except:
    ledger.note('bare')
""",
        """
@nbckpt.resumable
def f():
    try:
        for x in draws():
            for y in range(1):
                seen = x
    except ValueError:
        ledger.note('handled')
        return 1
f()
""",
        """
@nbckpt.resumable
def f():
    for x in draws():
        for y in range(1):
            seen = x
try:
    r = f()
except Exception:
    ledger.note('handled')
""",
    ],
    ids=["try", "suppress", "continue", "bare", "in a function", "around a function"],
)
def test_handlers_of_the_cell_do_not_see_a_refusal(lab: Lab, cell: str) -> None:
    """They are meant for its own errors, and the refusal is shown whatever they do; a bare `except` does see it."""
    before = "from pathlib import Path\nPath('from').write_text('{}')\n"
    _, photos = lab.photographed(Program("killed", "", DRAWS + cell, before=(before.format(0),)), lab.folder())
    left = next(photo for photo in photos if "x 2" in photo.progress).store
    done, kernel = lab.again(left, DRAWS + cell, before=(before.format(5),))
    assert done.error.startswith("ReplayError"), kernel.shell.tracebacks
    assert done.notes == (("bare",) if "bare" in cell else ())
    assert not kernel.status.resumed_at


WORK = """
import asyncio
async def work(n):
    for _ in range(n):
        await asyncio.sleep(0)
    return n
"""
BEGUN = [
    "task = asyncio.create_task(work(3))",
    "task = asyncio.ensure_future(work(3))",
    "task = asyncio.gather(work(3), work(4))",
    "task = asyncio.get_running_loop().run_in_executor(None, len, 'ab')",
]


@pytest.mark.parametrize("begin", BEGUN)
def test_what_goes_on_by_itself_is_not_left_out_of_a_snapshot_that_needs_it(workplace: Path, begin: str) -> None:
    """No run that goes on from there could have it: the snapshot before stands, and the cell says why."""
    loop = "for k in range(3):\n    await asyncio.sleep(0)\n"
    with kernel() as book:
        book.run(WORK)
        done = book.run(
            f"%%checkpointed prog --store store --every 1it\n{loop}{begin}\n{loop}x = await task\n{loop}x\n"
        )
        assert done.success, book.shell.tracebacks
        assert book.events.count("unprotected") == 1
        assert book.status.gap[2].startswith("task cannot be saved: a ")
        assert "await it" in book.status.gap[2]
        assert book.status.state == "finished"
        assert not book.status.unprotected


def test_what_goes_on_by_itself_is_left_out_where_nothing_needs_it(workplace: Path) -> None:
    """Nor does what an earlier cell began, and begins again."""
    cell = "other = asyncio.create_task(work(9))\nfor k in range(3):\n    await asyncio.sleep(0)\nx = future.done()"
    with kernel() as book:
        book.run(WORK + "import concurrent.futures\nfuture = concurrent.futures.Future()\n")
        done = book.run(f"%%checkpointed prog --store store --every 1it\n{cell}\n")
        assert done.success, book.shell.tracebacks
        assert "unprotected" not in book.events
        assert "future is a future and is not saved; a resumed run needs it made again" in book.notices


def test_a_task_that_nobody_holds_is_said_not_to_be_saved(workplace: Path) -> None:
    """It is not there after a resume, whatever it was to do: so it is told while it runs, once, and not afterwards."""
    beside = (
        "out, held = [], set()\nasync def note(k):\n    await asyncio.sleep(0)\n    out.append(k)\n"
        "for k in range(4):\n    held.add(asyncio.create_task(note(k)))\n    held.clear()\n"
        "    for _ in range(2):\n        await asyncio.sleep(0)\nout\n"
    )
    with kernel() as book:
        book.run(WORK)
        done = book.run(f"%%checkpointed prog --store store --every 1it\n{beside}")
        assert done.success, book.shell.tracebacks
        assert book.notices.count("note() goes on beside the cell as a task, which no snapshot holds") == 1
        done = book.run("%%checkpointed other --store store --every 1it\nfor k in range(3):\n    await work(k)\n")
        assert done.success, book.shell.tracebacks
        assert "beside the cell" not in book.notices
