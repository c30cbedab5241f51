"""Whatever a network does to one request, what was saved is there, and what cannot be reached is never empty."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from states import check, state

from nbckpt.errors import AlreadyExists, DamagedSnapshot, NotFound, StoreError
from nbckpt.storage.repository import Repository
from nbckpt.storage.stores import open_store, retrying
from nbckpt.testing.proxy import FAULTS, FaultyProxy

if TYPE_CHECKING:
    import servers

pytest.importorskip("boto3")
pytestmark = pytest.mark.usefixtures("shared_clients")

_places = itertools.count()
SIZE = 100_000
STEP = 17  # of the requests, with another beginning for each fault
SHORT = {"500 after", "reset after", "late"}
"""What every run tries: an answer that is an error, a lost one, a request that comes once more, later."""


@pytest.fixture
def moto(s3_server: Callable[[str], servers.Server]) -> servers.Server:
    return s3_server("moto")


def place(server: servers.Server, proxy: FaultyProxy | None = None, name: str = "") -> str:
    url = server.url(f"proxy/{name or next(_places)}", timeout="0.3")
    return url if proxy is None else url.replace(server.endpoint, proxy.url)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind not in SHORT else []) for kind in FAULTS]
)
def test_one_fault_anywhere(moto: servers.Server, kind: str) -> None:
    """Opening, saving twice, loading: at whichever request it happens, nobody notices."""
    with FaultyProxy(moto.endpoint) as proxy:
        for at in itertools.count(1 + list(FAULTS).index(kind) % STEP, STEP):
            url, before = place(moto, proxy), proxy.seen
            proxy.next(*[""] * (at - 1), kind)
            writer = Repository.open(url).writer("train")
            for number in (1, 2):
                writer.commit(*state(number, size=SIZE))
            loaded = Repository.open(url, create=False).load("train")
            assert check(loaded, size=SIZE) == 2
            assert loaded is not None
            assert loaded.damaged == []
            if at >= proxy.seen - before:
                break
    assert at > 15
    assert proxy.done[kind] >= at // STEP


@pytest.mark.parametrize("seed", range(2))
def test_faults_by_chance(moto: servers.Server, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long run over a bad line: what was acknowledged is there, whole, and in order."""
    monkeypatch.setattr(retrying, "PAUSES", (0,) * 8)
    with FaultyProxy(moto.endpoint, chance=0.15, seed=seed) as proxy:
        url = place(moto, proxy)
        writer = Repository.open(url).writer("train", keep=2)
        for number in range(1, 9):
            writer.commit(*state(number, size=SIZE))
            assert check(Repository.open(url, create=False).load("train"), size=SIZE) == number
        proxy.chance = 0
        assert Repository.open(url).verify("train") == []
    assert sum(proxy.done.values()) > 10


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind not in ("duplicate", "late")])
def test_unreachable_is_never_empty(moto: servers.Server, kind: str) -> None:
    """A store in which something is saved, over a line on which nothing works: errors, and nothing but errors."""
    name = f"unreachable-{next(_places)}"
    Repository.open(place(moto, name=name)).writer("train").commit(*state(1, size=SIZE))
    with FaultyProxy(moto.endpoint, chance=1, kinds=[kind]) as proxy:
        url = place(moto, proxy, name)
        uses: list[Callable[[], object]] = [
            lambda: Repository.open(url),
            lambda: Repository.open(url, create=False),
            lambda: open_store(url).get("absent"),
            lambda: open_store(url).get("nbckpt.json"),
            lambda: list(open_store(url).list("")),
            lambda: next(open_store(url).list("none/"), None),
        ]
        if kind != "truncate":  # the answer to a put has no body that could break off
            uses.append(lambda: open_store(url).put("new", [b""], if_absent=True))
        for use in uses:
            with pytest.raises(StoreError) as caught:
                use()
            assert not isinstance(caught.value, (NotFound, AlreadyExists, DamagedSnapshot))
            assert caught.value.errno is None
        proxy.chance = 0
        repository = Repository.open(url, create=False)
        proxy.chance = 1
        for use in (lambda: repository.load("train"), lambda: repository.peek("train"), repository.names):
            with pytest.raises(StoreError):
                use()
    assert check(Repository.open(place(moto, name=name)).load("train"), size=SIZE) == 1


def test_a_kernel_that_is_far_behind_is_fenced_over_a_bad_line(
    moto: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost responses and duplicates never let two runs mix."""
    from nbckpt.errors import CheckpointConflict

    monkeypatch.setattr(retrying, "PAUSES", (0,) * 8)
    with FaultyProxy(moto.endpoint, chance=0.2, seed=3, kinds=["500 after", "duplicate", "late"]) as proxy:
        url = place(moto, proxy)
        first, second = Repository.open(url).writer("train"), Repository.open(url).writer("train")
        first.commit(*state(1, size=SIZE))
        with pytest.raises(CheckpointConflict):
            second.commit(*state(2, size=SIZE))
        first.commit(*state(3, size=SIZE))
        assert check(Repository.open(url).load("train"), size=SIZE) == 3
