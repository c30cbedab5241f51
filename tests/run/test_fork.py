"""`--capture fork`: a forked copy of the process saves the state of one boundary, and the loop goes on at once.

Each test runs programs in processes of their own, as forks of one that has done much else prove little.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import pytest

import nbckpt
from forks import write_held
from nbckpt.errors import OptionError
from nbckpt.front.magics import VALUES
from nbckpt.run import forkable
from nbckpt.settings import Settings

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")

PRELUDE = """
import os, sys
from nbckpt.run import forking, status
forking.WORTH = 0.0
from IPython.core.interactiveshell import InteractiveShell
from nbckpt.run.checkpoint import Run
runs = []
start = Run.start
def started(run):
    runs.append(run)
    start(run)
Run.start = started
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "nbckpt")
def cell(text):
    return shell.run_cell(text)
"""


class Place:
    """A folder to run programs in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_held(folder)

    def environment(self, **environ: str) -> dict[str, str]:
        path = os.pathsep.join([str(self.folder), str(ROOT)])
        return {**os.environ, "PYTHONPATH": path, "NBCKPT_WRITER": "process", **environ}

    def start(self, program: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(program)],
            cwd=self.folder,
            env=self.environment(**environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str, code: int = 0, **environ: str) -> tuple[str, str]:
        """Run a program; return what it printed and what it said besides."""
        process = self.start(program, **environ)
        try:
            out, err = process.communicate(timeout=25)
        finally:
            process.kill()
        assert process.returncode == code, out + err
        return out, err

    def load(self, seq: int | None = None) -> dict[str, Any]:
        return nbckpt.load("prog", store=str(self.folder / "store"), seq=seq)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "held", raising=False)
    return Place(folder)


HEAD = "%%checkpointed prog --store store --every 1it --keep 99 --capture fork\n"


def test_what_the_option_may_be() -> None:
    """One of two words, from the cell, `%config` or the environment; it is copied unless somebody asks."""
    assert Settings.collect(environ={}).capture == "copy"
    assert Settings.collect({"capture": "fork"}, environ={}).capture == "fork"
    assert Settings.collect({}, environ={"NBCKPT_CAPTURE": "fork"}).capture == "fork"
    assert VALUES["--capture"] == ["copy", "fork"]
    with pytest.raises(OptionError, match="--capture 'thread' is unknown: use copy or fork"):
        Settings.collect({"capture": "thread"})


CHANGES = """
import copy, gc, held, random, numpy as np
held.Held.stands = True
a_gate = held.Held()
data = held.make(3000)
text, array, deep = bytearray(b"a" * 2_000_000), np.arange(400_000.0), [[1], [2]]
twice = deep[0]
expected = []
for k in range(4):
    if k:
        held.wait()
    held.add_to_first(data.values())
    data[f"new {k}"] = [k, ""]
    del data[k]
    text[:] = bytes([98 + k]) * (2_000_000 + k)
    array *= 1.5
    twice.append(random.random())
    deep[1] = [k]
    gc.collect()
    expected.append(copy.deepcopy((data, text, array, deep, twice)))
    if k:
        held.let()
held.wait()
data.clear()
held.let()
raise SystemError("so that no result takes the place of the snapshots")
"""


@linux
def test_the_state_of_the_boundary(place: Place) -> None:
    """Whatever the loop changes at once, in place, resized, deleted: the copy saves what was there at the boundary."""
    out, err = place.run(f"""
cell({HEAD + CHANGES!r})
print(runs[0].status.notices, runs[0].status.snapshots)
""")
    assert out.splitlines()[-1] == "[] 4", err
    for seq in (1, 2, 3, 4):
        saved = place.load(seq)
        data, text, array, deep, twice = saved["expected"][-1]
        assert len(saved["expected"]) == seq
        assert (saved["data"], saved["text"], saved["deep"], saved["twice"]) == (data, text, deep, twice)
        assert saved["array"].tobytes() == array.tobytes()
        assert saved["twice"] is saved["deep"][0]


