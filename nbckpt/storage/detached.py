"""The process that writes the snapshots of one run, so that one on its way survives the kernel.

It is nobody's child and in a session of its own: what ends the kernel and all its children does not reach it. Of
the kernel's it has the shared memory, a line to talk on and the lease; it imports nothing of the user's and unpickles
nothing. When the kernel is gone, it finishes what it has and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nbckpt.errors import NbckptError, StoreError
from nbckpt.storage import spool
from nbckpt.storage.arena import Arena
from nbckpt.storage.channel import Channel, told
from nbckpt.storage.lease import Lease
from nbckpt.storage.parcel import Batch, Incoming
from nbckpt.storage.signing import known_keys
from nbckpt.storage.spool import Spool
from nbckpt.storage.stores import open_store
from nbckpt.storage.stores.retrying import Retrying
from nbckpt.storage.ward import Ward
from nbckpt.storage.writer import Writer

if TYPE_CHECKING:
    from types import FrameType

    from nbckpt.storage.chunks import Chunk

_GIVEN_UP = "The snapshot was given up before all of it was handed over."
LOOK = 1.0
"""Seconds after which an idle writer looks whether its kernel still lives: a forked child may hold the line open."""


class Service:
    """Saves what the kernel hands over, one after another."""

    def __init__(self, writer: Writer, channel: Channel, arena: Arena, lease: Lease | None, kernel: int) -> None:
        self._writer, self._channel, self._arena, self._lease, self._kernel = writer, channel, arena, lease, kernel
        self._spool = Spool(writer)
        self._number = 0
        self._known: dict[bytes, tuple[Chunk, ...]] = {}
        """The blocks of the newest snapshot, by their marks."""
        self._pause, self._again = spool.PAUSE, 0.0
        self._used = 0.0
        """Seconds of processor time that were told of."""
        self._leaving = False
        self._ward: Ward | None = None
        """A forked copy of the kernel that is going to hand a snapshot over."""
        self._lonely = False
        """Whether the kernel was found to be gone: a copy of it that was made just then may still come forward."""

    def run(self) -> None:
        """Work until the kernel is gone or this process is asked to end."""
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._leave)
        self._say({"pid": os.getpid()})
        while not self._leaving or self._ward is not None:
            try:
                message = self._channel.look(LOOK)
            except EOFError:
                break
            if message is not None:
                self._channel.drop()
                self._take(message)
            elif self._ward is not None:
                self._look_after(self._ward)
            elif not _is_alive(self._kernel):
                if self._lonely:
                    break
                self._lonely = True
            elif self._spool.holds and time.monotonic() > self._again:
                self._upload()
        self._writer.close()

    def _take(self, message: dict[str, Any]) -> None:
        if "child" not in message:
            self._ward = None
            self._save(message)
        elif message["number"] > self._number:  # or it has handed over already
            if self._ward is None or self._ward.pid != message["child"]:
                self._ward = Ward(message["child"])
            if self._lease is not None:
                self._lease.take()

    def _look_after(self, ward: Ward) -> None:
        """Give signs of life for a copy of the kernel, as long as it gives some, until it is done or has ended."""
        if ward.has_ended():
            if not self._channel.is_empty():  # it has handed over since we looked
                return
            self._ward = None
            if self._lease is not None:
                self._lease.give_back()
        elif ward.is_moving() and self._lease is not None:
            self._lease.beat()

    def _save(self, message: dict[str, Any]) -> None:
        said: dict[str, Any] = {"number": message["number"]}
        self._number = message["number"]
        if "items" not in message:
            if self._lease is not None:
                self._lease.give_back()
            self._say({**said, **told(StoreError(_GIVEN_UP)), "waits": self._spool.holds})
            return
        with self._at_work():  # an upload may have given the lease back since the kernel took it
            try:
                given = Incoming(self._batch(message), self._more, self._known, message["seed"])
                committed = self._spool.commit(given.description, given.parts, final=given.final)
                self._known, marks = given.learned()
                self._arena.write(marks)
                said["committed"] = asdict(committed)
            except (NbckptError, MemoryError, OSError) as error:
                said |= told(error)
        self._pause = spool.PAUSE
        self._again = time.monotonic() + self._pause
        self._tell(said)

    def _tell(self, said: dict[str, Any]) -> None:
        """Say what became of a snapshot, and only then delete what it replaces: the next one tells what that took."""
        if "committed" in said:
            used = time.process_time()
            said["committed"]["processor"], self._used = used - self._used, used
        self._say({**said, "waits": self._spool.holds})
        if "committed" in said:
            # the lease was given back: the kernel may have taken it already, for a snapshot that waits for this
            with contextlib.nullcontext() if self._lease is None else self._lease.beating():
                self._writer.tidy()

    def _batch(self, message: dict[str, Any]) -> Batch:
        return self._arena.view(message["size"]), message

    def _more(self) -> Batch:
        """Let the kernel fill the arena anew; raises `StoreError` if it does not."""
        self._say({"number": self._number, "more": True})
        message: dict[str, Any] | None = {"child": 0}
        try:
            while message is not None and "child" in message:  # said late, of the very copy that hands over
                message = self._channel.look(None)
                self._channel.drop()
        except EOFError as error:
            raise StoreError("The kernel ended before it had handed over all of a snapshot.") from error
        if message is None or "items" not in message:
            raise StoreError(_GIVEN_UP)
        return self._batch(message)

    def _upload(self) -> None:
        """Try whether the store is back, from the copy on this disk: the arena may be filled anew meanwhile."""
        said: dict[str, Any] = {"number": self._number, "late": True}
        with self._at_work():
            try:
                committed = self._spool.upload()
                said |= {} if committed is None else {"committed": asdict(committed)}
            except (NbckptError, MemoryError, OSError) as error:
                said |= told(error)
        self._pause = min(2 * self._pause, spool.LONGEST_PAUSE)
        self._again = time.monotonic() + self._pause
        if len(said) > 2:
            self._tell(said)

    def _at_work(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._lease is None else self._lease.held()

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the kernel is gone; what it handed over may still be on the line
            self._channel.send(message)

    def _leave(self, _: int, __: FrameType | None) -> None:
        self._leaving = True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def main() -> None:
    """Be that process: `detached.py` is started by `process.py`, with the rest of what it needs on stdin."""
    line, arena, lease, kernel = map(int, sys.argv[1:5])
    length = int.from_bytes(sys.stdin.buffer.read(4), "little")
    record = json.loads(sys.stdin.buffer.read(length))
    key = known_keys().get(record["key"])
    if key is None:
        msg = f"the key {record['key']} that this run signs with is not to be found any more"
        raise StoreError(msg)
    writer = Writer.assembled(record, sys.stdin.buffer.read(), Retrying(open_store(record["url"])), key)
    held = Lease(lease) if lease >= 0 else None
    if held is not None:
        held.sign({"pid": os.getpid(), "kernel": kernel})
    Service(writer, Channel(socket.socket(fileno=line)), Arena(arena), held, kernel).run()
