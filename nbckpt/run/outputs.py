"""Recording what a cell shows, and showing it again on resume.

Nothing is replaced: `sys.stdout` stays the object it was, with a `write` that listens. What the user's code
redirects elsewhere is not shown and so not recorded.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Entry = dict[str, Any]
"""One thing shown: `{"stream": name, "text": ...}` or `{"data": ..., "metadata": ..., "id": ...}`."""

LEFT_OUT = "[... earlier output was too long to be kept ...]\n"


class Recorder:
    """Keeps the last `limit` bytes of what is printed and displayed between `start` and `stop`."""

    def __init__(self, limit: int, shell: Any = None) -> None:
        self.limit = limit
        self.entries: list[Entry] = []
        self.result: list[Entry] = []
        """What was shown after `mark`: the value of the cell's last expression."""
        self._shell = shell
        self._into = self.entries
        self._size = 0
        self._quiet = False
        self.swallowing = False
        """Whether what is shown was shown before, and is in what was replayed."""
        self._undo: list[Callable[[], None]] = []

    def start(self) -> None:
        """Listen."""
        for name in ("stdout", "stderr"):
            self._listen(getattr(sys, name), "write", lambda *args, name=name, **_: self._write(name, args))
        if self._shell is not None:
            publisher = self._shell.display_pub
            self._listen(publisher, "publish", self._publish)
            self._listen(publisher, "clear_output", lambda *_, **__: self._clear())
            if hasattr(self._shell.displayhook, "msg"):  # a kernel's: a terminal's prints to sys.stdout
                self._listen(self._shell.displayhook, "write_format_data", self._publish)

    def stop(self) -> None:
        """Put everything back."""
        while self._undo:
            self._undo.pop()()

    def mark(self) -> None:
        """What is shown from now on is the result of the cell."""
        self._into = self.result

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Show something of our own, unrecorded."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def to_json(self, *, with_result: bool) -> bytes:
        entries = self.entries + (self.result if with_result else [])
        return json.dumps(entries, default=_bytes_to_json).encode()

    def replay(self, saved: bytes | bytearray | memoryview) -> None:
        """Show recorded output again; it counts as shown in this run."""
        for entry in json.loads(bytes(saved), object_hook=_bytes_from_json):
            if "stream" in entry:
                text = entry["text"]
                if entry["stream"] == "stderr" and "\r" in text.rpartition("\n")[2]:
                    text = text.rpartition("\n")[0]  # a progress bar's last state: the live bar draws itself
                getattr(sys, entry["stream"]).write(text)
            elif self._shell is not None:
                transient = {"display_id": entry["id"]} if entry.get("id") else {}
                self._shell.display_pub.publish(entry["data"], entry["metadata"], transient=transient)

    def _listen(self, target: Any, method: str, heard: Callable[..., None]) -> None:
        original = getattr(target, method)
        own = method in getattr(target, "__dict__", {})

        def listening(*args: Any, **kwargs: Any) -> Any:
            if self.swallowing and not self._quiet and sys.exc_info()[0] is None:  # an error is shown
                return len(args[0]) if method == "write" else None
            # a terminal's display is a print: what is heard once must not be heard again underneath
            with self.paused():
                result = original(*args, **kwargs)
            if not self._quiet:
                heard(*args, **kwargs)
            return result

        try:
            setattr(target, method, listening)
        except AttributeError:  # a stream that takes no attributes is not recorded
            return
        self._undo.append(lambda: setattr(target, method, original) if own else delattr(target, method))

    def _write(self, name: str, args: tuple[Any, ...]) -> None:
        text = args[0] if args else ""
        if not isinstance(text, str) or not text:
            return
        last = self._into[-1] if self._into else {}
        if last.get("stream") == name:
            self._size += len(text)
            last["text"] = _fold(last["text"], text)
        else:
            self._add({"stream": name, "text": _fold("", text)}, len(text))
        self._shorten()

    def _publish(self, data: Any, metadata: Any = None, *_: Any, **options: Any) -> None:
        key = (options.get("transient") or {}).get("display_id")
        entry: Entry = {"data": dict(data), "metadata": dict(metadata or {}), "id": key}
        if options.get("update"):
            for shown in self.entries:
                if key is not None and shown.get("id") == key:
                    shown.update(entry)
            return
        self._add(entry, _size(entry))
        self._shorten()

    def _clear(self) -> None:
        self.entries.clear()
        self._size = 0

    def _add(self, entry: Entry, size: int) -> None:
        self._into.append(entry)
        self._size += size

    def _shorten(self) -> None:
        if self._size <= self.limit:
            return
        while len(self.entries) > 1 and self._size > self.limit // 2:
            self._size -= _size(self.entries.pop(0))
        if self.entries and "stream" in self.entries[0]:
            self.entries[0]["text"] = self.entries[0]["text"][-self.limit // 2 :]
        self.entries.insert(0, {"stream": "stdout", "text": LEFT_OUT})
        self._size = sum(map(_size, self.entries))


def _size(entry: Entry) -> int:
    values = entry["data"].values() if "data" in entry else [entry["text"]]
    return sum(len(value) for value in values if isinstance(value, (str, bytes)))


def _fold(shown: str, text: str) -> str:
    """Append text to what is shown, where a carriage return starts the line over."""
    if "\r" not in text:
        return shown + text
    head, _, line = shown.rpartition("\n")
    lines = (line + text.replace("\r\n", "\n")).split("\n")
    folded = "\n".join(part if part.endswith("\r") else _after_return(part) for part in lines)
    return f"{head}\n{folded}" if head or shown.startswith("\n") else folded


def _after_return(line: str) -> str:
    before, mark, after = line.rpartition("\r")
    return mark + after if before or mark else after


def _bytes_to_json(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"base64": base64.b64encode(value).decode()}
    return str(value)


def _bytes_from_json(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if value.keys() == {"base64"} else value