DRAWS = """
import os, random, held
import numpy as np
class Thing:
    made = 0
a_gate = held.Held()
seen, things, shared = [], {}, [0]
numbers = list(range(5000))
for k in range(8):
    if k == WHEN and os.environ.get("DIES"):
        held.wait()
        os.kill(os.getpid(), 9)
    things[k] = {"k": k, "random": random.random(), "of numpy": np.random.random(), "shared": shared}
    shared[0] += k
    Thing.made += 1
    random.shuffle(numbers)
    seen.append((numbers[0], Thing.made, things[k]["shared"] is shared))
    held.Held.stands = k == WHEN - 1 and bool(os.environ.get("DIES"))
    print(k, seen[-1])
print(seen, things, numbers[:20], random.random(), np.random.random())
"""


@linux
@pytest.mark.parametrize("when", [1, 4])
def test_a_kernel_killed_while_the_copy_works(place: Place, when: int) -> None:
    """The copy and the writer finish the snapshot, a new run waits for it, and ends as an uninterrupted one does."""
    seed = "import random, numpy\nrandom.seed(SEED)\nnumpy.random.seed(SEED)\n"
    cell = DRAWS.replace("WHEN", str(when))
    whole, _ = place.run(seed.replace("SEED", "1") + f"cell({cell!r})")
    program = seed + f"cell({HEAD + cell!r})\n"
    first = place.start(program.replace("SEED", "1"), DIES="yes")
    first.communicate(timeout=25)
    assert first.returncode == -signal.SIGKILL
    resumed = place.start(program.replace("SEED", "2"))
    assert resumed.stderr is not None
    assert "waiting for the writer of an earlier run" in resumed.stderr.readline()
    (place.folder / "gate").open("w").close()
    out, err = resumed.communicate(timeout=25)
    assert f"resumed at k {when} of 8" in err
    assert out.splitlines()[-1] == whole.splitlines()[-1]


NOTHING = """
import held, os
held.Held.stands = True
a_gate = held.Held()
for k in range(2):
    if k:
        pid = held.wait()
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        print(sorted({link.partition(":")[0] for link in links if not link.startswith("socket")}), flush=True)
        print(sum(link.startswith("socket") for link in links), os.getsid(pid) == pid, flush=True)
        print(open(f"/proc/{pid}/oom_score_adj").read().strip(), flush=True)
        held.Held.stands = False
        held.let()
"""


@linux
def test_the_copy_has_nothing_of_the_kernels(place: Place) -> None:
    """No port, no file, no terminal, no group; and where memory is short, it is the one to go."""
    (place.folder / "kernels").write_text("a file of the kernel's")
    out, _ = place.run(f"""
import socket
port, file = socket.create_server(("127.0.0.1", 0)), open("kernels")
cell({HEAD + NOTHING!r}).raise_error()
""")
    kinds, apart, score = out.splitlines()
    links = [link for link in re.findall(r"'(.*?)'", kinds) if not link.endswith(".lock")]
    assert set(links) <= {"/dev/null", "/memfd", f"{place.folder}/gate", f"{place.folder}/stands", "pipe"}
    assert apart == "1 True"
    assert score == "1000"


LOST = """
import held, os, signal
held.Held.stands = True
a_gate = held.Held()
kept = []
for k in range(4):
    if k == 1:
        pid = held.wait()
        HOW
    kept.append(k)
"""


@linux
@pytest.mark.parametrize("how", ["os.kill(pid, signal.SIGKILL)", "pass"])
def test_a_copy_that_is_lost(place: Place, how: str) -> None:
    """Killed for memory, or hung and ended by the writer: said once, nothing is lost, snapshots are copied after it."""
    (place.folder / "sitecustomize.py").write_text(
        "import sys\nif 'nbckpt.storage.detached' in ' '.join(sys.orig_argv):\n"
        "    from nbckpt.storage import detached, ward\n    detached.LOOK = ward.PATIENCE = 0.1\n"
    )
    out, err = place.run(f"""
cell({HEAD + LOST.replace("HOW", how)!r}).raise_error()
print(runs[0].status.snapshots, runs[0].status.unprotected)
print(*runs[0].status.notices, sep="\\n")
""")
    count, said = out.splitlines()
    assert int(count) == 4, "three boundaries and the result"
    assert said.startswith("the copy of this process that was to save the state has ended (SIGKILL), and nothing was")
    assert place.load()["kept"] == [0, 1, 2, 3]
    assert err.count("nbckpt prog: note:") == 1


