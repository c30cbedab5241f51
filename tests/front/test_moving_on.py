"""A snapshot is the state of one boundary, although the script goes on at once and changes all of it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nbckpt
from nbckpt.front import listing
from nbckpt.storage.repository import Repository
from watching import are_told

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a named pipe holds the writer up")

HELD_UP = """
from nbckpt.storage.spool import Spool
commit = Spool.commit

def held_up(*args, **options):
    with open({gate!r}, "rb", buffering=0) as gate:
        gate.read(1)
    return commit(*args, **options)

Spool.commit = held_up
"""
"""Whoever writes a snapshot begins when the script says so: until then nothing of what it was given is read."""

SCRIPT = """
import gc, hashlib, json, sys
import numpy as np
import nbckpt

MIB = 1024 * 1024
gate, truth = sys.argv[1:]

def noise(size, seed):
    return np.frombuffer(np.random.default_rng(seed).bytes(size), np.uint8).copy()

touched, still, rewritten = noise(12 * MIB, 1), noise(9 * MIB, 2), noise(9 * MIB, 3)
resized, replaced, turns = bytearray(noise(9 * MIB, 4)), noise(9 * MIB, 5), []
names = ["touched", "still", "rewritten", "resized", "replaced", "turns"]
try:
    with nbckpt.checkpointed("train", vars=names, every="1it", store="store", keep=99) as ckpt:
        for k in ckpt.loop(range(12)):
            # the snapshot of the turn before was handed over, and nobody has begun to write it
            turns.append(k)
            touched[k * 900_001 : k * 900_001 + 9] ^= 255
            if k > 5:  # until then they rest, and are known to
                rewritten += 1
                resized += bytes([k]) * MIB
                if k % 3 == 0:
                    del resized[-2 * MIB :]
                del replaced
                gc.collect()
                replaced = noise(9 * MIB, 100 + k)  # where the one before was, as may be
            if k > 8:
                still[5 * MIB :: 4096] = k
            if k:
                with open(gate, "wb", buffering=0) as file:
                    file.write(b".")
            with open(truth, "a") as file:
                now = {name: hashlib.sha256(bytes(globals()[name])).hexdigest() for name in names}
                file.write(json.dumps(now) + chr(10))
            if k == 11:
                raise RuntimeError("stop here, so that all snapshots stay")
except RuntimeError as error:
    print(error)
"""


@pytest.mark.parametrize("writer", ["process", "thread"])
@pytest.mark.parametrize("watched", ["", "off"], ids=["pages", "hash"])
def test_everything_changes_at_once_after_the_boundary(watched: str, writer: str, workplace: Path) -> None:
    """In place, resized, deleted, collected and made anew: each snapshot holds what was there at its boundary."""
    gate, truth, script = workplace / "gate", workplace / "truth", workplace / "script.py"
    os.mkfifo(gate)
    (workplace / "sitecustomize.py").write_text(HELD_UP.format(gate=str(gate)))
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(workplace), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "NBCKPT_WRITER": writer, "NBCKPT_PAGES": watched}
    done = subprocess.run(
        [sys.executable, script, gate, truth], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert "stop here" in done.stdout, done.stderr
    expected = [json.loads(line) for line in truth.read_text().splitlines()]
    repository = Repository.open("store", create=False)
    seen = set()
    for snapshot in repository.history("train"):
        found = nbckpt.load("train", store="store", seq=snapshot.seq)
        turn = found["turns"][-1]
        assert {name: hashlib.sha256(bytes(found[name])).hexdigest() for name in found} == expected[turn]
        seen.add(turn)
    assert seen == set(range(11))
    if writer == "process":
        how = "the pages that were written" if are_told() and not watched else "hashes"
        assert f"found by {how}" in listing.details(repository, "train").text
