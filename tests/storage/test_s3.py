"""Stores on S3 keep the contract on real servers, and say in one sentence what is wrong."""

from __future__ import annotations

import http.server
import itertools
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import servers

from nbckpt.errors import AlreadyExists, NotFound, OptionError, StoreError
from nbckpt.storage.stores import Store, open_store, s3
from nbckpt.testing.stores import StoreTests

pytest.importorskip("boto3")

_prefixes = itertools.count()


class OnS3(StoreTests):
    name = ""

    @pytest.fixture
    def store(self, s3_server: Callable[[str], servers.Server], monkeypatch: pytest.MonkeyPatch) -> Store:
        monkeypatch.setattr(s3, "_PAGE", 25)
        return open_store(s3_server(self.name).url(f"tests/{next(_prefixes)}"))

    def address(self, store: Store) -> str:
        return store.url


class TestMoto(OnS3):
    name = "moto"


class TestSeaweedFS(OnS3):
    name = "seaweedfs"


@pytest.fixture
def moto(s3_server: Callable[[str], servers.Server]) -> servers.Server:
    return s3_server("moto")


@pytest.fixture
def weed(s3_server: Callable[[str], servers.Server]) -> servers.Server:
    return s3_server("seaweedfs")


def what_it_says(url: str, use: Callable[[Store], object] = lambda store: store.get("k")) -> str:
    with pytest.raises(StoreError) as caught:
        use(open_store(url))
    assert not isinstance(caught.value, (NotFound, AlreadyExists))
    return str(caught.value)


EVERY_USE: list[Callable[[Store], object]] = [
    lambda store: store.get("k"),
    lambda store: store.get_into("k", 0, memoryview(bytearray(3))),
    lambda store: store.put("k", [b"1"]),
    lambda store: store.put("k", [b"1"], if_absent=True),
    lambda store: list(store.list("")),
    lambda store: store.now(),
]


def test_a_thousand_and_one(moto: servers.Server) -> None:
    """More than the server lists, or deletes, at once."""
    store = open_store(moto.url(f"tests/{next(_prefixes)}"))
    client, root = moto.client(), store.url.partition("?")[0].removeprefix("s3://bucket/")
    for k in range(1001):
        client.put_object(Bucket=moto.bucket, Key=f"{root}/log/{k:05d}", Body=b"")
    assert [entry.key for entry in store.list("log/")] == [f"log/{k:05d}" for k in range(1001)]
    store.delete([entry.key for entry in store.list("log/")])
    assert list(store.list("")) == []


def test_what_others_put_there_is_not_shown(moto: servers.Server) -> None:
    """Folder markers of consoles, hidden files and names that no store writes are left alone."""
    store = open_store(moto.url("shared"))
    for key in ("shared/", "shared/log/", "shared/.DS_Store", "shared/log/my file", "shared2/x", "shared/log//x"):
        moto.client().put_object(Bucket=moto.bucket, Key=key, Body=b"")
    store.put("log/1", [b"1"])
    assert [entry.key for entry in store.list("")] == [entry.key for entry in store.list("log/")] == ["log/1"]


def test_storage_settings_reach_the_server(moto: servers.Server) -> None:
    """Encryption and storage class are those of the URL."""
    store = open_store(moto.url("set", sse="aws:kms", sse_kms_key_id="my/key", storage_class="STANDARD_IA"))
    store.put("k", [b"1"])
    head = moto.client().head_object(Bucket=moto.bucket, Key="set/k")
    assert (head["ServerSideEncryption"], head["StorageClass"]) == ("aws:kms", "STANDARD_IA")
    assert "my/key" in head["SSEKMSKeyId"]


