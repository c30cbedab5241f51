"""The crash campaign: runs that save in a loop are killed at random moments, and nothing acknowledged may be lost.

    python -m nbckpt.testing.crash --kills 1000 --what kernel --store /tmp/crash

After each kill the newest snapshot must verify, be at least the newest one of which the status had said that it is
saved, and hold exactly what the run without a kill holds there; the next life must find itself in that state, and a
run that comes to its end must have the right answer. Prints a table; the exit status tells whether all held.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from nbckpt.testing.lives import LENGTH, NAME, KernelLife, ScriptLife, begin, digest, step

WHAT = ("kernel", "writer", "both", "disk-full", "power-loss", "s3-faults")
_EVERY = ("1it", "1it", "2it", "0.01s", "auto")
_STAGING = ("", "", "400000")
"""Bytes that a life hands over at once, where it is not to decide for itself."""
_SPAN = 0.35
"""Seconds of a life, at most, after its loop has begun."""
_SILENCE = 1.0
"""Seconds after which a request is given up."""
_ROOM = 16 * 1024 * 1024
"""Bytes of the disk that is filled."""


class CampaignError(Exception):
    """Something was lost, damaged or wrong."""


@cache
def expected(generation: int) -> list[str]:
    """Return the digests of the state before each iteration of a run that nobody kills, and at its end."""
    random_state = random.getstate()
    s = begin(generation)
    digests = [digest(s)]
    for k in range(LENGTH):
        step(s, k)
        digests.append(digest(s))
    random.setstate(random_state)
    return digests


class Campaign:
    """A store and the lives that were spent on it; `through` is its address for those who live, if it is another."""

    def __init__(
        self, what: str, place: Path, store: str, seed: int, *, kernels: bool = False, through: str = ""
    ) -> None:
        self.what, self.place, self.store, self.kernels = what, place, store, kernels
        self.through = through or store
        self.rng = random.Random(f"{what} {seed} {kernels}")
        self.counts: Counter[str] = Counter()
        self.acknowledged = (0, 0)
        """The newest snapshot of which the status said that it is saved: generation and iterations done."""
        self.generation = 0
        self.failures: list[str] = []
        self._lives = itertools.count()

    def spend(self) -> None:
        """Spend one life, and look at what is left."""
        fresh = self.acknowledged[1] == LENGTH
        self.generation += fresh
        number = next(self._lives)
        diary = self.place / f"diary-{'kernel' if self.kernels else 'script'}-{number}"
        every = self.rng.choice(_EVERY)
        os.environ["NBCKPT_STAGING"] = self.rng.choice(_STAGING)
        aside = self.place / "aside"
        if self.kernels:
            life: Any = KernelLife(self.through, str(diary), self.generation, every, fresh=fresh)
        else:
            power = partial(_cut, self.store, aside, self.rng.randrange(400)) if self.what == "power-loss" else None
            life = ScriptLife(self.through, str(diary), self.generation, every, fresh=fresh, power=power)
        writer = None
        try:
            # most die after something was acknowledged, some before
            until = "saved" if self.rng.random() < 0.8 else "begun"
            _wait_for(lambda: life.ended() or until in _text(diary))
            writer = self._end(life, diary)
        finally:
            with contextlib.suppress(ProcessLookupError):
                life.kill(group=False)
            life.bury()
        self.counts["kills"] += 1
        if self.what == "power-loss" and (aside / "journal").exists():
            from nbckpt.testing.power import lose

            self.counts["steps lost"] += lose(aside, self.rng)
        self._look(diary, writer)

    def _end(self, life: Any, diary: Path) -> int | None:
        """Bring a life to its end; return the pid of its writer."""
        nap = partial(self._nap, life)
        if self.what == "power-loss":
            _wait_for(life.ended)
            return None
        nap()
        if self.what == "disk-full":
            with self._full_disk(life):
                nap()
            if life.ended():
                return None
            nap()
        if self.what in {"writer", "both"}:
            # where a store is slow, the writer of this life may not have begun yet
            _wait_for(lambda: _is_alive(self._writer() or 0) or life.ended() or "finished" in _text(diary))
        writer = self._writer()
        if self.what in {"writer", "both"} and writer is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(writer, signal.SIGKILL)
                self.counts["writers killed"] += 1
            if self.what == "writer":
                nap()
                writer = self._writer()
        if life.ended():
            return writer
        life.kill(group=self.rng.random() < 0.5)
        return writer

    def _nap(self, life: Any) -> None:
        """Let some time pass: the moment of death is what chance decides."""
        until = time.monotonic() + self.rng.random() * (3 if self.what == "s3-faults" else 1) * _SPAN
        while time.monotonic() < until and not life.ended():
            time.sleep(0.001)

    @contextlib.contextmanager
    def _full_disk(self, life: Any) -> Iterator[None]:
        """Fill the disk; where it is not a small one of its own, forbid the processes to make files of any size."""
        self.counts["disks filled"] += 1
        if not Path(self.store).parent.is_mount():
            pids = {life.pid, self._writer() or life.pid}
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            for limit in (20_000, limits[0]):
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, limits[1]))
                if limit == 20_000:
                    yield
            return
        ballast = Path(self.store).parent / "ballast"
        try:
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                for size in (65536, 512):
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(bytes(size))
            yield
        finally:
            ballast.unlink(missing_ok=True)

    def _writer(self) -> int | None:
        """The pid of the newest writer, by the lease that it signed."""
        locks = (self.place / "data" / "writers").glob(f"*-{NAME}.lock")  # one a store
        for path in sorted(locks, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            with contextlib.suppress(ValueError, KeyError):
                return int(json.loads(path.read_text())["pid"])
        return None

    def _look(self, diary: Path, writer: int | None) -> None:
        """Compare what a life said with what is left of it; raises `CampaignError`."""
        import nbckpt
        from nbckpt.storage.lease import wait_for_writer
        from nbckpt.storage.repository import Repository

        self._read(diary)
        repository = Repository.open(self.store)
        if not wait_for_writer(repository.store_id, NAME, lambda _: self.counts.update(["waited for"])):
            raise CampaignError("the writer of a dead kernel makes no progress")
        if problems := repository.verify(NAME):
            raise CampaignError(f"damaged: {problems}")
        loaded = repository.load(NAME)
        if loaded is None:
            if self.acknowledged != (0, 0):
                raise CampaignError(f"all is lost, and {self.acknowledged} was acknowledged")
            return
        s = nbckpt.load(NAME, store=self.store)["s"]
        found = s["generation"], s["done"]
        if found < self.acknowledged:
            raise CampaignError(f"{self.acknowledged} was acknowledged, and the newest snapshot is {found}")
        if digest(s) != expected(found[0])[found[1]]:
            raise CampaignError(f"snapshot {found} is not what was saved")
        self.counts["finished by the writer"] += found > self.acknowledged
        self.acknowledged = found[0], LENGTH if loaded.description["finished"] else found[1]
        if writer is not None:
            _wait_for(lambda: not _is_alive(writer), "a writer process stays behind")

    def _read(self, diary: Path) -> None:
        for line in _text(diary).splitlines():
            word, *rest = line.split(maxsplit=1)
            if word == "saved":
                generation, k = map(int, rest[0].split())
                self.counts["saved"] += 1
                self.acknowledged = max(self.acknowledged, (generation, k))
            elif word == "at":
                run, turn, found = rest[0].split()
                self.counts["resumed"] += int(turn) > 0
                if found != expected(int(run))[int(turn)]:
                    raise CampaignError(f"resumed in the wrong state at {run}, {turn}")
            elif word == "finished":
                run, found = rest[0].split()
                self.counts["right answers"] += 1
                if found != expected(int(run))[LENGTH]:
                    raise CampaignError(f"generation {run} ended with a wrong answer")
            elif word == "unprotected":
                self.counts["told unprotected"] += 1
            elif word == "failed":
                raise CampaignError(f"a life failed: {rest[0]}")
        diary.unlink(missing_ok=True)


def _cut(store: str, aside: Path, last: int) -> None:
    """In the life: cut the power after some steps. Only one process can be watched, so it writes itself."""
    from nbckpt.testing.power import Journal

    os.environ["NBCKPT_WRITER"] = "sync"
    Journal(Path(store), aside, last).watch()


def _wait_for(condition: Any, complaint: str = "a life does not begin", patience: float = 60.0) -> None:
    until = time.monotonic() + patience
    while not condition():
        if time.monotonic() > until:
            raise CampaignError(complaint)
        time.sleep(0.002)


def _text(diary: Path) -> str:
    return diary.read_text(encoding="ascii") if diary.exists() else ""


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


@contextlib.contextmanager
def _small_disk(place: Path) -> Iterator[str]:
    """A folder on a disk of a few megabytes, or on the one it is on where that takes more rights than we have."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "tmpfs", str(place)]
    with contextlib.suppress(OSError):
        subprocess.run(mount, capture_output=True, check=False)
    try:
        yield str(place / "store")
    finally:
        if place.is_mount():
            subprocess.run(["umount", "-l", str(place)], check=False)