FINDS = """
import held
kept, thing, file, inner = [], None, None, []
for k in range(9):
    if k == 1:
        file = open("opened", "w")
        kept.append(held.shared)
    if k == 2:
        kept.pop().append(k)
    if k == 3:
        thing = (n for n in ())
    if k == 6:
        thing = "text"
    inner.append(bool(told.unprotected))
    if k == 7:
        file.close()
        file = None
print(inner, thing)
raise SystemError("so that no result takes the place of the snapshots")
"""


@linux
def test_what_the_copy_finds_out_is_known(place: Place) -> None:
    """What cannot be saved, what shares objects, and what needs no words twice: as if the kernel had pickled it."""
    out, _ = place.run(f"""
cell("import held; beside = held.shared")
class Told:
    unprotected = property(lambda self: runs[0].status.unprotected)
    __reduce__ = lambda self: "told"
sys.modules["__main__"].told = shell.user_ns["told"] = Told()
cell({HEAD.replace("--every", "--exclude told --every") + FINDS!r})
print(runs[0].status.gap[-1])
print(sorted(runs[0].selection.joined))
print(runs[0].status.notices)
""")
    inner, *_, why, joined, notices = out.splitlines()
    assert inner == f"{[k in (5, 6, 7) for k in range(9)]} text", "heard when the next copy is due"
    assert why.startswith("thing cannot be saved"), why
    assert joined == "['beside']"
    assert notices == "['file is an open file and is not saved; a resumed run needs it made again']"
    assert place.load(3)["beside"] == [0, 2], "what shared objects once belongs to the state from then on"
    assert "beside" not in place.load(1)


BUSY = """
import threading, hashlib, time, queue
def native():
    while True:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 500_000)
def sleeps():
    while True:
        time.sleep(0.05)
threads = [threading.Thread(target=TARGET, daemon=True), threading.Thread(target=queue.Queue().get, daemon=True)]
for thread in threads:
    thread.start()
"""
ROUND = """
kept = []
for k in range(3):
    kept.append(k)
"""


@linux
@pytest.mark.parametrize("target", ["native", "sleeps"])
def test_beside_other_threads(place: Place, target: str) -> None:
    """One that waits is in nobody's way; one that may be inside native code is, which is said once, by name."""
    out, _ = place.run(f"""
cell({BUSY.replace("TARGET", target)!r})
cell({HEAD + ROUND!r}).raise_error()
print(runs[0].status.snapshots, *runs[0].status.notices)
""")
    if target == "sleeps":
        assert out.split() == ["4"]
    else:
        assert "(native)' may be inside native code" in out
        assert out.count("--capture fork") == 1
    assert place.load()["kept"] == [0, 1, 2]


@linux
def test_memory_that_a_copy_would_not_hold_still(place: Place) -> None:
    """What is mapped from a file, or shared with other processes, changes in the copy too: then there is none."""
    out, _ = place.run(f"""
import mmap
shell.user_ns["shared"] = mmap.mmap(-1, 4096)
cell({HEAD + ROUND!r}).raise_error()
print(*runs[0].status.notices)
""")
    assert out.startswith("--capture fork: memory is shared (/dev/zero), and a copy would see")
    assert place.load()["kept"] == [0, 1, 2]


def test_what_speaks_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear reason each: another system, a GPU, a library whose threads compute beside Python."""
    monkeypatch.setattr(forkable, "_THREADED", {"no_such_library": "Such"})
    if sys.platform == "linux":
        with monkeypatch.context() as patched:
            patched.setattr(forkable, "_shared_memory", lambda: None)  # this process runs other tests, too
            assert forkable.why_not() is None
            patched.setattr(forkable, "free_memory", lambda: 1000.0)
            assert str(forkable.why_not()).startswith("memory is short")
        torch = types.SimpleNamespace(cuda=types.SimpleNamespace(is_initialized=lambda: True))
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "torch", torch)
            assert forkable.why_not() == "a GPU is in use"
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "no_such_library", types.ModuleType("no_such_library"))
            assert forkable.why_not() == "Such is loaded, whose threads are missing in a copy"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert forkable.why_not() == "only Linux can"


@linux
def test_a_small_state_is_copied(place: Place) -> None:
    """Where to pickle takes no longer than to fork, there is no fork: from the second snapshot on that is known."""
    out, _ = place.run(f"""
