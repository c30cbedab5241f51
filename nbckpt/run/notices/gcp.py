"""GCP: a spot or preemptible machine is told some 30 seconds before it is stopped, others before maintenance.

Documented under "Preemptible VM instances", "Query the metadata server for maintenance event notices" and "About VM
metadata". Who has never asked for `maintenance-event` is not warned of one.
"""

from __future__ import annotations

from collections.abc import Mapping

from .notice import Notice
from .web import LINK_LOCAL, TIMEOUT, Reply, ask, expect

WAIT = 4
"""Seconds for which a question waits for a change: an answer comes at once when there is one."""


class Gcp:
    """The metadata server."""

    pause = 1.0
    patience = 30.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._endpoint = environ.get("GCE_METADATA_HOST") or LINK_LOCAL
        self.name = f"GCP's metadata server at {self._endpoint}"
        self._seen = ""
        """The tag of the answer about preemption that is known."""

    def ask(self) -> list[Notice]:
        """Return that it is preempted, or stopped for maintenance; being moved alive is no loss."""
        notices = []
        change = f"?wait_for_change=true&timeout_sec={WAIT}&last_etag={self._seen}" if self._seen else ""
        preempted = self._value(f"preempted{change}", timeout=WAIT + TIMEOUT if change else TIMEOUT)
        if expect(preempted, self._endpoint).strip().upper() == b"TRUE":
            notices.append(Notice("GCP takes this machine back, usually within 30 seconds"))
        self._seen = preempted.headers.get("etag", "")
        maintenance = expect(self._value("maintenance-event"), self._endpoint).strip()
        if maintenance.startswith(b"TERMINATE"):  # TERMINATE_ON_HOST_MAINTENANCE; NONE and MIGRATE_... leave it alive
            notices.append(Notice("GCP will stop this machine for maintenance of its host"))
        return notices

    def _value(self, path: str, timeout: float = TIMEOUT) -> Reply:
        wanted = {"Metadata-Flavor": "Google"}
        reply = ask(self._endpoint, f"computeMetadata/v1/instance/{path}", wanted, timeout=timeout)
        if reply.headers.get("metadata-flavor") != "Google":
            raise ValueError(f"{self._endpoint} is not GCP's metadata server")
        return reply
