"""Each thing is saved as it is, or refused by name: never silently something else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .things import CASES

REFUSED = {
    name: reason
    for reason, names in {
        "an open file": (
            "text file read, gzip file, bz2 file, lzma file, zipfile, tarfile, TextIOWrapper(BytesIO), npz lazy, "
            "shelve, BufferedReader(BytesIO), SpooledTemporaryFile, tempfile, dbm, scandir, pandas read_csv chunks"
        ),
        "a temporary directory": "TemporaryDirectory",
        "a memory map": "mmap, shared memory, mp RawArray",
        "a socket": "socket, ssl context, selector",
        "a connection": "http conn, smtplib, mp Pipe",
        "a database connection": "sqlite",
        "a database cursor": "sqlite cursor",
        "a lock": "Lock, RLock, Event, Condition, Semaphore, cookiejar, sched, mp Lock",
        "a queue": "SimpleQueue, mp Queue",
        "shared memory": "mp Value, mp Array",
        "a thread": "Timer, Thread, current thread",
        "thread-local data": "threading.local",
        "a logging handler": "handler",
        "an executor": "ThreadPoolExecutor",
        "a future": "Future",
        "a process": "Popen",
        "an event loop": "asyncio loop",
        "a loaded library": "CDLL",
        "a finalizer": "finalize",
        "a progress bar": "rich progress",
        "a terminal": "rich console",
        "a re.Scanner": "re.Scanner",
        "a mock": "Mock",
        "a structure of ctypes": "ctypes struct main",
        "a memoryview of a part": "memoryview slice",
        "'generator'": (
            "generator, enumerate gen, pandas groupby iter, pandas iterrows, pandas itertuples, glob, "
            "generator-based ctx"
        ),
        "'coroutine'": "coroutine",
        "'async_generator'": "async gen",
        "'traceback'": "traceback",
        "'_csv.reader'": "csv reader, csv DictReader",
        "cannot pickle": (
            "sqlite Row, re scanner, re finditer, re match, cmp_to_key, hashlib, hmac, zlib compressobj, csv writer, "
            "contextvars.ContextVar, contextvars.Context, np.nditer, np.flatiter, np.ndenumerate, DirEntry, "
            "struct.Struct"
        ),
        "does not have state": "SystemRandom",
        "pointers cannot be pickled": "ctypes pointer",
        "Can't pickle": "np frompyfunc",
        "wrong class": "super object",
    }.items()
    for name in names.split(", ")
}
"""What is refused, and why."""
DEPENDS = {"pairwise", "np.ndindex", "getattr proxy", "urllib opener"}
"""What can be saved with some versions of Python and NumPy: refused or the same."""

Answers = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Answers, Answers]:
    """What everything said of itself before it was saved, and in another process afterwards."""
    place = tmp_path_factory.mktemp("things")
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests.parent), str(tests)])
    for what in ("save", "load"):
        command = [sys.executable, str(tests / "state" / "try_things.py"), what, str(place)]
        done = subprocess.run(
            command, cwd=place, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    return tuple(json.loads((place / f"{what}.json").read_text()) for what in ("save", "load"))  # type: ignore[return-value]


@pytest.mark.parametrize("name", CASES)
def test_it_comes_back_or_is_refused(name: str, answers: tuple[Answers, Answers]) -> None:
    """In another process it answers as it did, or the reason why it was not saved names what it is."""
    before, after = answers[0][name], answers[1].get(name, {})
    if name in REFUSED:
        assert REFUSED[name] in before.get("refused", "it was saved")
    elif "refused" in before:
        assert name in DEPENDS, before["refused"]
    else:
        assert not before["uncopied"]
        assert after["now"] == before["was"]
