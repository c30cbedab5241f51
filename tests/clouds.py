"""The metadata services of AWS, GCP and Azure on loopback, with the replies that their documentation shows."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Service:
    """One of them: `answer` is what each kind of service does, and what it is going to say can be set at any time."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """The paths that were asked for, in order."""
        self.changed = threading.Condition()
        self.status = 0
        """What it answers to everything, if that is set."""
        self.body = b"{"
        """And with what."""
        self.silent = threading.Event()
        """Set where it takes questions and does not answer them, until `closing`."""
        self.closing = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def respond(self) -> None:
                with service.changed:
                    service.asked.append(f"{self.command} {self.path}")
                    service.changed.notify_all()
                if service.silent.is_set():
                    service.closing.wait()
                    return
                status, headers, body = (
                    (service.status, {}, service.body) if service.status else service.answer(self.command, self)
                )
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(ConnectionError):  # who asked has gone
                    self.wfile.write(body)

            do_GET = do_PUT = respond

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answer(self, command: str, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        raise NotImplementedError

    def variables(self) -> dict[str, str]:
        """The environment that leads to it."""
        raise NotImplementedError

    def give_notice(self) -> None:
        """From now on say what it says when the machine is going to go."""
        raise NotImplementedError

    def wait_until_asked(self, times: int = 1) -> None:
        """Wait for so many more questions."""
        with self.changed:
            until = len(self.asked) + times
            assert self.changed.wait_for(lambda: len(self.asked) >= until, timeout=60)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


class Aws(Service):
    """IMDSv2: nothing without a token; the items are there only once there is something to say."""

    says = "AWS will terminate this spot instance"

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str] = []
        self.items: dict[str, bytes] = {}

    def variables(self) -> dict[str, str]:
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.endpoint}

    def give_notice(self) -> None:
        self.items["spot/instance-action"] = b'{"action": "terminate", "time": "2037-09-18T08:22:00Z"}'

    def recommend(self) -> None:
        self.items["events/recommendations/rebalance"] = b'{"noticeTime": "2037-09-18T08:20:00Z"}'

    def answer(self, command: str, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if command == "PUT" and request.path == "/latest/api/token":
            if not 1 <= int(request.headers.get("X-aws-ec2-metadata-token-ttl-seconds", 0)) <= 21600:
                return 400, {}, b""
            self.tokens.append(f"token{len(self.tokens)}==")
            return 200, {}, self.tokens[-1].encode()
        if request.headers.get("X-aws-ec2-metadata-token") not in self.tokens[-1:]:
            return 401, {}, b""
        item = self.items.get(request.path.removeprefix("/latest/meta-data/"))
        return (404, {}, b"<h1>Not Found</h1>") if item is None else (200, {}, item)


class Gcp(Service):
    """The metadata server: a question may wait for a change; without the header it is refused."""

    says = "GCP takes this machine back, usually within 30 seconds"

    def __init__(self) -> None:
        super().__init__()
        self.values = {"preempted": "FALSE", "maintenance-event": "NONE"}

    def variables(self) -> dict[str, str]:
        return {"GCE_METADATA_HOST": self.endpoint.removeprefix("http://")}

    def give_notice(self) -> None:
        self.say("preempted", "TRUE")

    def say(self, key: str, value: str) -> None:
        with self.changed:
            self.values[key] = value
            self.changed.notify_all()

    def answer(self, command: str, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        url = urlsplit(request.path)
        wanted = {name: values[0] for name, values in parse_qs(url.query).items()}
        key = url.path.removeprefix("/computeMetadata/v1/instance/")
        if command != "GET" or request.headers.get("Metadata-Flavor") != "Google":
            return 403, {}, b"Missing Metadata-Flavor:Google header."
        if key not in self.values:
            return 404, {"Metadata-Flavor": "Google"}, b""
        with self.changed:
            if wanted.get("wait_for_change") == "true":
                seen = wanted["last_etag"]
                self.changed.wait_for(lambda: self.tag(key) != seen, timeout=float(wanted["timeout_sec"]))
            headers = {"Metadata-Flavor": "Google", "ETag": self.tag(key), "Server": "Metadata Server for VM"}
            return 200, headers, self.values[key].encode()

    def tag(self, key: str) -> str:
        return f"{sum(self.values[key].encode()):016x}"


class Azure(Service):
    """Scheduled events: all machines of a group are told of those of each."""

    says = "Azure takes this spot VM back"

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def variables(self) -> dict[str, str]:
        return {"NBCKPT_AZURE_METADATA": self.endpoint}

    def give_notice(self) -> None:
        self.schedule("Preempt", "WestNO_0")

    def schedule(self, kind: str, *machines: str, start: str = "Fri, 18 Sep 2037 08:22:00 GMT") -> None:
        self.events.append(
            {
                "EventId": f"f020ba2e-3bc0-4c40-a10b-8657{len(self.events):08}",
                "EventStatus": "Scheduled" if start else "Started",
                "EventType": kind,
                "ResourceType": "VirtualMachine",
                "Resources": list(machines),
                "NotBefore": start,
                "Description": "",
                "EventSource": "Platform",
                "DurationInSeconds": -1,
            }
        )

    def answer(self, command: str, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        url = urlsplit(request.path)
        if command != "GET" or request.headers.get("Metadata") != "true" or "api-version=" not in url.query:
            return 400, {}, b'{"error": "Bad request"}'
        if url.path == "/metadata/instance/compute/name":
            return 200, {"Content-Type": "text/plain"}, b"WESTNO_0"
        if url.path == "/metadata/scheduledevents":
            told = {"DocumentIncarnation": len(self.events) + 1, "Events": self.events}
            return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()
        return 404, {}, b""


@contextmanager
def serving(kind: type[Service]) -> Iterator[Any]:
    service = kind()
    try:
        yield service
    finally:
        service.close()