forking.WORTH = 60.0
forked, fork = [], os.fork
os.fork = lambda: forked.append(1) or fork()
cell({HEAD + ROUND!r}).raise_error()
print(len(forked), runs[0].status.snapshots)
""")
    assert out == "1 4\n"


@linux
def test_nobody_is_warned_of_a_fork(place: Place) -> None:
    """Python from 3.12 on and some libraries warn of forks beside threads: this one has looked at these."""
    out, err = place.run(f"""
import warnings
warnings.simplefilter("always")
os.register_at_fork(before=lambda: warnings.warn("a fork"))
cell({HEAD + ROUND!r}).raise_error()
print(runs[0].status.snapshots)
""")
    assert out == "4\n"
    assert "a fork" not in err
    assert "DeprecationWarning" not in err


@linux
def test_a_script(place: Place) -> None:
    """`capture="fork"` is that in a script, inside a thread as well."""
    out, _ = place.run("""
import threading, nbckpt
def work():
    with nbckpt.checkpointed("prog", store="store", every="1it", capture="fork") as ckpt:
        ckpt.state.kept = getattr(ckpt.state, "kept", [])
        for k in ckpt.loop(range(5)):
            ckpt.state.kept.append([k])
    print(ckpt.state.kept)
forked, fork = [], os.fork
os.fork = lambda: forked.append(1) or fork()
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(len(forked))
""")
    assert out == "[[0], [1], [2], [3], [4]]\n5\n"
    assert place.load()["kept"] == [[0], [1], [2], [3], [4]]


AWAITS = """
import asyncio
kept = []
for k in range(4):
    await asyncio.sleep(0)
    kept.append(k)
"""


@linux
def test_cells_that_await(place: Place) -> None:
    """A running event loop stays the kernel's."""
    out, _ = place.run(f"""
cell({HEAD + AWAITS!r}).raise_error()
print(runs[0].status.snapshots, *runs[0].status.notices)
""")
    assert out == "5\n"
    assert place.load()["kept"] == [0, 1, 2, 3]


@linux
def test_what_is_shown_of_it(place: Place) -> None:
    """`%checkpoints show` says how the newest snapshot was taken and what it cost, or why it was not by a fork."""
    out, _ = place.run(f"""
cell({HEAD + ROUND!r} + "raise SystemError")
from nbckpt.front import listing
from nbckpt.storage.repository import Repository
print(listing.details(Repository.open("store"), "prog").text)
cell({HEAD + ROUND!r})
print(listing.details(Repository.open("store"), "prog").text)
""")
    first, second = re.findall(r"^how\n(.*)", out, re.MULTILINE)
    assert re.search(r"by a forked copy of the process, which took \d.*: the loop stood still for \d", first)
    assert second.endswith("; not by a fork, as it was waited for")


@linux
def test_an_interrupt_while_a_copy_works(place: Place) -> None:
    """Ctrl-C reaches the kernel alone: the copy's snapshot is finished, and that of the interrupt comes after it."""
    cell = LOST.replace("pid = held.wait()", "held.wait()").replace(
        "HOW", "os.kill(0, signal.SIGINT)\n        held.Held.stands = False\n        held.let()"
    )
    out, err = place.run(f"""
import os
os.setpgrp()
cell({HEAD + cell!r})
print(runs[0].status.snapshots, runs[0].status.left, *runs[0].status.notices)
""")
    assert out.splitlines()[-1] == "2 saved", out + err
    assert place.load()["kept"] == [0, 1]


REAPS = """
import held, os, signal
reaped = []
def reap(number, frame):
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            reaped.append(found)
    except ChildProcessError:
        pass
signal.signal(signal.SIGCHLD, HOW)
held.Held.stands = True
a_gate = held.Held()
kept = []
for k in range(4):
    if k == 1:
        held.wait()
        held.Held.stands = False
        held.let()
    kept.append(k)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
"""


