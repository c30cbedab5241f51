"""A power cut, simulated: what was not made durable by then is lost, or not, as chance has it.

While it is watched, a folder store's every step is written to a journal outside of it. After the kill, each change
to a folder that was not followed by an fsync of that folder is taken back with a chance of one half, and so is the
tail of each file that was not fsynced. A file that was removed is kept aside, so that its removal can be taken back.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Journal:
    """Watches a store's folder in this process, and kills it after some number of steps."""

    def __init__(self, folder: Path, aside: Path, last: int) -> None:
        self._folder, self._aside, self._last = folder, aside, last
        aside.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(aside / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._steps = 0
        self._nested = False
        self._turn = threading.RLock()
        """One step after another: what one thread does while another syncs may or may not be covered by that."""

    def watch(self) -> None:
        """Listen to what a `LocalStore` does from now on."""
        link, fsync = os.link, os.fsync

        def linking(source: Any, target: Any, **options: Any) -> None:
            self._note("link", target, lambda: link(source, target, **options), source=str(source))

        def syncing(fd: int) -> None:
            self._note("sync", Path(f"/proc/self/fd/{fd}").readlink(), lambda: fsync(fd))

        os.link, os.fsync = linking, syncing  # type: ignore[assignment]
        for step in ("open", "replace", "unlink", "mkdir", "rmdir"):
            self._listen(step)

    def _listen(self, step: str) -> None:
        plain = getattr(Path, step)

        def listening(path: Path, *args: Any, **options: Any) -> Any:
            def do() -> Any:
                return plain(path, *args, **options)

            if step == "open" and not set(args[0] if args else options.get("mode", "r")) & set("wxa"):
                return do()
            if step == "replace":
                kept = self._keep(Path(args[0]))
                return self._note("replace", args[0], do, source=str(path), kept=kept)
            return self._note(step, path, do, kept=self._keep(path) if step == "unlink" else "")

        setattr(Path, step, listening)

    def _keep(self, path: Path) -> str:
        """Keep what a name stands for, to put it back."""
        kept = self._aside / secrets.token_hex(8)
        with contextlib.suppress(OSError):
            _link(path, kept)
            return str(kept)
        return ""

    def _note(self, step: str, path: Any, do: Callable[[], Any], **more: Any) -> Any:
        """Do a step and write it down; the power may go just before it."""
        place = os.path.abspath(path)  # noqa: PTH100 - links are not followed
        watched = f"{place}/".startswith(f"{self._folder}/") or (step == "sync" and place == str(self._folder.parent))
        with self._turn:
            if self._nested or not watched:
                return do()
            self._steps += 1
            if self._steps > self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            self._nested = True
            try:
                done = do()
            finally:
                self._nested = False
            os.write(self._fd, (json.dumps({"step": step, "path": place, **more}) + "\n").encode("ascii"))
            return done


_link = os.link


def lose(aside: Path, rng: random.Random) -> int:
    """Take back what a power cut would lose, by the journal; return how many steps were lost."""
    steps = [json.loads(line) for line in (aside / "journal").read_text(encoding="ascii").splitlines()]
    pending: list[dict[str, Any]] = []
    unsynced: set[str] = set()
    for step in steps:
        if step["step"] == "sync":
            pending = [one for one in pending if str(Path(one["path"]).parent) != step["path"]]
            unsynced.discard(step["path"])
            continue
        pending.append(step)
        if step["step"] == "open" or step.get("source") in unsynced:
            unsynced.add(step["path"])
    lost = 0
    for path in sorted(unsynced):
        with contextlib.suppress(OSError):
            os.truncate(path, rng.randrange(Path(path).stat().st_size + 1))
            lost += 1
    for step in reversed(pending):
        if rng.random() < 0.5:
            lost += 1
            with contextlib.suppress(OSError):  # its folder was lost before
                _take_back(step, Path(step["path"]))
    shutil.rmtree(aside)
    return lost


def _take_back(step: dict[str, Any], path: Path) -> None:
    if step["step"] in {"open", "link"}:
        path.unlink()
    elif step["step"] == "replace":
        path.replace(step["source"])
        if step["kept"]:
            _link(step["kept"], path)
    elif step["step"] == "unlink" and step["kept"]:
        _link(step["kept"], path)
    elif step["step"] == "mkdir":
        shutil.rmtree(path)
    elif step["step"] == "rmdir":
        path.mkdir()
