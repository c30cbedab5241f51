"""Kernels killed with SIGKILL whose snapshots are on a server."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import servers

from kernels.cells import CELLS
from kernels.notebook import HELD, notebook
from nbckpt.storage.repository import Repository
from nbckpt.testing.proxy import FaultyProxy

pytestmark = pytest.mark.kernel

_places = itertools.count()


def killed_and_resumed(folder: Path, about: str, url: str) -> None:
    """The cell ends as if it had not been killed; its own folder stays empty of snapshots."""
    folder.mkdir()
    cell, hold = CELLS[about]
    head = f"%%checkpointed train --every 1it --store {url}\n"
    with notebook(folder) as book:
        plain, form = book.ok(cell), book.form()
    with notebook(folder, hold=hold) as book:
        book.kill_when_held(head + cell)
    with notebook(folder) as book:
        resumed = book.ok(head + cell)
        assert any("resumed at" in line for line in resumed.said)
        assert book.form() == form
    assert resumed.shown == plain.shown
    with notebook(folder) as book:
        again = book.ok(head + cell)
        assert "restored the finished result" in again.said[-1]
        assert again.shown == plain.shown
    assert not (folder / ".nbckpt").exists()


@pytest.mark.parametrize("name", ["moto", "seaweedfs"])
def test_on_s3(s3_server: Callable[[str], servers.Server], name: str, tmp_path: Path) -> None:
    """With credentials from the environment, as a kernel has them."""
    pytest.importorskip("boto3")
    url = s3_server(name).url(f"kernels/{next(_places)}")
    killed_and_resumed(tmp_path / "work", "nested loops with random numbers", url)


def test_on_sftp(tmp_path: Path) -> None:
    """With a key."""
    pytest.importorskip("paramiko")
    with servers.sftp(tmp_path / "server") as (url, _):
        killed_and_resumed(tmp_path / "work", "a shuffled generator", url.replace("PATH", "kernels/here"))


IN_FLIGHT = int(os.environ.get("NBCKPT_TEST_IN_FLIGHT", "67108864"))
"""Bytes of the snapshot that is on its way when its kernel is restarted."""
RATE = 16 * 1024**2
"""Bytes a second that the line to the server carries."""
BIG = f"""
import gate, random
noise, done = bytearray(b"".join(random.Random(n).randbytes(1024**2) for n in range({IN_FLIGHT // 1024**2}))), []
for k in range(4):
    noise[k * 1024 : k * 1024 + 8] = bytes(range(k, k + 8))
    done.append(k)
    gate.hold(k)
__import__("hashlib").sha256(noise).hexdigest(), done
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread of the kernel writes")
def test_a_snapshot_in_flight_over_a_slow_line(
    s3_server: Callable[[str], servers.Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart while a large snapshot is uploaded: it is committed, and the next kernel waits and resumes from it."""
    pytest.importorskip("boto3")
    server, prefix = s3_server("moto"), f"slow/{next(_places)}"
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "work" / "data"))  # with the kernels' key
    with FaultyProxy(server.endpoint, rate=RATE) as proxy:
        url = server.url(prefix).replace(server.endpoint, proxy.url)
        cell = f"%%checkpointed train --every 1it --store {url}\n{BIG}"
        with notebook(tmp_path / "work", hold=1) as book:
            book.watch(book.send(cell), HELD)
            # the loop stands in its second iteration, and the boundary before that is on its way
            repository = Repository.open(server.url(prefix), create=False)
            assert 0 < proxy.received < IN_FLIGHT
            assert repository.load("train") is None
            book.manager.restart_kernel(now=True)
            assert repository.load("train") is None
            book.client.wait_for_ready(timeout=120)
            book.ok("%load_ext nbckpt\nimport os; os.environ['HOLD'] = ''")
            resumed = book.ok(cell)
            assert any("waiting for the writer of an earlier run" in line for line in resumed.said), resumed.said
            assert any("resumed at k 1 of 4" in line for line in resumed.said), resumed.said
            assert proxy.received > IN_FLIGHT
        with notebook(tmp_path / "work") as book:
            plain = book.ok(BIG)
    assert resumed.text("execute_result") == plain.text("execute_result")


def test_a_store_that_cannot_be_used_is_said_before_anything_runs(
    s3_server: Callable[[str], servers.Server], tmp_path: Path
) -> None:
    """A wrong bucket, no credentials, a server that is not there: one sentence, and no statement was executed."""
    pytest.importorskip("boto3")
    url = s3_server("moto").url("x")
    tries = [
        (url.replace("//bucket", "//nosuch"), {}, "there is no bucket 'nosuch': create it"),
        (url, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials were found: run `aws configure`"),
        (re.sub(r":\d+$", ":9", url), {}, "check the network and the address"),
    ]
    (tmp_path / "work").mkdir()
    for store, environ, says in tries:
        with notebook(tmp_path / "work", **environ) as book:
            reply = book.run(f"%%checkpointed train --store {store}\nran = True\nfor k in range(3):\n    pass\n")
            assert reply.status == "error"
            assert says in reply.error
            assert reply.error.startswith("StoreError: ")
            assert "\n" not in reply.error
            assert "ran" not in book.names()