def _among(store: str, kind: str) -> str:
    """A store of its own for one kind of lives: cells do not go on from scripts."""
    place, question, options = store.partition("?")
    return f"{place}-{kind}{question}{options}"


@contextlib.contextmanager
def _faulty_s3(seed: int) -> Iterator[tuple[str, str]]:
    """A prefix in a bucket, by its address and by one where things go wrong."""
    import boto3

    os.environ |= {"AWS_ACCESS_KEY_ID": "crash", "AWS_SECRET_ACCESS_KEY": "crash", "AWS_DEFAULT_REGION": "us-east-1"}
    command = [sys.executable, "-m", "nbckpt.testing.faulty_s3", "--chance", "0.05", "--seed", str(seed)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            direct, faulty = server.stdout.readline().split()
            boto3.client("s3", endpoint_url=direct).create_bucket(Bucket=NAME)
            yield (
                f"s3://{NAME}/store?endpoint_url={direct}",
                f"s3://{NAME}/store?endpoint_url={faulty}&timeout={_SILENCE}",
            )
        finally:
            server.stdin.close()


def campaign(
    what: str, kills: int, *, store: str = "", seed: int = 0, kernels: int = 0, talk: bool = False
) -> Counter[str]:
    """Spend `kills` lives, the first `kernels` of them real kernels; return what happened, with `failures`."""
    counts: Counter[str] = Counter()
    if what not in WHAT:
        raise ValueError(f"{what} is none of {', '.join(WHAT)}")
    place = Path(tempfile.mkdtemp(prefix="nbckpt-crash-"))
    environ = dict(os.environ)
    os.environ["NBCKPT_DATA_DIR"] = str(place / "data")
    try:
        with contextlib.ExitStack() as stack:
            if what == "disk-full":
                root = through = stack.enter_context(_small_disk(place / "disk"))
            else:
                root = through = store or str(place / "store")
            if what == "s3-faults" and not store:
                root, through = stack.enter_context(_faulty_s3(seed))
            for number, real in ((kernels, True), (kills - kernels, False)):
                kind = "kernels" if real else "scripts"
                series = Campaign(what, place, _among(root, kind), seed, kernels=real, through=_among(through, kind))
                for n in range(number):
                    try:
                        series.spend()
                    except CampaignError as failure:
                        counts["failures"] += 1
                        sys.stderr.write(f"{what}, kill {n}, seed {seed}: {failure}\n")
                        break
                    if talk and n % 50 == 49:
                        sys.stderr.write(f"{what}: {n + 1} of {number}, {dict(series.counts)}\n")
                counts += series.counts
                counts["real kernels"] += series.counts["kills"] if real else 0
    except CampaignError as failure:
        counts["failures"] += 1
        sys.stderr.write(f"{what}: {failure}\n")
    finally:
        os.environ.clear()
        os.environ.update(environ)
        shutil.rmtree(place, ignore_errors=True)
    return counts


_COLUMNS = (
    "kills",
    "real kernels",
    "writers killed",
    "disks filled",
    "steps lost",
    "saved",
    "finished by the writer",
    "resumed",
    "right answers",
    "failures",
)


def main(argv: list[str] | None = None) -> int:
    """Run the campaign that the options ask for, and print what happened."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m nbckpt.testing.crash", description=summary)
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="how many, of each kind")
    parser.add_argument("--what", action="append", choices=WHAT, help="what is killed or fails; all if left out")
    parser.add_argument("--store", default="", metavar="URL", help="where to save; a temporary folder if left out")
    parser.add_argument("--kernels", type=int, default=0, metavar="N", help="how many of the lives are real kernels")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    rows = []
    for what in given.what or WHAT:
        began = time.monotonic()
        kernels = 0 if what == "power-loss" else min(given.kernels, given.kills)
        counts = campaign(what, given.kills, store=given.store, seed=given.seed, kernels=kernels, talk=True)
        rows.append([what, *(str(counts[column]) for column in _COLUMNS), f"{time.monotonic() - began:.0f} s"])
        if counts["kills"] < given.kills and not counts["failures"]:
            rows[-1][-2] = "1"
    head = ["what", *_COLUMNS, "took"]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        sys.stdout.write("  ".join(map(str.ljust, row, widths)).rstrip() + "\n")
    return int(any(row[-2] != "0" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
