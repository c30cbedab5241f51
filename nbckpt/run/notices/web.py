"""Asking a machine's metadata service, which is on the link itself: no proxy, no redirect, no long wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LINK_LOCAL = "http://169.254.169.254"
"""Where AWS, GCP and Azure have it."""
TIMEOUT = 2.0
"""Seconds: it is a millisecond away, or not there."""
MOST = 1 << 16
"""Bytes of an answer that are read."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: headers by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(
    endpoint: str, path: str, headers: Mapping[str, str], *, method: str = "GET", timeout: float = TIMEOUT
) -> Reply:
    """Send one request.

    Raises:
        OSError: nobody is there, or does not answer in time.
        ValueError: the endpoint is no URL, or what came back is not HTTP.
    """
    import http.client  # not before somebody is asked: it takes 20 ms to load
    from urllib.parse import urlsplit

    url = urlsplit(endpoint if "//" in endpoint else f"http://{endpoint}")
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"{endpoint} is not the address of a metadata service")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname, url.port, timeout=timeout)
    try:
        connection.request(method, f"{url.path.rstrip('/')}/{path}", headers=dict(headers))
        reply = connection.getresponse()
        named = {name.lower(): value for name, value in reply.getheaders()}
        return Reply(reply.status, named, reply.read(MOST))
    except http.client.HTTPException as error:
        raise ValueError(f"{endpoint} does not speak HTTP ({type(error).__name__})") from error
    finally:
        connection.close()


def expect(reply: Reply, endpoint: str) -> bytes:
    """Return what a reply holds.

    Raises:
        ValueError: it is an error.
    """
    if reply.status != 200:
        raise ValueError(f"{endpoint} answers with HTTP status {reply.status}")
    return reply.body


def told(reply: Reply, endpoint: str) -> dict[str, Any]:
    """Return the JSON object that a reply holds.

    Raises:
        ValueError: it is an error, or something else.
    """
    import json

    found = json.loads(expect(reply, endpoint))
    if not isinstance(found, dict):
        raise ValueError(f"{endpoint} says {found!r:.40} where an object is expected")  # noqa: TRY004 - as for no JSON
    return found
