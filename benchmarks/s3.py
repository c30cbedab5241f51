"""How fast a state goes to an S3 server and comes back, beside what boto3 alone does on the same server.

`python -m benchmarks.s3 turn WHO ENDPOINT BYTES` measures once, in a process of its own that knows no memory yet, and
prints a line of JSON, in seconds; `python -m benchmarks.s3 serve` is the server, until its standard input ends.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

from . import rounds
from .floors import timed
from .peers import OURS

SIZE = 1 << 30
TURNS = 5
"""At least: whoever comes first meets a server that has no memory yet, and single turns differ by a third."""
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark"}
_BUCKET = "bench"
_PIECE = 16 << 20
_THREADS = 8
_RAW = f"put_object and get_object of {_PIECE >> 20} MiB in {_THREADS} threads"

Times = dict[str, dict[str, float]]
"""Seconds of an `upload` and a `download`, by who did it."""


def measure(folder: Path, size: int, turns: int, limit: float) -> Times:
    """Both in turn, several times; the medians. What comes back is compared with what was sent."""
    found: dict[str, dict[str, list[float]]] = {}
    with served() as endpoint:
        _client(endpoint).create_bucket(Bucket=_BUCKET)
        for number in range(turns):
            for name in (OURS, _RAW) if number % 2 else (_RAW, OURS):
                times = rounds.record("S3", "s3", "turn", name, endpoint, size, folder=folder, limit=limit)
                for what, seconds in times.items():
                    found.setdefault(name, {}).setdefault(what, []).append(seconds)
    return {name: {what: statistics.median(values) for what, values in times.items()} for name, times in found.items()}


def turn(name: str, endpoint: str, size: int) -> None:
    """Upload and download once, and leave the server as it was."""
    content = os.urandom(size)
    print(json.dumps((_nbckpt if name == OURS else _raw)(endpoint, content)))
    client = _client(endpoint)
    while listed := client.list_objects_v2(Bucket=_BUCKET).get("Contents"):
        client.delete_objects(Bucket=_BUCKET, Delete={"Objects": [{"Key": one["Key"]} for one in listed]})


def _nbckpt(endpoint: str, content: bytes) -> dict[str, float]:
    from nbckpt.storage.repository import Repository
    from nbckpt.storage.snapshot import PartData

    repository = Repository.open(f"s3://{_BUCKET}/store?region=us-east-1&endpoint_url={endpoint}")
    writer = repository.writer("bench")
    part = PartData("content", b"", [memoryview(content)], {})
    up = timed(lambda: writer.commit({}, [part]))
    loaded: list[Any] = []
    down = timed(lambda: loaded.append(repository.load("bench")))
    assert loaded[0].parts["content"].buffers[0] == content, "restores something else than was saved"
    return {"upload": up, "download": down}


def _raw(endpoint: str, content: bytes) -> dict[str, float]:
    client, starts = _client(endpoint), range(0, len(content), _PIECE)
    client.list_objects_v2(Bucket=_BUCKET)  # ours has spoken with the server before, too
    pieces: list[bytes] = []

    def put(start: int) -> None:
        client.put_object(Bucket=_BUCKET, Key=f"raw/{start}", Body=content[start : start + _PIECE])

    def get(start: int) -> bytes:
        data: bytes = client.get_object(Bucket=_BUCKET, Key=f"raw/{start}")["Body"].read()
        return data

    def every(work: Callable[[int], Any]) -> list[Any]:
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(work, starts))

    times = {"upload": timed(lambda: every(put)), "download": timed(lambda: pieces.extend(every(get)))}
    assert b"".join(pieces) == content, "the server gives back something else than it was given"
    return times


def _client(endpoint: str) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Where a server listens as long as this lasts."""
    command = [sys.executable, "-m", "benchmarks.s3", "serve"]
    with (
        patch.dict(os.environ, CREDENTIALS),
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        assert endpoint, "the S3 server did not start"
        try:
            yield endpoint
        finally:
            process.stdin.close()


def serve() -> None:
    """Be the server."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # or it tells of each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        turn(sys.argv[2], sys.argv[3], int(sys.argv[4]))
