"""`--verify`: a snapshot is loaded back in a clean process, and what comes out is compared with what went in.

The clean process describes what it has loaded in words, which are compared with those for the live objects: nothing
is unpickled in the process that computes, where loading might change something.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import NbckptError, RestoreError, VerificationError
from ..state import adapters, memory, parts, pickling
from ..state.comparison import Description, Line, differences
from ..state.home import Home, load
from ..storage.repository import Repository
from .position import Position

_MANY = 4096
_START = (
    "import json, sys; given = json.load(sys.stdin); sys.path[:] = given['path']; "
    "from nbckpt.run.verification import recite; recite(given)"
)


class Verification:
    """Which snapshots of a run are still to be verified: its first one, and the first one inside a loop."""

    def __init__(self, *, wanted: bool) -> None:
        self._first = self._inside = wanted

    @property
    def pending(self) -> bool:
        """Whether one is still to be made."""
        return self._first or self._inside

    def is_due(self, positions: Sequence[Position]) -> bool:
        """Whether a snapshot at a boundary, in the cell and in what it called, is to be made for it and verified."""
        return self._first or (self._inside and any(map(_is_inside, positions)))

    def done(self, positions: Sequence[Position]) -> None:
        """Take note that a snapshot at a boundary was verified."""
        self._first = False
        self._inside = self._inside and not any(map(_is_inside, positions))


def _is_inside(position: Position) -> bool:
    return any(count for count, _ in position.turns.values())


def verify(name: str, store: str, seq: int, state: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Load a snapshot in a clean process and compare it with the live `state`; return what a person should know.

    Raises:
        VerificationError: it cannot be loaded there, or comes back as something else.
    """
    with tempfile.TemporaryDirectory(prefix="nbckpt-") as folder:
        place = str(Path(folder, "description"))
        given = {"path": sys.path, "store": store, "name": name, "seq": seq, "place": place, "kinds": _registered()}
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", _START],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # an interrupt, which reaches all of a group, is for the cell
        )
        if done.returncode:
            last = (done.stderr.strip() or f"it ended with status {done.returncode}").splitlines()[-1]
            raise _failed(last)
        description = Description(flat(state))
        difference, left_out = differences(description, _read(place))
    if difference:
        raise _failed(difference)
    return [f"{', '.join(left_out[:5])}: left out by the __getstate__ of its class"] if left_out else []


def _failed(why: str) -> VerificationError:
    return VerificationError(
        f"the snapshot does not come back in a new process as it was saved: {why.rstrip('.')}. Nothing more was run: "
        "mend its class's __setstate__ or __reduce__, leave it out with --exclude, or teach nbckpt with "
        "nbckpt.register"
    )


def flat(state: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The variables by their names, and all else by names that no variable has."""
    rest = {f"<{what}>": value for what, value in state.items() if what != "variables"}
    return {**state["variables"], **rest}


def _registered() -> str:
    """What `nbckpt.register` was told, for the clean process: the notebook would tell it again, too."""
    try:
        pickled = pickling.dump(adapters.registered())
    except NbckptError:
        return ""
    code, _ = pickling.pickle_definitions(pickled.definitions)
    raw = pickle.dumps((bytes(pickled.stream), [bytes(buffer) for buffer in pickled.buffers], code))
    return base64.b64encode(raw).decode()


def _read(place: str) -> Iterator[Line]:
    with Path(place).open("rb") as file:
        while lines := pickle.load(file):
            yield from (Line(*line) for line in lines)


# ---------------------------------------------------------------------------------------------------------
# in the clean process


def recite(given: Mapping[str, Any]) -> None:
    """Load a snapshot into an empty notebook and write down what it holds."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    try:
        state = _load(given, vars(main))
    except NbckptError as error:
        sys.stderr.write(f"\n{str(error).partition('. Nothing')[0]}\n")
        sys.stderr.flush()
        os._exit(1)
    batch: list[tuple[Any, ...]] = []
    with Path(given["place"]).open("wb") as file:
        for line in Description(flat(state)).lines():
            batch.append((line.label, line.words, line.spared))
            if len(batch) == _MANY:
                pickle.dump(batch, file)
                batch = []
        pickle.dump(batch, file)
        if batch:
            pickle.dump([], file)
    os._exit(0)  # whatever threads and exit handlers what was loaded has brought along


def _load(given: Mapping[str, Any], namespace: dict[str, Any]) -> dict[str, Any]:
    home = Home(namespace)
    if given["kinds"]:
        stream, buffers, code = pickle.loads(base64.b64decode(given["kinds"]))
        home.saved = code
        (kinds,) = load(stream, buffers, home)
        for kind, (save, make) in kinds.items():
            adapters.register(kind, save, make)
        namespace.update(home.made)
    saved = Repository.open(given["store"], create=False).load(
        given["name"], seq=given["seq"], allocate=memory.allocate
    )
    if saved is None:
        raise RestoreError("it is not in the store any more")
    root = parts.build(saved.parts, saved.parts["definitions"], home, saved.description["modules"])
    return {name: root[name] for name in KEPT}


KEPT = ("variables", "locals", "loops", "attributes", "moment")
"""What of a snapshot's graph is compared; the rest is nbckpt's own."""
