"""The promise itself: a process that saves is killed at random moments, and what it had saved is there."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from states import check

from nbckpt.storage.repository import Repository

SIZE = 200_000
CHILD = """
import sys
sys.path.insert(0, {tests!r})
from states import check, state
from nbckpt.storage.repository import Repository

repository = Repository.open({store!r})
print("ready", flush=True)
for line in sys.stdin:  # each line is a life: the process is killed in the middle of one
    loaded = repository.load("train")
    number = 0 if loaded is None else check(loaded, size={size})
    writer = repository.writer("train", based_on=loaded)
    print("begin", flush=True)
    while True:
        number += 1
        writer.commit(*state(number, size={size}))
        print(number, flush=True)
"""


@pytest.mark.parametrize("times", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_again_and_again(times: int, tmp_path: Path) -> None:
    """After each kill the newest snapshot is whole, right, and at least the last one that was acknowledged."""
    store = str(tmp_path / "store")
    script = CHILD.format(tests=str(Path(__file__).parent), store=store, size=SIZE)
    rng = random.Random(0)
    acknowledged = 0

    def spawn() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    waiting = [spawn() for _ in range(2)]  # starting Python takes longest: the next one starts meanwhile
    try:
        for _ in range(times):
            child = waiting.pop(0)
            waiting.append(spawn())
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            child.stdin.write("live\n")
            child.stdin.flush()
            assert child.stdout.readline() == "begin\n"
            time.sleep(rng.random() * 0.03)  # not a wait for anything: the moment of death
            child.kill()
            said = child.stdout.read().split("\n")  # `communicate` would miss what came along with "begin"
            child.communicate()
            acknowledged = max([acknowledged, *(int(word) for word in said[:-1])])
            repository = Repository.open(store)
            loaded = repository.load("train")
            if loaded is None:
                assert acknowledged == 0
                continue
            assert loaded.damaged == []
            assert check(loaded, size=SIZE) in {acknowledged, acknowledged + 1}
            acknowledged = check(loaded, size=SIZE)
    finally:
        for child in waiting:
            child.kill()
            child.communicate()
    assert acknowledged > times // 10, "hardly any was committed in time: this shows nothing"
    assert Repository.open(store).verify("train") == []
