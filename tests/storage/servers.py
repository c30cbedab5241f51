"""Real servers on loopback, started by the test session where they are installed and stopped by it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

KEY, SECRET = "nbckpt-test-key", "nbckpt-test-secret"
PATIENCE = 60
"""Seconds after which a server that does not answer is taken for broken."""


@dataclass(frozen=True)
class Server:
    """An S3 server with one bucket, whose credentials are in the environment of the test session."""

    name: str
    endpoint: str
    bucket: str = "bucket"

    def url(self, prefix: str, **options: str) -> str:
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"s3://{self.bucket}/{prefix}?region=us-east-1&endpoint_url={self.endpoint}{more}"

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str) -> str:
    """The path of a server's program, beside this Python or on the path; without it the test is skipped by name."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextlib.contextmanager
def running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server's process, killed at the end."""
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_bucket(server: Server, process: subprocess.Popen[bytes] | None = None) -> None:
    """Create the bucket, as soon as the server is awake enough for it."""
    from botocore.exceptions import BotoCoreError, ClientError

    client, until = server.client(), time.monotonic() + PATIENCE
    while True:
        try:
            client.create_bucket(Bucket=server.bucket)
            client.put_object(Bucket=server.bucket, Key="awake", Body=b"")
            client.delete_object(Bucket=server.bucket, Key="awake")
        except (BotoCoreError, ClientError) as error:
            if "BucketAlready" in str(error):
                return
            if (process is not None and process.poll() is not None) or time.monotonic() > until:
                msg = f"{server.name} does not wake up: {error}"
                raise RuntimeError(msg) from error
            time.sleep(0.2)  # for the server, which cannot tell us
        else:
            return


@contextlib.contextmanager
def moto(_: Path) -> Iterator[Server]:
    pytest.importorskip("moto.server")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        found = Server("moto", f"http://{host}:{port}")
        wait_for_bucket(found)
        yield found
    finally:
        server.stop()


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[Server]:
    weed = program("weed")
    (folder / "data").mkdir()
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "t", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    port = free_port()
    command = [weed, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    command += [f"-s3.port={port}", f"-s3.config={folder / 's3.json'}", "-master.telemetry=false"]
    command += ["-master.volumeSizeLimitMB=1024", "-volume.max=60", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    for part in ("master", "volume", "filer"):
        command += [f"-{part}.port={free_port()}", f"-{part}.port.grpc={free_port()}"]
    command += [f"-s3.port.grpc={free_port()}"]
    with running(command, folder) as process:
        found = Server("seaweedfs", f"http://127.0.0.1:{port}")
        wait_for_bucket(found, process)
        yield found


@contextlib.contextmanager
def rclone(folder: Path) -> Iterator[Server]:
    """A server that ignores `If-None-Match`: two that create one object both succeed."""
    (folder / "data" / "bucket").mkdir(parents=True)
    port = free_port()
    command = [program("rclone"), "serve", "s3", str(folder / "data"), "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", f"{KEY},{SECRET}", "--config", str(folder / "rclone.conf")]
    with running(command, folder) as process:
        found = Server("rclone", f"http://127.0.0.1:{port}")
        wait_for_bucket(found, process)
        yield found


@contextlib.contextmanager
def sftp(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """What the URLs of an SFTP server look like, with PATH in them, and its process."""
    pytest.importorskip("asyncssh")
    script = Path(__file__).parent / "sftp_server.py"
    process = subprocess.Popen([sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, "the SFTP server did not start"
        options = f"key_filename={folder / 'id'}&allow_agent=false&look_for_keys=false"
        yield f"sftp://tester@127.0.0.1:{port}/PATH?{options}", process
    finally:
        process.kill()
        process.communicate()


def use_credentials(patch: pytest.MonkeyPatch) -> None:
    """Have the credentials of the servers in the environment, and nothing of the person's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    patch.setenv("AWS_ACCESS_KEY_ID", KEY)
    patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_CONFIG_FILE", os.devnull)
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@contextlib.contextmanager
def environment() -> Iterator[None]:
    """Have them as long as this lasts."""
    with pytest.MonkeyPatch.context() as patch:
        use_credentials(patch)
        yield


_START = {"moto": moto, "seaweedfs": seaweedfs, "rclone": rclone}
_lock = threading.Lock()
_open = contextlib.ExitStack()
_started: dict[str, Server | str] = {}


def s3(name: str, folder: Path) -> Server:
    """The server of that name, started when a test first asks for it."""
    with _lock:
        if name not in _started:
            place = folder / name
            place.mkdir(parents=True, exist_ok=True)
            try:
                _started[name] = _open.enter_context(_START[name](place))
            except pytest.skip.Exception as why:
                _started[name] = str(why)
        server = _started[name]
    if isinstance(server, str):
        pytest.skip(server)
    return server


def stop() -> None:
    """Stop them all."""
    _open.close()
    _started.clear()