def test_profile_and_endpoint_are_found_as_by_every_program(
    weed: servers.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile's keys, and the address of the server in the environment or in the profile."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text(
        f"[team]\naws_access_key_id = {servers.KEY}\naws_secret_access_key = {servers.SECRET}\n"
        "[other]\naws_access_key_id = nobody\naws_secret_access_key = wrong\n"
    )
    (tmp_path / "config").write_text(f"[profile team]\nregion = us-east-1\nendpoint_url = {weed.endpoint}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    place = f"s3://bucket/profiles/{next(_prefixes)}"
    open_store(f"{place}?profile=team").put("k", [b"1"])
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert open_store(place).get("k") == b"1"
    monkeypatch.delenv("AWS_PROFILE")
    assert "no credentials were found" in what_it_says(f"{place}?region=us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", weed.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert "does not know these credentials" in what_it_says(f"{place}?profile=other")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.SECRET)
    assert open_store(place).get("k") == b"1"


def test_a_secret_in_the_url_is_not_shown() -> None:
    """Some programs take keys there; here they would be in every message and notebook."""
    with pytest.raises(OptionError, match="no place for a key") as caught:
        open_store("s3://AKIA123:hunter2@bucket/x")
    assert "hunter2" not in str(caught.value)


def test_corruption_on_the_way_is_refused(weed: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server compares what arrives with the checksum, and keeps nothing else."""
    store = open_store(weed.url("sums"))
    with monkeypatch.context() as patch:
        patch.setattr(s3, "zlib", SimpleNamespace(crc32=lambda *_: 12345))
        with pytest.raises(StoreError):
            store.put("k", [b"1"])
    with pytest.raises(NotFound):
        open_store(weed.url("sums")).get("k")


def test_a_forked_process_has_connections_of_its_own(moto: servers.Server) -> None:
    """A store that was opened before a fork works in both processes."""
    script = (
        "import os, sys; from nbckpt.storage.stores import open_store\n"
        "store = open_store(sys.argv[1]); store.put('k', [b'x' * 100000])\n"
        "child = os.fork()\n"
        "for _ in range(20): assert store.get('k') == b'x' * 100000\n"
        "if not child: os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, moto.url("fork")], check=True)


# Used wrongly


def test_wrong_credentials(weed: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way in which they can be wrong has its words; once they are right, the same store works."""
    url = weed.url("credentials")
    store = open_store(url)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(StoreError, match=r"does not accept these credentials: check .* untouched\.$"):
            store.put("k", [b""])
        patch.setenv("AWS_ACCESS_KEY_ID", "wrong")
        assert "does not know these credentials" in what_it_says(url)
        patch.delenv("AWS_SECRET_ACCESS_KEY")
        assert "no credentials were found: run `aws configure`" in what_it_says(url)
        patch.delenv("AWS_ACCESS_KEY_ID")
        for use in EVERY_USE:
            assert "no credentials were found" in what_it_says(url, use)
        assert "(nobody) could not be found" in what_it_says(weed.url("x", profile="nobody"))
    with pytest.raises(NotFound):
        store.get("k")


def test_no_such_bucket(moto: servers.Server) -> None:
    """A bucket that is not there is not an empty store."""
    url = moto.url("x").replace("//bucket/", "//nosuch/")
    for use in [*EVERY_USE, lambda store: store.delete(["k"])]:
        assert "there is no bucket 'nosuch': create it or correct" in what_it_says(url, use)
    assert "cannot be the name of a bucket" in what_it_says(url.replace("nosuch", "No_%"))


def test_unreachable() -> None:
    """Nobody listens, nobody answers, or there is no such host."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        port = silent.getsockname()[1]
        url = f"s3://bucket/x?region=us-east-1&timeout=0.2&endpoint_url=http://127.0.0.1:{port}"
        with servers.environment():
            for use in EVERY_USE:
                assert f"http://127.0.0.1:{port} did not answer in time" in what_it_says(url, use)
    with servers.environment():
        for use in EVERY_USE:
            assert "cannot be reached: check the network and the address." in what_it_says(url, use)
        for wrong in ("https://no.such.host.invalid", f"https://127.0.0.1:{port}"):
            what = what_it_says(f"s3://bucket/x?region=us-east-1&endpoint_url={wrong}")
            assert f"{wrong} cannot be reached" in what


@contextmanager
def web_server(status: int, body: bytes, headers: dict[str, str]) -> Iterator[str]:
    """Something that answers whatever it is asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if self.command != "HEAD" else b"")

        do_PUT = do_POST = do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, servers.environment():
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"s3://bucket/x?region=us-east-1&endpoint_url=http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.mark.usefixtures("shared_clients")
@pytest.mark.parametrize("status", [200, 301, 302, 404, 405])
@pytest.mark.parametrize("body", [b"", b"<html><body>Log in here</body></html>"])
def test_a_web_page_is_no_store(status: int, body: bytes) -> None:
    """What a captive portal or a wrong port answers is never taken for an empty store, nor for a snapshot saved."""
    with web_server(status, body, {}) as url:
        for use in EVERY_USE[:5]:
            assert "does not speak S3: correct endpoint_url" in what_it_says(url, use)


def error(code: str, more: str = "") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>It says.</Message>{more}</Error>".encode()


@pytest.mark.usefixtures("shared_clients")
@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (403, "AccessDenied", "credentials need s3:ListBucket on the bucket, and s3:GetObject"),
        (400, "ExpiredToken", "have expired: log in again"),
        (403, "RequestTimeTooSkewed", "the clock of this machine is wrong"),
        (400, "InvalidStorageClass", r"refused \(InvalidStorageClass: It says\)"),
        (507, "InsufficientStorage", "storage is full"),
    ],
)
def test_refusals_are_not_tried_again(status: int, code: str, says: str) -> None:
    """What the server will say again is raised at once, with what to do."""
    from nbckpt.storage.stores.retrying import _HOPELESS

    with web_server(status, error(code), {}) as url:
        for use in EVERY_USE[:5]:
            with pytest.raises(StoreError, match=says) as caught:
                use(open_store(url))
            assert caught.value.errno in _HOPELESS
            assert not isinstance(caught.value, NotFound)