@linux
@pytest.mark.parametrize("how", ["reap", "signal.SIG_IGN"])
def test_a_program_that_hears_of_its_children(place: Place, how: str) -> None:
    """Who waits for all children, or for none, may take the end of a copy away: what it said counts."""
    out, _ = place.run(f"""
cell({HEAD.replace("--every", "--exclude reaped --every") + REAPS.replace("HOW", how)!r}).raise_error()
print(runs[0].status.snapshots, *runs[0].status.notices)
""")
    assert out.splitlines()[-1] == "5"
    assert place.load()["kept"] == [0, 1, 2, 3]


PAGES = """
import numpy as np
rng = np.random.default_rng(1)
arrays, sums = [rng.random(1_500_000) for _ in range(2)], []
for k in range(8):
    told.took = float("inf") if k % 3 else 0.0
    told.forked.append(told.way())
    arrays[0][k * 100_000] = k
    if k == 5:
        arrays[1] += 1
    sums.append([float(array.sum()) for array in arrays])
told.forked.append(told.way())
raise SystemError("so that no result takes the place of the snapshots")
"""


@linux
def test_copies_and_forks_by_turns(place: Place) -> None:
    """What is known of large arrays, by hashes or by written pages, holds whoever took the snapshot before."""
    out, _ = place.run(f"""
forking.WORTH = 1.0
class Told:
    forked = []
    took = property(lambda self: None, lambda self, seconds: setattr(runs[0].forking, "took", seconds))
    way = lambda self: runs[0].forking.told.get("way")
    __reduce__ = lambda self: "told"
sys.modules["__main__"].told = shell.user_ns["told"] = Told()
cell({HEAD.replace("--every", "--exclude told --every") + PAGES!r})
print(Told.forked)
print(runs[0].status.snapshots, runs[0].status.notices)
""")
    forked, said = out.splitlines()[-2:]
    assert "'fork'" in forked, forked
    assert "'copy'" in forked
    assert said == "8 []"
    for seq in range(1, 9):
        saved = place.load(seq)
        assert [float(array.sum()) for array in saved["arrays"]] == saved["sums"][-1]


ODD = """
import os
KERNEL = os.getpid()
class Odd:
    def __reduce__(self):
        if os.getpid() != KERNEL:
            raise OSError("not in a copy")
        return Odd, ()
kept, odd = [], Odd()
for k in range(6):
    kept.append(k)
raise SystemError("so that no result takes the place of the snapshots")
"""


@linux
def test_what_only_a_copy_cannot_save(place: Place) -> None:
    """The next snapshot after one that failed is copied: nobody stays unprotected for the sake of a fork."""
    place.run(f"""
cell({HEAD + ODD!r})
""")
    assert place.load()["kept"] == [0, 1, 2, 3, 4, 5]


AT_THE_FORK = """
import held
held.Held.stands = True
a_gate = held.Held()
kept = []
for k in range(3):
    kept.append(k)
raise SystemError("so that no result takes the place of the snapshots")
"""


@linux
@pytest.mark.parametrize("error", ["TimeoutError", "KeyboardInterrupt"])
def test_an_interrupt_at_the_fork(place: Place, error: str) -> None:
    """A handler that raises as soon as there is a copy: its snapshot is heard of, and nothing gets between the two."""
    program = f"""
import signal, threading, held
pids, fork = [], os.fork
def late(*_):
    raise {error}
def ring():
    if not pids:
        pids.append(0)
        signal.raise_signal(signal.SIGALRM)
def through():
    held.wait()
    held.Held.stands = False
    held.let()
signal.signal(signal.SIGALRM, late)
os.register_at_fork(before=ring)
threading.Thread(target=through, name="nbckpt through", daemon=True).start()
result = cell({HEAD + AT_THE_FORK!r})
print(type(result.error_in_exec).__name__, runs[0].handover.is_busy, runs[0].status.snapshots)
"""
    out, err = place.run(program)
    kind, busy, count = out.splitlines()[-1].split()
    assert kind == ("SystemError" if error == "TimeoutError" else error), err
    assert busy == "False"
    assert int(count) == (3 if error == "TimeoutError" else 1)
    for seq in range(1, int(count) + 1):
        assert place.load(seq)["kept"] == [*range(seq)]
