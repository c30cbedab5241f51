"""How fast a state goes to an S3 server and comes back, beside what boto3 alone does on the same server.

`python -m benchmarks.s3 FOLDER BYTES ROUNDS` measures, in one process, and prints a line of JSON, in seconds;
`python -m benchmarks.s3 serve` is the server, a process of its own, until its standard input ends.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from .floors import timed
from .peers import OURS

SIZE = 256 << 20
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark"}
_BUCKET = "bench"
_PIECE = 16 << 20
_THREADS = 8
_TOOLS = "upload_file and download_fileobj"
_PIECES = f"put_object and get_object of {_PIECE >> 20} MiB in {_THREADS} threads"

Times = dict[str, dict[str, float]]
"""Seconds of an `upload` and a `download`, by who did it."""


def measure(folder: Path, size: int, rounds: int) -> Times:
    """All in turn, several times; the medians. What comes back is compared with what was sent."""
    content = os.urandom(size)
    found: dict[str, dict[str, list[float]]] = {}
    path = folder / "content"
    path.write_bytes(content)
    with served() as endpoint:
        client = _client(endpoint)
        client.create_bucket(Bucket=_BUCKET)
        for number in range(rounds):
            ours = partial(_nbckpt, endpoint, f"ours-{number}", content)
            tools, pieces = partial(_files, client, path, content), partial(_pieces, client, content)
            for name, turn in ((OURS, ours), (_TOOLS, tools), (_PIECES, pieces)):
                for what, seconds in turn().items():
                    found.setdefault(name, {}).setdefault(what, []).append(seconds)
    return {name: {what: statistics.median(values) for what, values in times.items()} for name, times in found.items()}


def _nbckpt(endpoint: str, name: str, content: bytes) -> dict[str, float]:
    from nbckpt.storage.repository import Repository
    from nbckpt.storage.snapshot import PartData

    repository = Repository.open(f"s3://{_BUCKET}/store?region=us-east-1&endpoint_url={endpoint}")
    writer = repository.writer(name)
    part = PartData("content", b"", [memoryview(content)], {})
    up = timed(lambda: writer.commit({}, [part]))
    loaded: list[Any] = []
    down = timed(lambda: loaded.append(repository.load(name)))
    assert loaded[0].parts["content"].buffers[0] == content, "restores something else than was saved"
    return {"upload": up, "download": down}


def _files(client: Any, path: Path, content: bytes) -> dict[str, float]:
    up = timed(lambda: client.upload_file(str(path), _BUCKET, "raw"))
    into = io.BytesIO()
    down = timed(lambda: client.download_fileobj(_BUCKET, "raw", into))
    assert into.getbuffer() == content, "the server gives back something else than it was given"
    return {"upload": up, "download": down}


def _pieces(client: Any, content: bytes) -> dict[str, float]:
    starts = range(0, len(content), _PIECE)
    memory = memoryview(bytearray(len(content)))

    def put(start: int) -> None:
        client.put_object(Bucket=_BUCKET, Key=f"raw/{start}", Body=content[start : start + _PIECE])

    def get(start: int) -> None:
        data = client.get_object(Bucket=_BUCKET, Key=f"raw/{start}")["Body"].read()
        memory[start : start + len(data)] = data

    def every(work: Callable[[int], None]) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(work, starts))

    times = {"upload": timed(lambda: every(put)), "download": timed(lambda: every(get))}
    assert memory == content, "the server gives back something else than it was given"
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
        print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
