"""States to save whose bytes say which state they are, so that a restored one can be checked."""

from __future__ import annotations

import random
from typing import Any

from nbckpt.storage.repository import Loaded
from nbckpt.storage.snapshot import PartData

Saved = tuple[dict[str, Any], list[PartData]]


def state(number: int, *, size: int = 300_000) -> Saved:
    """Return the description and parts of state `number`: noise that stays, noise that changes, and text."""
    stays, changes = random.Random(0).randbytes(size), random.Random(number).randbytes(size // 3)
    return {"number": number}, [
        PartData("model", b"stream %d" % number, [memoryview(stays), memoryview(changes)], {"variables": ["m"]}),
        PartData("log", b"line\n" * 1000 + b"%d" % number, [], {}),
    ]


def check(loaded: Loaded | None, *, size: int = 300_000) -> int:
    """Return the number of a restored state, after comparing every byte with what was saved under it."""
    assert loaded is not None
    number: int = loaded.description["number"]
    _, parts = state(number, size=size)
    assert list(loaded.parts) == [part.name for part in parts]
    for part in parts:
        found = loaded.parts[part.name]
        assert bytes(found.stream) == bytes(part.stream)
        assert [bytes(b) for b in found.buffers] == [bytes(b) for b in part.buffers]
        assert found.info == part.info
    return number
