"""Lives to be ended: processes and kernels that save in a loop, and say out of process what was acknowledged.

Each line that a life leaves is one of `begun`, `saved G K` (the status said that iteration K of generation G is
saved), `at G K DIGEST` (the state as it was found in the first iteration), `finished G DIGEST`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import sys
from pathlib import Path
from typing import Any

LENGTH = 100
"""Iterations of a run, before the next generation begins anew."""
NOISE = 1_300_000
"""Bytes, enough for blocks that are handed over only if they changed."""
_BLOCK = 20_000

NAME = "crash"
CELL = """\
%%checkpointed crash --every {every} --store {store} --vars s --quiet{fresh}
s = begin({generation})
for k in range({length}):
    find(s, k)
    step(s, k)
find(s, {length})
"""


def begin(generation: int) -> dict[str, Any]:
    """Return the state of a run before its first iteration; the global random state is part of it."""
    random.seed(generation)
    seen: list[tuple[int, float]] = []
    return {
        "generation": generation,
        "done": 0,
        "rng": random.Random(generation),
        "noise": bytearray(random.Random(generation).randbytes(NOISE)),
        "seen": seen,
        "alias": seen,
    }


def step(s: dict[str, Any], k: int) -> None:
    """Do one iteration's work: a piece of the noise changes, the lists grow."""
    rng = s["rng"]
    at = rng.randrange(NOISE - _BLOCK)
    s["noise"][at : at + _BLOCK] = rng.randbytes(_BLOCK)
    s["alias"].append((k, random.random()))
    s["done"] = k + 1


def digest(s: dict[str, Any]) -> str:
    """Say in a word what a state is; one whose lists are not one list any more is another."""
    what = (s["generation"], s["done"], s["rng"].getstate(), s["seen"], s["alias"] is s["seen"])
    return hashlib.blake2b(repr(what).encode() + s["noise"], digest_size=8).hexdigest()


class Diary:
    """Lines that outlive the process that writes them."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._found = False

    def write(self, *words: object) -> None:
        """Add a line."""
        os.write(self._fd, (" ".join(map(str, words)) + "\n").encode("ascii"))

    def find(self, s: dict[str, Any], k: int) -> None:
        """Say in what state the first iteration of this process, and the end, find things."""
        if k == LENGTH:
            self.write("finished", s["generation"], digest(s))
        elif not self._found:
            self.write("begun")
            self.write("at", s["generation"], k, digest(s))
        self._found = True

    def listen(self, generation: int) -> None:
        """Write down whenever the status says that something is saved."""
        from nbckpt.front.display import StatusLine

        show = StatusLine.show

        def listening(line: StatusLine, status: Any, *, event: str) -> None:
            show(line, status, event=event)
            if status.unprotected:
                self.write("unprotected", json.dumps(status.unprotected))
            elif event == "finished":
                self.write("saved", generation, LENGTH)
            elif event == "saved" and (counted := re.search(r"(\d+) of \d+$", status.saved_progress)):
                self.write("saved", generation, counted[1])

        StatusLine.show = listening  # type: ignore[assignment,method-assign]


def live(store: str, diary: Diary, generation: int, every: str, *, fresh: bool) -> None:
    """Be a script that saves in a loop."""
    import nbckpt

    diary.listen(generation)
    with nbckpt.checkpointed(NAME, store=store, every=every, fresh=fresh, quiet=True) as ckpt:
        kept: Any = ckpt.state
        if not ckpt.resumed:
            kept.s = begin(generation)
        for k in ckpt.loop(range(LENGTH)):
            diary.find(kept.s, k)
            step(kept.s, k)
        diary.find(kept.s, LENGTH)


class ScriptLife:
    """A process, forked from one that has imported everything and done nothing yet."""

    def __init__(self, store: str, diary: str, generation: int, every: str, *, fresh: bool, power: Any = None) -> None:
        self.pid = os.fork()
        if self.pid:
            return
        status = 1
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            sys.stderr = Path(diary).with_name("stderr").open("a")
            if power is not None:
                power()
            live(store, Diary(diary), generation, every, fresh=fresh)
            status = 0
        except BaseException as error:  # noqa: BLE001 - it is told in the diary
            Diary(diary).write("failed", json.dumps(f"{type(error).__name__}: {error}"))
        finally:
            os._exit(status)

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self, *, group: bool) -> None:
        """End it, with all its group or alone."""
        (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)

    def bury(self) -> None:
        """Wait until it is gone."""
        os.waitpid(self.pid, 0)


class KernelLife:
    """A Jupyter kernel that runs a checkpointed cell."""

    def __init__(self, store: str, diary: str, generation: int, every: str, *, fresh: bool) -> None:
        from jupyter_client.kernelspec import KernelSpec
        from jupyter_client.manager import KernelManager

        self._manager = KernelManager()
        self._manager._kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], display_name="", language=""
        )
        with Path(diary).with_name("stderr").open("ab") as said:
            self._manager.start_kernel(env=dict(os.environ), cwd=str(Path(diary).parent), stderr=said)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)
        self.pid = self._manager.provisioner.process.pid
        head = f"from nbckpt.testing.lives import *; d = Diary({diary!r}); d.listen({generation}); find = d.find\n"
        self._client.execute(f"%load_ext nbckpt\n{head}")
        cell = CELL.format(
            every=every, store=store, generation=generation, length=LENGTH, fresh=" --fresh" if fresh else ""
        )
        self._client.execute(cell)

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._manager.provisioner.process.poll() is not None

    def kill(self, *, group: bool) -> None:
        """End it, with all its group or alone."""
        (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)

    def bury(self) -> None:
        """Wait until it is gone."""
        self._manager.provisioner.process.wait()
        self._client.stop_channels()
        self._manager.cleanup_resources()
