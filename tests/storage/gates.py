"""A writer process that stops where a test wants it: at a gate, which is a named pipe."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_CUSTOMIZE = """
import os, sys
if "nbckpt.storage.detached" in " ".join(sys.orig_argv):
    from nbckpt.storage import lease
    from nbckpt.storage.stores.local import LocalStore
    lease.BEAT = 0.01
    put = LocalStore.put
    def gated(self, key, bufs, *, if_absent=False):
        if "/log/" in key:
            gate = os.open({gate!r}, os.O_RDONLY)
            open({stands!r}, "w").close()
            os.read(gate, 1)  # one byte for each commit, since the gate may be held again before this one has passed
            os.close(gate)
        put(self, key, bufs, if_absent=if_absent)
    LocalStore.put = gated
"""


class Gate:
    """Every commit of a writer process whose environment is this one's stops before its log entry."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.path, self.stands = folder / "gate", folder / "stands"
        os.mkfifo(self.path)
        os.mkfifo(self.stands)
        (folder / "sitecustomize.py").write_text(_CUSTOMIZE.format(gate=str(self.path), stands=str(self.stands)))
        self.python_path = os.pathsep.join([str(folder), str(ROOT)])

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait until a commit stands at the gate; it passes when the block ends."""
        gate = os.open(self.path, os.O_WRONLY)
        self.stands.read_bytes()
        try:
            yield
        finally:
            with contextlib.suppress(BrokenPipeError):  # the test has killed the writer
                os.write(gate, b".")
            os.close(gate)

    def let_through(self) -> None:
        with self.held():
            pass


def wait_for_end(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    import select

    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 60)[0], f"process {pid} does not end"
    finally:
        os.close(fd)
