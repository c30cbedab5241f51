"""An S3 bucket, or what speaks its protocol, as a store: every blob one object, written by one request."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import random
import re
import threading
import time
import zlib
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nbckpt.errors import AlreadyExists, NbckptError, NotFound, OptionError, StoreError
from nbckpt.storage.stores import Buffer, Entry, check_key, yes_or_no
from nbckpt.storage.stores.listing import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

OPTIONS = ("region", "endpoint_url", "profile", "sse", "sse_kms_key_id", "storage_class", "timeout", "single_writer")

_TIMEOUT = 30.0  # seconds of silence after which a request is given up
_CONNECT_TIMEOUT = 5.0
_CONNECTIONS = 32
_PAGE = 1000  # entries of a listing, or keys of a deletion, that S3 takes at once
_SIP = 1024 * 1024  # read at once: more waits for the memory, less is too many calls
_CONFLICTS = (0.05, 0.2, 0.5, 1.0)  # pauses after "somebody creates this at the moment"
_CONFLICT = "ConditionalRequestConflict"


class S3Store:
    """Keeps each blob in an object of `bucket`, below `prefix`.

    `options` are those of the URL, named in `OPTIONS`; what they leave open (credentials, region, endpoint) is
    found as every program on boto3 finds it. A request is sent once: who wants patience wraps the store.
    """

    def __init__(self, bucket: str, prefix: str = "", options: Mapping[str, str] | None = None) -> None:
        given = dict(options or {})
        if "@" in bucket:
            msg = (
                "A store's URL is no place for a key or its secret, which would be shown in every message: write "
                "s3://bucket/prefix, and name a ?profile= or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
            raise OptionError(msg)
        prefix = prefix.strip("/")
        place = f"s3://{bucket}{'/' if prefix else ''}{prefix}"
        query = "&".join(f"{name}={quote(value, safe='/:')}" for name, value in given.items())
        self._place, self._url = place, f"{place}?{query}" if query else place
        self.single_writer = yes_or_no(place, "single_writer", given.pop("single_writer", "false"))
        try:
            self._timeout = float(given.pop("timeout", _TIMEOUT))
        except ValueError:
            self._timeout = 0.0
        unknown = given.keys() - set(OPTIONS)
        wrong = (
            "it names no bucket: write s3://bucket/prefix"
            if not bucket
            else f"{', '.join(sorted(unknown))} is no option of it; there are {', '.join(OPTIONS)}"
            if unknown
            else "its timeout is not a number of seconds"
            if not self._timeout > 0
            else "its prefix has an empty or dotted segment"
            if prefix and not all(part.strip(".") for part in prefix.split("/"))
            else "its endpoint_url does not look like http://host:port or https://host"
            if not re.fullmatch(r"https?://[^@?#]+", given.get("endpoint_url", "http://host"))
            else ""
        )
        if wrong:
            msg = f"The store {place!r} cannot be opened: {wrong}."  # not the options: a secret may have strayed there
            raise OptionError(msg)
        self._bucket = bucket
        self._root = f"{prefix}/" if prefix else ""
        self._given = given
        names = {"sse": "ServerSideEncryption", "sse_kms_key_id": "SSEKMSKeyId", "storage_class": "StorageClass"}
        self._extra = {names[name]: value for name, value in given.items() if name in names}
        self._lock = threading.Lock()
        self._ours: tuple[int, Any] | None = None  # the client and the process that may use it

    @property
    def url(self) -> str:
        """The bucket, the prefix and the options; no secret can be among them."""
        return self._url

    def put(self, key: str, bufs: Sequence[Buffer], *, if_absent: bool = False) -> None:
        """Write one object by one request, with a checksum that the server compares; it is seen when it is whole."""
        # one piece of memory: to hand over many one by one takes longer than to copy them
        whole = b"".join(bufs)
        crc32 = base64.b64encode(zlib.crc32(whole).to_bytes(4, "big")).decode("ascii")
        asked = {"Key": self._key(key), "ChecksumCRC32": crc32, **self._extra}
        if if_absent:
            asked["IfNoneMatch"] = "*"
        for pause in (*_CONFLICTS, None):
            body = io.BytesIO(whole)  # a file, so that the timeout is that of a block and not of all
            try:
                reply = self._ask("write", key, "put_object", Body=body, **asked)
            except StoreError as error:
                if pause is None or error.code != _CONFLICT:
                    raise
                time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - so that two do not meet again
            else:
                break
        if "ETag" not in reply:
            raise self._not_s3("write", key)

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """Read the object, or the range of it that was asked for."""
        reply = self._open(key, start, end)
        if reply is None:
            return b""
        with self._answers("read", key):
            data: bytes = reply["Body"].read()
        skipped = self._skipped(key, reply, start)
        wanted = max(0, end - start) if end is not None else len(data)
        return data if not skipped and len(data) <= wanted else data[skipped : skipped + wanted]

    def get_into(self, key: str, start: int, target: memoryview) -> int:
        """Read straight into `target`; a body that ends too soon is an error, never a shorter blob."""
        reply = self._open(key, start, start + len(target))
        if reply is None:
            return 0
        if self._skipped(key, reply, start):
            reply["Body"].close()
            data = self.get(key, start, start + len(target))
            target[: len(data)] = data
            return len(data)
        length, filled = min(reply["ContentLength"], len(target)), 0
        with self._answers("read", key):
            while filled < length:
                filled += (count := reply["Body"].readinto(target[filled : min(length, filled + _SIP)]))
                if not count:
                    break
            if filled == length == reply["ContentLength"]:
                reply["Body"].read()  # at its end, a connection can be used again
            else:
                reply["Body"].close()
        if filled < length:
            raise self._explain("read", key, "the server hung up in the middle")
        return filled

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """Ask for folder after folder, each when it is needed: not all servers list in the order of the keys."""
        return walk(self._children, prefix, start_after)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete a thousand objects by one request."""
        doomed = [self._key(key) for key in dict.fromkeys(keys)]
        for at in range(0, len(doomed), _PAGE):
            some = [{"Key": key} for key in doomed[at : at + _PAGE]]
            reply = self._ask("delete", "", "delete_objects", Delete={"Objects": some, "Quiet": True})
            for failed in reply.get("Errors", ()):
                if failed.get("Code") != "NoSuchKey":
                    from nbckpt.storage.stores.s3_errors import explain_code

                    key = str(failed.get("Key", ""))[len(self._root) :]
                    raise self._explain("delete", key, *explain_code(str(failed.get("Code", "")), 0, self._bucket))

    def now(self) -> float:
        """Return the clock of the server, as it tells it with every answer."""
        reply = self._ask("list", "", "list_objects_v2", Prefix=self._root, MaxKeys=1)
        date = reply["ResponseMetadata"]["HTTPHeaders"].get("date")
        if date is None:
            raise self._explain("read", "the time", "the server does not tell it")
        return parsedate_to_datetime(date).timestamp()

    def _children(self, folder: str) -> Iterator[Entry]:
        asked = {"Prefix": self._root + folder, "Delimiter": "/", "MaxKeys": _PAGE}
        while True:
            reply = self._ask("list", folder, "list_objects_v2", **asked)
            if "IsTruncated" not in reply:
                raise self._not_s3("list", folder)
            for found in reply.get("CommonPrefixes", ()):
                yield Entry(found["Prefix"][len(self._root) :], 0, 0.0)
            for found in reply.get("Contents", ()):
                yield Entry(found["Key"][len(self._root) :], found["Size"], found["LastModified"].timestamp())
            if not reply["IsTruncated"]:
                return
            asked["ContinuationToken"] = reply["NextContinuationToken"]

    def _key(self, key: str) -> str:
        return self._root + check_key(key)

    def _open(self, key: str, start: int, end: int | None) -> dict[str, Any] | None:
        """Return the answer whose body is the range; None if there is nothing in it."""
        asked = {"Key": self._key(key)}
        if start or end is not None:
            last = "" if end is None else max(start, end - 1)
            asked["Range"] = f"bytes={start}-{last}"
        try:
            reply = self._ask("read", key, "get_object", **asked)
        except StoreError as error:
            if error.code == "InvalidRange":  # it begins where the object ends, or behind
                return None
            raise
        if "ETag" not in reply or "ContentLength" not in reply:
            reply["Body"].close()
            raise self._not_s3("read", key)
        return reply

    def _skipped(self, key: str, reply: Mapping[str, Any], start: int) -> int:
        """Return how many bytes of an answer come before `start`: all of them, from a server that knows no ranges."""
        if "ContentRange" not in reply:
            return start
        if reply["ContentRange"].removeprefix("bytes ").partition("-")[0] != str(start):
            raise self._explain("read", key, "the server sent another range than it was asked for")
        return 0

    def _ask(self, verb: str, key: str, operation: str, **asked: Any) -> dict[str, Any]:
        with self._answers(verb, key):
            reply: dict[str, Any] = getattr(self._client(), operation)(Bucket=self._bucket, **asked)
            return reply

    @contextlib.contextmanager
    def _answers(self, verb: str, key: str) -> Iterator[None]:
        """While a request is under way, turn what boto3 raises into our errors."""
        from nbckpt.storage.stores.s3_errors import DENIED, understand

        try:
            yield
        except NbckptError:
            raise
        except Exception as error:
            understood = understand(error, self._bucket)
            if understood is None:
                raise
            code, reason, number = understood
            if code == "NoSuchKey":
                msg = f"{key} is not in the store {self._place}."
                raise NotFound(msg) from error
            if code == "PreconditionFailed":
                msg = f"{key} exists already in the store {self._place}."
                raise AlreadyExists(msg) from error
            if number == DENIED:
                self._forget_client()
            raise self._explain(verb, key, reason, number, code) from error

    def _client(self) -> Any:
        """Return boto3's client, which all threads share; a forked process makes its own."""
        with self._lock:
            if self._ours is None or self._ours[0] != os.getpid():
                self._ours = os.getpid(), self._new_client()
            return self._ours[1]

    def _forget_client(self) -> None:
        """Begin anew with the next request: credentials that were refused may have been replaced meanwhile."""
        with self._lock:
            self._ours = None

    def _new_client(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            msg = f"The store {self._place} needs boto3: run `pip install 'nbckpt[s3]'`."
            raise OptionError(msg) from error
        session = boto3.session.Session(profile_name=self._given.get("profile"), region_name=self._given.get("region"))
        # Checksums are computed here and sent as a header: servers that know nothing of them ignore it, whereas the
        # form in which boto3 would send its own breaks many of them.
        config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=min(_CONNECT_TIMEOUT, self._timeout),
            read_timeout=self._timeout,
            max_pool_connections=_CONNECTIONS,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            user_agent_extra="nbckpt",
        )
        return session.client("s3", endpoint_url=self._given.get("endpoint_url"), config=config)

    def _not_s3(self, verb: str, key: str) -> StoreError:
        from nbckpt.storage.stores.s3_errors import NOT_S3

        return self._explain(verb, key, NOT_S3)

    def _explain(self, verb: str, key: str, reason: str, number: int | None = None, code: str = "") -> StoreError:
        what = f"{verb} {key} in the store" if key else f"{verb} in the store"
        explained = StoreError(f"Could not {what} {self._place}: {reason}. What was saved before is untouched.")
        explained.errno, explained.code = number, code
        return explained
