"""Messages between a run and its writer: small JSON records, each with its length in front, on a socket."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("<I")
_LARGEST = 64 * 1024  # bytes of a message
_LONGEST = 4000  # characters of an error's message


class Channel:
    """One end of the line.

    A message stays on the line until it is dropped, so that an interrupt at any moment loses none.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._length = 0

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; raises `OSError` if nobody is there."""
        raw = json.dumps(message).encode("ascii")
        if len(raw) > _LARGEST - _LENGTH.size:
            msg = f"a message of {len(raw)} bytes is too long"
            raise ValueError(msg)
        self.sock.settimeout(None)
        self.sock.sendall(_LENGTH.pack(len(raw)) + raw)

    def look(self, timeout: float | None = 0.0) -> dict[str, Any] | None:
        """Return the next message, None if none comes within `timeout` seconds (`None` waits for one).

        Raises `EOFError` if the other end is gone.
        """
        self.sock.settimeout(timeout)
        try:
            raw = self.sock.recv(_LARGEST, socket.MSG_PEEK)
            while raw and (len(raw) < _LENGTH.size or len(raw) < _LENGTH.size + _LENGTH.unpack_from(raw)[0]):
                self.sock.settimeout(None)  # the rest is on its way
                raw = self.sock.recv(_LARGEST, socket.MSG_PEEK)
        except (BlockingIOError, TimeoutError):
            return None
        except ConnectionError as error:
            raise EOFError from error
        if not raw:
            raise EOFError
        self._length = _LENGTH.size + _LENGTH.unpack_from(raw)[0]
        message: dict[str, Any] = json.loads(raw[_LENGTH.size : self._length])
        return message

    def is_empty(self) -> bool:
        """Whether nothing has come, and nobody is gone, that `look` would tell of at once."""
        try:
            return self.look() is None
        except EOFError:
            return False

    def drop(self) -> None:
        """Take the message from the line that `look` returned."""
        length, self._length = self._length, 0
        if length:
            self.sock.recv(length)

    def close(self) -> None:
        """Hang up."""
        self.sock.close()


def told(error: Exception) -> dict[str, Any]:
    """What the other side has to know of an error."""
    message = str(error)[:_LONGEST] or type(error).__name__
    return {"error": type(error).__name__, "message": message, "errno": getattr(error, "errno", None)}