@pytest.mark.usefixtures("shared_clients")
@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "InternalError"), (503, "SlowDown"), (429, "TooManyRequests"), (400, "RequestTimeout"), (400, "BadDigest")],
)
def test_passing_trouble_may_be_tried_again(status: int, code: str) -> None:
    """What may be over soon is an error that patience can cure, and never absence."""
    with web_server(status, error(code), {}) as url:
        for use in EVERY_USE[:5]:
            with pytest.raises(StoreError, match=code) as caught:
                use(open_store(url))
            assert caught.value.errno is None
            assert not isinstance(caught.value, NotFound)


def test_the_wrong_region_is_told() -> None:
    """The server knows the right one."""
    body = error("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>")
    with web_server(400, body, {"x-amz-bucket-region": "eu-west-1"}) as url:
        assert "in the region eu-west-1: add ?region=eu-west-1 to the store's URL" in what_it_says(url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://", "names no bucket"),
        ("s3:/b/x", "write 's3://b/x', or ./s3:/b/x for a folder"),
        ("s3://b/x?colour=red", "colour is no option of it; there are region, endpoint_url"),
        ("s3://b/x?endpoint_url=localhost:9000", "http://host:port"),
        ("s3://b/x?endpoint_url=http://me:secret@host", "http://host:port"),
        ("s3://b/x//y", "empty or dotted"),
        ("s3://b/../y", "empty or dotted"),
        ("s3://b/x?timeout=soon", "not a number of seconds"),
        ("s3://b/x?single_writer=perhaps", "neither true nor false"),
    ],
)
def test_wrong_urls(url: str, says: str) -> None:
    """What is wrong with a URL is said before anything is asked; a secret that strayed there is not repeated."""
    with pytest.raises(OptionError, match=says) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_without_boto3(moto: servers.Server) -> None:
    """Without the package, the error says how to get it."""
    script = (
        "import sys; sys.modules['boto3'] = None\n"
        "from nbckpt.storage.repository import Repository; Repository.open(sys.argv[1])\n"
    )
    run = subprocess.run([sys.executable, "-c", script, moto.url("x")], capture_output=True, text=True, check=False)
    assert "needs boto3: run `pip install 'nbckpt[s3]'`" in run.stderr


def test_a_url_opens_the_same_store_again() -> None:
    """A store's own URL has all that is needed, whatever is in its options."""
    url = "s3://bucket/a/b?profile=me&sse_kms_key_id=arn:aws:kms:eu:1:key/x%26y%3F&endpoint_url=http://host:1/path"
    assert open_store(url).url == open_store(open_store(url).url).url == url
