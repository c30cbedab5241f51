"""Real processes that save under one name at the same time: there is one chain, and nobody's work is overwritten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from states import check, state

from nbckpt.errors import CheckpointConflict
from nbckpt.storage.log import decode_entry, log_seqs, read_entry
from nbckpt.storage.records import digest
from nbckpt.storage.repository import Repository
from nbckpt.storage.signing import known_keys, signing_key

WRITERS = 8
ENOUGH = 60  # snapshots, unless the environment asks for minutes
MINUTES = float(os.environ.get("NBCKPT_TEST_MINUTES", "0"))
SIZE = 20_000

CHILD = """
import json, random, sys, time
sys.path.insert(0, {tests!r})
from states import check, state
from nbckpt.errors import CheckpointConflict
from nbckpt.storage import log
from nbckpt.storage.repository import Repository

log.KEEPS = 10**6  # so that the whole chain can be looked at
name, minutes, rng = sys.argv[1], float(sys.argv[2]), random.Random(sys.argv[1])
repository = Repository.open({store!r})
print("ready", flush=True)
sys.stdin.readline()
end, seq = time.monotonic() + 60 * minutes, 0
while time.monotonic() < end if minutes else seq < {enough}:
    loaded = repository.load("train")
    number = 0 if loaded is None else check(loaded, size={size})
    writer = repository.writer("train", keep=2, based_on=loaded, writer_info={{"run": name}})
    try:
        for _ in range(rng.randrange(1, 6)):  # each run goes on from what it found, or from its own
            number += 1
            seq = writer.commit(*state(number, size={size})).seq
            print(json.dumps([seq, number, name]), flush=True)
        if name == "7":
            repository.prune("train", grace=0)
    except CheckpointConflict as error:
        seq = log.log_seqs(repository._store, "train")[-1]
        print(json.dumps(str(error)), flush=True)
"""


def test_eight_processes_one_chain(tmp_path: Path) -> None:
    """Every snapshot that anybody was told of continues the one before it, and all are in one chain."""
    signing_key()
    store = str(tmp_path / "store")
    Repository.open(store)
    script = CHILD.format(tests=str(Path(__file__).parent), store=store, size=SIZE, enough=ENOUGH)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(number), str(MINUTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(WRITERS)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    said: list[Any] = [json.loads(line) for child in children for line in child.communicate()[0].splitlines()]
    assert [child.returncode for child in children] == [0] * WRITERS
    acknowledged = {seq: (number, name) for seq, number, name in (line for line in said if isinstance(line, list))}
    refusals = [line for line in said if isinstance(line, str)]
    assert len(acknowledged) == len(said) - len(refusals), "two were told of one number"
    assert len(acknowledged) >= ENOUGH // 2
    assert len({name for _, name in acknowledged.values()}) > 1, "nobody took turns: this shows nothing"

    repository = Repository.open(store)
    before, number = "", 0
    for seq in log_seqs(repository._store, "train"):
        raw = read_entry(repository._store, "train", seq)
        entry = decode_entry(raw, known_keys(), repository.store_id, "train", seq)
        assert entry.previous == before
        before = digest(raw)
        if seq and entry.fence is None:
            number += 1
            assert acknowledged[seq] == (number, entry.writer["run"])
    assert number == len(acknowledged), "an acknowledged snapshot is not in the chain"
    assert check(repository.load("train"), size=SIZE) == number
    assert repository.verify("train") == []


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals")
def test_a_zombie_overwrites_nothing(tmp_path: Path) -> None:
    """A process that was suspended while another went on says so when it wakes up, and its saves come to nothing."""
    signing_key()
    store = str(tmp_path / "store")
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from states import state\n"
        "from nbckpt.errors import CheckpointConflict\n"
        "from nbckpt.storage.repository import Repository\n"
        f"writer = Repository.open({store!r}).writer('train')\n"
        "writer.commit(*state(1))\n"
        "print('saved', flush=True)\n"
        "for line in sys.stdin:\n"
        "    try: print(writer.commit(*state(2)), flush=True)\n"
        "    except CheckpointConflict as error: print(error, flush=True)\n"
    )
    zombie = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert zombie.stdin is not None
    assert zombie.stdout is not None
    assert zombie.stdout.readline() == "saved\n"
    zombie.send_signal(signal.SIGSTOP)
    repository = Repository.open(store)
    writer = repository.writer("train", keep=1, based_on=repository.load("train"))
    for number in range(10, 40):
        writer.commit(*state(number))
    zombie.send_signal(signal.SIGCONT)
    for _ in range(2):
        zombie.stdin.write("save\n")
        zombie.stdin.flush()
        assert f"pid {os.getpid()}, since 2" in zombie.stdout.readline()
    zombie.communicate()
    assert check(repository.load("train")) == 39
    writer.commit(*state(40))
    assert repository.verify("train") == []


def test_who_holds_the_name(tmp_path: Path) -> None:
    """The one who is refused is told who saves under the name, and since when: also when it is far behind."""
    repository = Repository.open(str(tmp_path / "store"))
    for commits in (1, 30):
        name = f"train-{commits}"
        late = repository.writer(name)
        other = repository.writer(name, writer_info={"host": "elsewhere", "pid": 4711, "since": 1_700_000_000.0})
        for number in range(commits):
            other.commit(*state(number))
        with pytest.raises(CheckpointConflict, match=r"host elsewhere, pid 4711, since 2023-11-1.*may go on"):
            late.commit(*state(99))
