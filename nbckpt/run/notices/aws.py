"""AWS: a spot instance is told two minutes before it is taken back, and often earlier that this is likely.

Documented in the EC2 User Guide: "Spot Instance interruption notices", "EC2 instance rebalance recommendations",
"Use the Instance Metadata Service". Both items answer 404 until there is something to say.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from .notice import Notice
from .web import LINK_LOCAL, ask, expect, told

LINK_LOCAL_6 = "http://[fd00:ec2::254]"
LIFETIME = 21600
"""Seconds that a token is asked for: the most there is."""

ACTIONS = ("terminate", "stop", "hibernate")


class Aws:
    """The instance metadata service, version 2: each question carries a token that was asked for before."""

    pause = 2.0
    patience = 30.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        six = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower() == "ipv6"
        self._endpoint = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or (LINK_LOCAL_6 if six else LINK_LOCAL)
        self.name = f"AWS's metadata service at {self._endpoint}"
        self._token = ""
        self._token_until = 0.0

    def ask(self) -> list[Notice]:
        """Return that it is taken back, or that this is likely."""
        if (planned := self._item("spot/instance-action")) is not None:
            if planned.get("action") not in ACTIONS:
                raise ValueError(f"{self._endpoint} announces {planned!r:.40}, which is no action on an instance")
            return [Notice(f"AWS will {planned['action']} this spot instance", _moment(planned.get("time")))]
        if self._item("events/recommendations/rebalance") is not None:
            return [Notice("AWS says that this spot instance is likely to be taken back soon", certain=False)]
        return []

    def _item(self, path: str) -> dict[str, Any] | None:
        reply = ask(self._endpoint, f"latest/meta-data/{path}", self._headers())
        if reply.status == 401:  # the token is too old, or of an instance that was stopped and started again
            self._token = ""
            reply = ask(self._endpoint, f"latest/meta-data/{path}", self._headers())
        if reply.status == 404:
            return None
        return told(reply, self._endpoint)

    def _headers(self) -> dict[str, str]:
        if not self._token or time.monotonic() > self._token_until:
            lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": f"{LIFETIME}"}
            reply = ask(self._endpoint, "latest/api/token", lifetime, method="PUT")
            token = expect(reply, self._endpoint).decode("ascii")
            if not token.isprintable() or not 0 < len(token) < 1024:
                raise ValueError(f"{self._endpoint} gives {token!r:.40} as a token")
            self._token = token
            self._token_until = time.monotonic() + LIFETIME / 2
        return {"X-aws-ec2-metadata-token": self._token}


def _moment(text: object) -> float | None:
    """`2017-09-18T08:22:00Z` as seconds since 1970."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None  # that it goes is worth more than when
