"""A proxy on loopback before a real S3 server that makes requests go wrong, as networks and servers do.

with FaultyProxy("http://127.0.0.1:9000", chance=0.1, seed=1) as proxy:
    Repository.open(f"s3://bucket/prefix?endpoint_url={proxy.url}&timeout=1")
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import math
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self

FAULTS = {
    "500": "the server answers 500 InternalError and does nothing",
    "500 after": "the server does what it was asked for, and answers 500",
    "503": "the server answers 503 SlowDown and does nothing",
    "503 after": "the server does what it was asked for, and answers 503",
    "reset": "the connection is reset before the request arrives",
    "reset after": "the connection is reset before the answer arrives",
    "stall": "nobody answers, until the client gives up",
    "stall after": "the server does what it was asked for, and nobody answers",
    "truncate": "the answer breaks off in the middle of its body",
    "duplicate": "the request arrives twice, and the second answer is given",
    "late": "the request arrives once more, after some that were sent later",
}
"""What can go wrong."""

_CODES = {"500": "InternalError", "503": "SlowDown"}
_OWN = {"connection", "expect", "keep-alive", "proxy-connection", "transfer-encoding"}  # headers of one hop
_SIP = 64 * 1024  # bytes that are let through at once where the line is slow
_LATER = 3  # requests that overtake a late one


class _Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class _Request(NamedTuple):
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes


class FaultyProxy:
    """Passes requests on to the server at `target`, except when it is the turn of a fault.

    `faults` are those of the first requests, one each, empty for none; `only` of them, where it names methods,
    count as requests. Later ones go wrong with probability `chance`, in one of `kinds`. With the same seed and the
    same requests the same go wrong. `seen` counts the requests, `done` the faults of each kind. With a `rate`, what all
    clients together send passes at so many bytes a second; `received` counts these.
    """

    def __init__(
        self,
        target: str,
        faults: Iterable[str] = (),
        *,
        only: Sequence[str] = (),
        chance: float = 0.0,
        seed: int = 0,
        kinds: Sequence[str] = tuple(FAULTS),
        rate: float = math.inf,
    ) -> None:
        self.seen = self.received = 0
        self.done: Counter[str] = Counter()
        self.chance = chance
        self._target = urlsplit(target).netloc
        self._faults = iter(faults)
        self._only, self._kinds, self._rng = only, list(kinds), random.Random(seed)
        self._lock = threading.Lock()
        self._late: list[tuple[int, _Request]] = []
        self._over = threading.Event()
        self._rate, self._free = rate, 0.0
        self._server = _Server(self)

    @property
    def url(self) -> str:
        """The address to use in place of the server's."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def next(self, *faults: str) -> None:
        """Let the next requests go wrong in these ways, instead of what was left of those before."""
        with self._lock:
            self._faults = iter(faults)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, _type: type[BaseException] | None, _value: object, _traceback: TracebackType | None) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def turn(self, request: _Request) -> str:
        """Return what goes wrong with a request, nothing if it is empty; and pass on those whose time has come."""
        with self._lock:
            if self._only and request.method not in self._only:
                return ""
            self.seen += 1
            kind = next(self._faults, None)
            if kind is None:
                kind = self._rng.choice(self._kinds) if self._rng.random() < self.chance else ""
            if kind:
                self.done[kind] += 1
            due = [late for when, late in self._late if when <= self.seen]
            self._late = [(when, late) for when, late in self._late if when > self.seen]
            if kind == "late":
                self._late.append((self.seen + _LATER, request))
        for late in due:
            self.pass_on(late)
        return kind

    def pace(self, count: int) -> None:
        """Wait until the line has carried so many bytes more."""
        with self._lock:
            self.received += count
            self._free = max(self._free, time.monotonic()) + count / self._rate
            pause = self._free - time.monotonic()
        if pause > 0:
            self._over.wait(pause)

    def pass_on(self, request: _Request) -> _Answer:
        """Ask the server."""
        connection = http.client.HTTPConnection(self._target, timeout=60)
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:  # the host as well: the signature is over it
                connection.putheader(name, value)
            connection.endheaders(request.body or None)
            reply = connection.getresponse()
            return _Answer(reply.status, reply.getheaders(), reply.read())
        finally:
            connection.close()

    def wait_for(self, client: socket.socket) -> None:
        """Say nothing until the client hangs up."""
        client.settimeout(0.05)
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                if not client.recv(1):
                    return


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: FaultyProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, *_: object) -> None:
        """A client that hung up is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _handle(self) -> None:
        body = self._body(int(self.headers.get("Content-Length", 0)))
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in _OWN]
        request = _Request(self.command, self.path, headers, body)
        proxy = self.server.proxy
        kind = proxy.turn(request)
        answer = None
        if kind in ("", "truncate", "duplicate", "late") or kind.endswith("after"):
            answer = proxy.pass_on(request)
        if kind == "duplicate":
            answer = proxy.pass_on(request)
        first = kind.partition(" ")[0]
        if first in _CODES:
            self._send(_Answer(int(first), [], _error(_CODES[first])))
        elif first == "reset":
            self._reset()
        elif first == "stall":
            proxy.wait_for(self.connection)
            self.close_connection = True
        elif answer is not None:
            self._send(answer, whole=kind != "truncate")

    def _body(self, length: int) -> bytes:
        pieces: list[bytes] = []
        while length and (piece := self.rfile.read(min(length, _SIP))):
            pieces.append(piece)
            length -= len(piece)
            self.server.proxy.pace(len(piece))
        return b"".join(pieces)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815 - as http.server calls them

    def _send(self, answer: _Answer, *, whole: bool = True) -> None:
        self.send_response_only(answer.status)
        names = {name.lower() for name, _ in answer.headers}
        for name, value in answer.headers:
            if name.lower() not in _OWN:
                self.send_header(name, value)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body if whole else answer.body[: len(answer.body) // 2])
        if not whole:
            self.close_connection = True
            if len(answer.body) < 2:  # there is no middle
                self._reset()

    def _reset(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>On purpose.</Message></Error>".encode()
