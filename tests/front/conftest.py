"""Scripts that are run, and killed, without a process for each."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import pytest

from nbckpt.run.checkpoint import Run
from nbckpt.run.place import progress


class Killed(BaseException):
    """Stands for SIGKILL where a whole process would be too slow: nothing in a script expects it."""


class Scripts:
    """Runs scripts as `__main__`, saving at each boundary."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch, self.progress, self.die = patch, list[str](), 0
        self.photos: list[Path] | None = None
        """What a kill after each save would leave of the store, if that is to be known."""
        self.notices: list[str] = []
        self.everywhere = True
        save, start = Run.save, Run.start

        def boundary(run: Any, place: Any, *, turn: bool) -> None:
            assert run.save(place), run.status.unprotected
            run.schedule.due = self.everywhere
            self.progress.append(progress(place))
            if self.photos is not None:
                self.photos.append(Path(f"photo{len(self.photos)}"))
                shutil.copytree("store", self.photos[-1], copy_function=os.link)
            if len(self.progress) == self.die:
                raise Killed

        def started(run: Any) -> None:
            start(run)
            run.schedule.due = self.everywhere
            self.notices = run.status.notices

        def saved(run: Any, place: Any, **options: Any) -> bool:
            done = bool(save(run, place, **options))
            run.schedule.due = self.everywhere
            return done

        patch.setattr(Run, "boundary", boundary)
        patch.setattr(Run, "start", started)
        patch.setattr(Run, "save", saved)

    def execute(self, source: str, die: int = 0) -> dict[str, Any]:
        """Run a script in a namespace of its own; die after the n-th save if asked to."""
        self.progress, self.die = [], die
        module = types.ModuleType("__main__")
        self.patch.setitem(sys.modules, "__main__", module)
        path = Path("script.py").absolute()
        path.write_text(textwrap.dedent(source))
        exec(compile(path.read_text(), str(path), "exec", dont_inherit=True), vars(module))
        return vars(module)

    def kill(self, source: str, at: int) -> None:
        """Run a script that dies."""
        with pytest.raises(Killed):
            self.execute(source, at)

    def kill_everywhere(self, source: str, at_least: int) -> None:
        """Kill a script at each of its boundaries; each time it must come to the result of the one never killed."""
        self.execute(source)  # so that all that is learned of its functions is known
        shutil.rmtree("store")
        self.photos = photos = []
        reference = self.execute(source)["result"]
        self.photos = None
        boundaries = list(self.progress)
        assert len(boundaries) >= at_least, boundaries
        for die, (where, photo) in enumerate(zip(boundaries, photos, strict=True), 1):
            shutil.rmtree("store")
            photo.rename("store")
            self.everywhere = die % 4 == 1  # to save at each boundary again takes its time
            assert self.execute(source)["result"] == reference, f"killed at {where}"
            if self.everywhere:
                assert self.progress == boundaries[die:], f"killed at {where}: something was done again, or left out"
        self.everywhere = True
        assert self.execute(source)["result"] == reference, "run again after its end"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch, workplace: Path) -> Scripts:
    return Scripts(monkeypatch)
