"""Every test has keys of its own and a store that does not pause between attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import servers

from nbckpt.storage.stores import retrying
from nbckpt.storage.stores.s3 import S3Store


@pytest.fixture(autouse=True)
def own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBCKPT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("NBCKPT_KEY", raising=False)
    monkeypatch.delenv("NBCKPT_KEY_FILE", raising=False)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PAUSES", (0, 0, 0))


@pytest.fixture(scope="session")
def _servers_of_the_session() -> Iterator[None]:
    """They stay from test to test, and are stopped at the end."""
    yield
    servers.stop()


@pytest.fixture
def s3_server(
    _servers_of_the_session: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], servers.Server]:
    """Starts the server of a name, when a test first asks for it. Its credentials are the environment's meanwhile."""
    servers.use_credentials(monkeypatch)
    return lambda name: servers.s3(name, tmp_path_factory.getbasetemp() / "servers")


@pytest.fixture
def shared_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """One client for each server: making one takes longer than all that is asked of it."""
    clients: dict[str, Any] = {}
    new = S3Store._new_client

    def client(self: S3Store) -> Any:
        endpoint = self._given["endpoint_url"]
        if endpoint not in clients:
            clients[endpoint] = new(self)
        return clients[endpoint]

    monkeypatch.setattr(S3Store, "_new_client", client)
