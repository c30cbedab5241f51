"""Recording what a cell shows, and showing it again on resume.

Nothing is replaced: `sys.stdout` stays the object it was, with a `write` that listens. What the user's code
redirects elsewhere is not shown and so not recorded.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

LEFT_OUT = "[... earlier output was too long to be kept ...]\n"


class Recorder:
    """Keeps the last `limit` bytes of what is printed and displayed between `start` and `stop`."""

    def __init__(self, limit: int, shell: Any = None) -> None:
        self.limit = limit
        self.entries: list[Printed | Displayed] = []
        self.result: list[Printed | Displayed] = []
        """How the value of the cell's last expression was shown."""
        self.after: list[Printed | Displayed] = []
        """What was shown after that, as figures that are still open at the end."""
        self._into = self.entries
        self._size = 0
        self._marked = False
        self._clears = False
        """Whether all is cleared as soon as something else is shown."""
        self._held: list[dict[str, Any]] = []
        """What is to be shown again once the result was."""
        self._shell = shell
        self._quiet: set[int] = set()
        """The threads that show something of our own."""
        self.swallowing = False
        """Whether what is shown was shown before, and is in what was replayed."""
        self._undo: list[Callable[[], None]] = []

    def start(self) -> None:
        """Listen."""
        for name in ("stdout", "stderr"):
            self._listen(getattr(sys, name), "write", lambda *args, name=name, **_: self._write(name, args))
        if self._shell is not None:
            publisher, hook = self._shell.display_pub, self._shell.displayhook
            self._listen(publisher, "publish", self._publish)
            self._listen(publisher, "clear_output", self._clear)
            if hasattr(hook, "msg"):  # a kernel's: a terminal's prints to sys.stdout
                self._listen(hook, "write_format_data", self._publish)
            self._listen(hook, "start_displayhook", self._result_begins)
            self._listen(hook, "finish_displayhook", self._result_ends)

    def take_for_shown(self, answers: Mapping[str, Any]) -> None:
        """Have IPython take the `_` that came back for its own: one that is the user's it never binds anew."""
        for name, value in answers.items():
            if self._shell is not None and not callable(value):  # as `_ = gettext.gettext` is, the user's indeed
                setattr(self._shell.displayhook, name, value)

    def stop(self) -> None:
        """Put everything back."""
        while self._undo:
            self._undo.pop()()

    def mark(self) -> None:
        """What the display hook shows next is the result of the cell."""
        self._marked = True

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Show something of our own, unrecorded."""
        thread = threading.get_ident()
        nested = thread in self._quiet
        self._quiet.add(thread)
        try:
            yield
        finally:
            if not nested:
                self._quiet.discard(thread)

    @contextmanager
    def swallowed(self) -> Iterator[None]:
        """Have what makes objects again show nothing: what it had to show was shown when they were made."""
        before, self.swallowing = self.swallowing, True
        try:
            yield
        finally:
            self.swallowing = before

    @property
    def _is_quiet(self) -> bool:
        return bool(self._quiet) and threading.get_ident() in self._quiet

    def to_json(self, *, with_result: bool) -> bytes:
        """What `replay` takes; `with_result`, nobody else will show the result again."""
        entries = [entry.to_json() for entry in self.entries]
        after = [entry.to_json() for entry in self.after]
        if with_result:
            entries += [*(entry.to_json() for entry in self.result), *after]
        else:
            entries += [{**entry, "after": True} for entry in after]
        if self._clears:
            entries.append({"clears": True})
        return json.dumps(entries, default=_bytes_to_json).encode()

    def replay(self, saved: bytes | bytearray | memoryview) -> None:
        """Show recorded output again, up to the cell's result; it counts as shown in this run."""
        entries = json.loads(bytes(saved), object_hook=_bytes_from_json)
        self._held = [entry for entry in entries if entry.get("after")]
        self._show_again(entry for entry in entries if not entry.get("after"))

    def adopt(self, saved: bytes | bytearray | memoryview) -> None:
        """Take recorded output for shown in this run: an earlier attempt has shown it, above."""
        for entry in json.loads(bytes(saved), object_hook=_bytes_from_json):
            if "stream" in entry:
                self._into.append(Printed(entry["stream"], _without_bar(entry)))
            elif "clears" in entry:
                self._clears = True
            else:
                self._into.append(Displayed(entry["data"], entry["metadata"], entry.get("id")))
        self._size = sum(entry.size for entry in self._into)

    def replay_rest(self) -> None:
        """Show what came after the result."""
        held, self._held = self._held, []
        self._show_again(iter(held))

    def _show_again(self, entries: Iterator[dict[str, Any]]) -> None:
        for entry in entries:
            if "stream" in entry:
                getattr(sys, entry["stream"]).write(_without_bar(entry))
            elif self._shell is not None and "clears" in entry:
                self._shell.display_pub.clear_output(wait=True)
            elif self._shell is not None:
                transient = {"display_id": entry["id"]} if entry.get("id") else {}
                self._shell.display_pub.publish(entry["data"], entry["metadata"], transient=transient)

    def _listen(self, target: Any, method: str, heard: Callable[..., None]) -> None:
        original = getattr(target, method)
        own = method in getattr(target, "__dict__", {})

        def listening(*args: Any, **kwargs: Any) -> Any:
            if self.swallowing and not self._is_quiet and not _has_failed():
                return len(args[0]) if method == "write" else None
            # a terminal's display is a print: what is heard once must not be heard again underneath
            with self.paused():
                result = original(*args, **kwargs)
            if not self._is_quiet:
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
        self._clear_if_due()
        last = self._into[-1] if self._into else None
        if not (isinstance(last, Printed) and last.stream == name):
            last = Printed(name)
            self._into.append(last)
        self._size -= last.size
        last.add(text)
        self._size += last.size
        self._shorten()

    def _publish(self, data: Any, metadata: Any = None, *_: Any, **options: Any) -> None:
        key = (options.get("transient") or {}).get("display_id")
        shown = Displayed(dict(data), dict(metadata or {}), key)
        if not options.get("update"):
            self._clear_if_due()
            self._into.append(shown)
            self._size += shown.size
        elif key is not None:
            for entries in (self.entries, self.result, self.after):
                for index, entry in enumerate(entries):
                    if isinstance(entry, Displayed) and entry.key == key:
                        entries[index] = shown
                        self._size += shown.size - entry.size
        self._shorten()

    def _result_begins(self) -> None:
        if self._marked and self._into is self.entries:
            self._into = self.result

    def _result_ends(self) -> None:
        if self._into is self.result:
            self._into = self.after

    def _clear(self, wait: bool = False) -> None:  # noqa: FBT001, FBT002 - IPython's
        self._clears = True
        if not wait:
            self._clear_if_due()

    def _clear_if_due(self) -> None:
        if self._clears:
            self._clears = False
            for entries in (self.entries, self.result, self.after):
                entries.clear()
            self._size = 0

    def _shorten(self) -> None:
        entries = self.entries
        if self._size <= self.limit or not entries:
            return
        while len(entries) > 1 and self._size > self.limit // 2:
            self._size -= entries.pop(0).size
        first = entries[0]
        if isinstance(first, Printed):
            first.keep_last(self.limit // 2)
        elif first.size > self.limit:
            del entries[0]
        entries.insert(0, Printed("stdout", LEFT_OUT))
        self._size = sum(entry.size for entry in [*entries, *self.result, *self.after])


def _without_bar(entry: Mapping[str, Any]) -> str:
    """The text of an entry without a progress bar's last state: the live bar draws itself."""
    text: str = entry["text"]
    if entry["stream"] == "stderr" and "\r" in text.rpartition("\n")[2]:
        return text.rpartition("\n")[0]
    return text


def _has_failed() -> bool:
    """Whether an error is on its way out of the cell, and is being shown: not one that its own code handles."""
    at, main = sys.exc_info()[2], vars(sys.modules["__main__"])
    while at is not None:
        if at.tb_frame.f_locals is main:
            return True
        at = at.tb_next
    return False


class Printed:
    """Text on a stream, as a screen shows it: a carriage return starts the line over."""

    def __init__(self, stream: str, text: str = "") -> None:
        self.stream = stream
        self.size = 0
        self._pieces: list[str] = []
        self._put(text)

    def add(self, text: str) -> None:
        """Append text."""
        if "\r" in text:
            text = _overwritten(self._take_line() + text)
        self._put(text)

    def keep_last(self, size: int) -> None:
        """Forget all but so much of its end."""
        text = "".join(self._pieces)[-size:]
        self._pieces, self.size = [], 0
        self._put(text)

    def to_json(self) -> dict[str, Any]:
        return {"stream": self.stream, "text": "".join(self._pieces)}

    def _put(self, text: str) -> None:
        self._pieces.append(text)
        self.size += len(text)

    def _take_line(self) -> str:
        """Take away the line that is not ended yet."""
        line = ""
        while self._pieces and "\n" not in line:
            line = self._pieces.pop() + line
        ended, newline, line = line.rpartition("\n")
        self._pieces.append(ended + newline)
        self.size -= len(line)
        return line


class Displayed:
    """Something displayed; `key` is the display id by which it may be updated."""

    def __init__(self, data: dict[str, Any], metadata: dict[str, Any], key: str | None) -> None:
        self.data, self.metadata, self.key = data, metadata, key
        self.size = sum(len(value) for value in data.values() if isinstance(value, (str, bytes)))

    def to_json(self) -> dict[str, Any]:
        return {"data": self.data, "metadata": self.metadata, "id": self.key}


def _overwritten(text: str) -> str:
    r"""Text without what carriage returns have overwritten; where the last line goes on is kept.

    >>> _overwritten("50 %\r100 %"), _overwritten("long line\rshort\n1 of 2\r")
    ('\r100 %', 'shortline\n1 of 2\r')
    """
    *lines, last = text.replace("\r\n", "\n").split("\n")
    seen = [_seen(line) for line in lines]
    if "\r" in last:
        *_, after = last.split("\r")
        whole = _seen(last)
        last = f"\r{after}" if len(after) >= len(whole) or (after and "\x1b" in last) else f"{whole}\r{after}"
    return "\n".join([*seen, last])


def _seen(line: str) -> str:
    if "\x1b" in line:  # which characters of it take room, only a terminal knows
        return line.rstrip("\r").rpartition("\r")[2]
    seen = ""
    for part in line.split("\r"):
        seen = part + seen[len(part) :]
    return seen


def _bytes_to_json(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"base64": base64.b64encode(value).decode()}
    return str(value)


def _bytes_from_json(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if value.keys() == {"base64"} else value
