"""The crash campaign in short, and that it would find what it looks for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nbckpt.storage.repository import Repository
from nbckpt.storage.stores import local

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="kills processes and watches them as Linux does"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]

KILLS = {"kernel": 25, "writer": 15, "both": 15, "power-loss": 40}


def run(*options: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name != "NBCKPT_WRITER"}
    command = [sys.executable, "-m", "nbckpt.testing.crash", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


@pytest.mark.parametrize("what", KILLS)
def test_nothing_acknowledged_is_lost(what: str) -> None:
    """Whatever is killed, and when: the newest snapshot is whole, right, and at least what was acknowledged."""
    done = run("--what", what, "--kills", str(KILLS[what]))
    assert done.returncode == 0, done.stdout + done.stderr
    row = done.stdout.splitlines()[-1].split()
    assert int(row[row.index(what) + 1]) == KILLS[what]


def test_a_full_disk() -> None:
    """The computation goes on, and nothing acknowledged is lost."""
    done = run("--what", "disk-full", "--kills", "8")
    assert done.returncode == 0, done.stdout + done.stderr


def test_s3_with_faults() -> None:
    """Errors, resets, stalls, cut and repeated and late requests: still nothing acknowledged is lost."""
    for module in ("nbckpt.storage.stores.s3", "boto3", "moto"):
        pytest.importorskip(module)
    done = run("--what", "s3-faults", "--kills", "6")
    assert done.returncode == 0, done.stdout + done.stderr


BROKEN = {
    "folders are not synced": "from nbckpt.storage.stores import local; local._sync_folder = lambda folder: None",
    "files are not synced": """
from nbckpt.storage.stores.local import LocalStore
def write(store, folder, bufs):
    store._make_folder(folder)
    temporary = folder / '.tmp-one'
    with temporary.open('xb') as file:
        file.write(b''.join(bufs))
    return temporary
LocalStore._write_temporary = write
""",
    "acknowledged too early": """
from nbckpt.run.news import News
hear = News.hear
def early(news, timeout=0.0):
    news.status.saved_progress = news.handed.get('progress', '')
    news.tell('saved')
    hear(news, 0.0)
News.hear = early
""",
}


@pytest.mark.parametrize("rule", BROKEN)
def test_the_campaign_finds_what_is_broken(rule: str) -> None:
    """Each rule switched off makes it fail."""
    early = "early" in rule
    script = f"{BROKEN[rule]}\nimport sys\nfrom nbckpt.testing.crash import main\n"
    script += f"sys.exit(main(['--what', {'kernel' if early else 'power-loss'!r}, '--kills', '60']))"
    environ = {**os.environ, "NBCKPT_WRITER": "thread" if early else ""}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search("was acknowledged|damaged", done.stderr), done.stderr


def test_a_half_written_pack_is_removed_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written for a snapshot that cannot be finished does not fill the disk for ever."""
    import resource

    from states import state

    repository = Repository.open(str(tmp_path / "store"))
    writer = repository.writer("train")
    writer.commit(*state(1))
    before = {path for path in (tmp_path / "store").rglob("*") if path.is_file()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(local.StoreError, match="may not grow"):
            writer.commit(*state(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert {path for path in (tmp_path / "store").rglob("*") if path.is_file()} == before
    assert writer.commit(*state(3)).seq == 2
