"""Small JSON files with exactly one spelling, which notice when they were damaged."""

from __future__ import annotations

import json
from typing import Any

from blake3 import blake3

from nbckpt.errors import DamagedSnapshot

_CHECK = "check"


def digest(raw: bytes | bytearray | memoryview) -> str:
    """Return the BLAKE3-256 of `raw`, in hex."""
    return blake3(raw).hexdigest()


def canonical(record: dict[str, Any]) -> bytes:
    """Return the one spelling of `record` as JSON: keys sorted, no blanks, ASCII."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def seal(record: dict[str, Any]) -> bytes:
    """Return the file for `record`, with a checksum of itself in it.

    The checksum tells a flipped bit from a record that somebody else wrote: damage leads to the snapshot
    before, a stranger's record does not.

    >>> unseal(seal({"seq": 1}))
    {'seq': 1}
    """
    return canonical({**record, _CHECK: digest(canonical(record))})


def unseal(raw: bytes) -> dict[str, Any]:
    """Return the record in a file; raises `DamagedSnapshot` unless every byte is the one that was written."""
    try:
        record = json.loads(raw)
        if isinstance(record, dict):
            record.pop(_CHECK, None)
            if seal(record) == raw:
                return record
    except (ValueError, RecursionError):
        pass
    msg = "it is not what was written there" if raw else "it is empty, as after a kill in the middle of a save"
    raise DamagedSnapshot(msg)
