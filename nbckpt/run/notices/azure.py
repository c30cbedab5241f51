"""Azure: scheduled events, of which a spot VM gets half a minute's notice and others minutes.

Documented under "Scheduled Events for Linux VMs". All machines of a group are told of all events, and each says
which machines it is about. The first question ever turns the service on, and may take two minutes to be answered.
"""

from __future__ import annotations

from collections.abc import Mapping

from .notice import Notice
from .web import LINK_LOCAL, Reply, ask, expect, told

ENDPOINT = "NBCKPT_AZURE_METADATA"
"""Where the service is, if not where it always is: Azure names no variable for that."""

MEANS = {
    "preempt": "Azure takes this spot VM back",
    "terminate": "Azure will delete this VM",
    "redeploy": "Azure will move this VM to another host without what is on its temporary disk",
    "reboot": "Azure will reboot this VM",
    "freeze": "Azure will pause this VM for a moment",
}


class Azure:
    """The metadata service of one VM."""

    pause = 2.0
    patience = 300.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._endpoint = environ.get(ENDPOINT) or LINK_LOCAL
        self.name = f"Azure's metadata service at {self._endpoint}"
        self._machine = ""

    def ask(self) -> list[Notice]:
        """Return what is going to be done to this very machine."""
        document = told(self._get("scheduledevents?api-version=2020-07-01"), self._endpoint)
        try:
            events = [(str(one["EventType"]).lower(), one["Resources"], one["NotBefore"]) for one in document["Events"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self._endpoint} lists something else than events") from error
        return [
            Notice(MEANS[kind], _moment(start), certain=kind != "freeze")
            for kind, machines, start in events
            if kind in MEANS and self._is_among(machines)
        ]

    def _is_among(self, machines: list[str]) -> bool:
        if not self._machine:
            name = expect(self._get("instance/compute/name?api-version=2021-02-01&format=text"), self._endpoint)
            self._machine = name.decode("utf-8", "replace").strip().lower()
        return self._machine in {str(one).lower() for one in machines}

    def _get(self, path: str) -> Reply:
        return ask(self._endpoint, f"metadata/{path}", {"Metadata": "true"}, timeout=10.0)


def _moment(text: object) -> float | None:
    """`Mon, 19 Sep 2016 18:29:47 GMT` as seconds since 1970; an event that has begun has none."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(str(text)).timestamp()
    except (TypeError, ValueError):
        return None
