"""An S3 server that is away, slow or confused now and then: a proxy in front of one that is not.

    python -m nbckpt.testing.faulty_s3 --chance 0.1

Starts moto's server and the proxy on loopback, prints the addresses of both, and ends when stdin does. What goes wrong
with a request: answers 500 and 503 SlowDown; a connection that is reset before or after the request had its effect; one
that stalls; a body that is cut off; a request that arrives twice; one that arrives after the next ones.
"""

from __future__ import annotations

import argparse
import http.client
import random
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("500", "503", "reset", "lost response", "stall", "truncated", "duplicated", "reordered")
_STALL = 2.0  # seconds: longer than the clients of the campaign wait
_HOP = {"connection", "keep-alive", "transfer-encoding"}


class Proxy(ThreadingHTTPServer):
    """Passes requests on to `server`, of which each goes wrong with some chance."""

    daemon_threads = True

    def __init__(self, server: tuple[str, int], chance: float, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = server
        self.chance = chance
        self.rng = random.Random(seed)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that are killed: that is the point."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Be quiet."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.rng.choice(FAULTS) if self.server.rng.random() < self.server.chance else ""
        if fault in {"500", "503"}:
            code = "InternalError" if fault == "500" else "SlowDown"
            raw = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>try again</Message></Error>".encode()
            self._answer(int(fault), [("Content-Type", "application/xml"), ("Content-Length", str(len(raw)))], raw)
            return
        if fault == "reordered":
            threading.Timer(self.server.rng.random(), self._forward, [body]).start()
        if fault in {"reset", "reordered"}:
            self._reset()
            return
        if fault == "duplicated":
            self._forward(body)
        status, headers, answer = self._forward(body)
        if fault == "stall":
            time.sleep(_STALL)
        if fault in {"stall", "lost response"}:
            self._reset()
            return
        cut = len(answer) // 2 if fault == "truncated" else len(answer)
        self._answer(status, headers, answer[:cut])
        if cut < len(answer):
            self._reset()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        line = http.client.HTTPConnection(*self.server.upstream, timeout=30)
        try:
            line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP | {"expect"}:
                    line.putheader(name, value)
            line.endheaders(body)
            answer = line.getresponse()
            raw = answer.read()
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            if "content-length" not in {name.lower() for name, _ in headers}:
                headers.append(("Content-Length", str(len(raw))))
            return answer.status, headers, raw
        finally:
            line.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], raw: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def _reset(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def main() -> None:
    """Serve until stdin ends."""
    from moto.server import ThreadedMotoServer

    parser = argparse.ArgumentParser(prog="python -m nbckpt.testing.faulty_s3")
    parser.add_argument("--chance", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    proxy = Proxy((host, port), given.chance, given.seed)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    sys.stdout.write(f"http://{host}:{port} http://127.0.0.1:{proxy.server_address[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
