"""What a person sees of a run: one line, as text everywhere and as HTML where the front end shows it."""

from __future__ import annotations

import html
import math
import os
import re
import shutil
import sys
import textwrap
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from ..settings import duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..run.status import Status

REFRESH = 0.5
"""Seconds between two updates that only bring news of the progress."""

_PASSING = ("progress", "saving", "saved")
_RED, _PLAIN = "\x1b[1;31m", "\x1b[0m"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NUMBERS = re.compile(r"\b[0-9a-f]*[0-9][0-9a-f]*\b")

_STYLES = {
    "plain": "margin: 2px 0",
    "alarm": "margin: 2px 0; padding: 4px 8px; background: #b00020; color: #fff; font-weight: bold",
    "notice": "margin: 2px 0; padding-left: 8px; border-left: 3px solid #d08700",
}


@dataclass(frozen=True, slots=True, repr=False)
class View:
    """Something to look at: text, and HTML that says the same."""

    text: str
    html: str

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        return {"text/plain": self.text, "text/html": self.html}

    def __repr__(self) -> str:
        return self.text


def says(text: str) -> View:
    """Return a plain sentence as something to look at."""
    text = clean(text)
    return View(text, f'<div style="{_STYLES["plain"]}; white-space: pre-wrap">{html.escape(text)}</div>')


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> View:
    """Return rows under a heading.

    >>> table(["name", "size"], [["train", "12 MB"]])
    name   size
    train  12 MB
    """
    lines = [[clean(cell).replace("\n", " ") for cell in row] for row in (columns, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    shown = "".join(f"<tr>{_cells(line, 'td' if at else 'th')}</tr>" for at, line in enumerate(lines))
    return View(text, f"<table>{shown}</table>")


def _cells(line: Sequence[str], tag: str) -> str:
    style = "text-align: left; padding: 2px 12px 2px 0"
    return "".join(f'<{tag} style="{style}">{html.escape(cell)}</{tag}>' for cell in line)


def titled(parts: Mapping[str, View]) -> View:
    """Return several views below each other, each indented under its title; an empty title is none."""
    texts, shown = [], []
    for title, view in parts.items():
        if title:
            texts.append(f"{clean(title)}\n{textwrap.indent(view.text, '  ')}")
            shown.append(f'<div style="margin-top: 8px"><b>{html.escape(clean(title))}</b></div>')
        else:
            texts.append(view.text)
        shown.append(view.html)
    return View("\n\n".join(texts), f"<div>{''.join(shown)}</div>")


def code(source: str) -> View:
    """Return source text as it stands."""
    source = clean(source).rstrip("\n")
    return View(source, f'<pre style="margin: 2px 0">{html.escape(source)}</pre>')


def clean(text: object) -> str:
    r"""Return what is safe on a terminal: a control character is shown as what it is, and not obeyed.

    >>> clean("red: \x1b[31m")
    'red: \\x1b[31m'
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", str(text).replace("\r\n", "\n"))


def age(seconds: float) -> str:
    """Say how long ago something was.

    >>> age(0.4), age(12), age(250), age(7300), age(200_000)
    ('just now', '12 seconds ago', '4 minutes ago', '2 hours ago', '2 days ago')
    """
    if seconds < 1:
        return "just now"
    units = (("second", 1, 60), ("minute", 60, 3600), ("hour", 3600, 48 * 3600), ("day", 86400, math.inf))
    unit, length = next((unit, length) for unit, length, end in units if seconds < end)
    count = int(seconds // length)
    return f"{count} {unit}{'s' * (count != 1)} ago"


def size(count: float) -> str:
    """Say how much room something takes.

    >>> size(512), size(1_230), size(12_345_678), size(1_000_000_000)
    ('512 bytes', '1.2 kB', '12 MB', '1 GB')
    """
    if count < 1000:
        return f"{count:.0f} byte{'s' * (count != 1)}"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5 or unit == "TB":
            break
    return f"{count:.1f}".removesuffix(".0") + f" {unit}" if count < 9.95 else f"{count:.0f} {unit}"


def brief(seconds: float) -> str:
    """Say how long something took that may be very short.

    >>> brief(0.0042), brief(0.25), brief(75)
    ('4.2 ms', '250 ms', '1 m 15 s')
    """
    if seconds >= 1:
        return duration(seconds)
    return f"{1000 * seconds:.1f} ms" if seconds < 0.01 else f"{1000 * seconds:.0f} ms"


def clock(moment: float) -> str:
    """Say a moment of today as its time, any other with its date."""
    when = datetime.fromtimestamp(moment)
    return when.strftime("%H:%M:%S" if when.date() == datetime.now().date() else "%Y-%m-%d %H:%M")


# -- what the line says --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    tone: Literal["plain", "alarm", "notice"] = "plain"


def _headline(status: Status, event: str, fresh: str = "--fresh") -> _Line:
    if status.state == "restored":
        saved = age(status.resumed_age)
        return _Line(f"restored the finished result, saved {saved}; {fresh} runs it anew")
    say = {"finished": _finished, "stopped": _stopped}.get(status.state, _running)
    if event == "resumed":
        say = _resumed
    if status.state == "finished" and status.unprotected:
        return _Line(f"{_finished(status)}, but the result is NOT SAVED: {_phrase(status.unprotected)}", "alarm")
    return _Line(say(status))


def _alarm(status: Status) -> _Line:
    since, why = clock(status.unprotected_since), _phrase(status.unprotected)
    rest = "; the computation goes on" if status.state == "running" else ""
    return _Line(f"NOT PROTECTED since {since}: {why}{rest}", "alarm")


def _not_saved(status: Status) -> _Line:
    """That a run is over and was not saved, since when, and what to do."""
    if status.state == "finished":
        over = f"{_finished(status)}, but the result is"
    else:
        over = f"stopped by {status.error}, and what it did last is" if status.error else "stopped, and what it did is"
    why, since = _phrase(status.unprotected), clock(status.unprotected_since)
    again = f"goes on at {status.saved_progress}" if status.saved_progress else "begins anew"
    return _Line(
        f"{over} NOT SAVED, as nothing was since {since}: {why}. The variables are in this kernel only: write what you "
        f"need of them to a file before it ends. Run again, the cell {again}",
        "alarm",
    )


def _running(status: Status) -> str:
    if status.waiting or status.ending:
        return status.waiting or status.ending
    if not status.progress:
        return f"started, saving {rhythm(status.every)} to {status.store}"
    if status.saved_progress and not status.resumed_at and not status.snapshots:
        return f"going on at {status.saved_progress}"
    words = [status.progress]
    if status.saved_at is not None and status.snapshots:
        # a clock time: the line may be looked at long after it was written, when "12 s ago" would be a lie
        at = f" at {status.saved_progress}" if status.saved_progress not in ("", status.progress) else ""
        checked = ", verified" if status.verified else ""
        several = f"{status.snapshots} snapshot{'s' * (status.snapshots != 1)}"
        words.append(f"saved {clock(status.saved_at)}{at} ({several}, {size(status.size)}{checked})")
    elif not status.saving:
        words.append("nothing new to save yet" if status.saved_progress else "not saved yet")
    if status.saving:
        words.append("saving")
    return ", ".join(words) + (f"; resumed at {status.resumed_at}" if status.resumed_at else "")


def _resumed(status: Status) -> str:
    kept = f", {duration(status.kept)} of work kept" if status.kept >= 0.1 else ""
    return f"resumed at {status.resumed_at}, saved {age(status.resumed_age)}{kept}"


def _finished(status: Status) -> str:
    resumed = f" (resumed at {status.resumed_at})" if status.resumed_at else ""
    worked = f" after {duration(status.worked)} of work" if status.worked >= 0.1 else ""
    return f"finished{worked}{resumed}"


def _stopped(status: Status) -> str:
    by = f"stopped by {status.error}" if status.error else "stopped"
    if status.left == "saved":
        return f"{by} at {status.saved_progress}, saved; run it again to go on there"
    if status.left == "at once" and status.saved_progress:
        where = f" in {status.progress}" if status.progress else ""
        return f"{by} at once{where}; run it again to go on at {status.saved_progress}"
    return f"{by}; {_goes_on(status)}" if status.saved_progress else f"{by} before anything was saved"


def _goes_on(status: Status) -> str:
    """Where the cell would go on, and how old that is."""
    if not status.saved_progress:
        return "nothing was saved: run again, it begins anew"
    when = ""
    if status.error and status.saved_at is not None:
        before = time.time() - status.saved_at
        how_long = f"{duration(before)} before" if before >= 1 else "just before"
        when = f", saved {clock(status.saved_at)}, {how_long} the error"
    return f"run it again to go on at {status.saved_progress}{when}"


def rhythm(every: str) -> str:
    """Say how often something is saved.

    >>> rhythm("auto:2%"), rhythm("500it"), rhythm("10 m")
    ('automatically', 'every 500 iterations', 'every 10 m')
    """
    if every.startswith("auto"):
        return "automatically"
    if every == "1it":
        return "after every iteration"
    return f"every {every[:-2]} iterations" if every.endswith("it") else f"every {every}"


def _phrase(sentence: str) -> str:
    return sentence.strip().rstrip(".")


def _share(progress: str) -> float | None:
    """How much of the work is done, from 0 to 1; None where nobody knows.

    >>> _share("epoch 50 of 100, batch 1 of 2")
    0.505
    """
    share, part = 0.0, 1.0
    for word in progress.split(", "):
        counted = re.search(r" (\d+) of (\d+)$", word)
        if counted is None or not int(counted[2]):
            break
        part /= int(counted[2])
        share += int(counted[1]) * part
    return None if part == 1.0 else min(share, 1.0)


# -- where it is shown ---------------------------------------------------------------------------------------


class StatusLine:
    """Shows a run's status: in a kernel as one output updated in place, elsewhere as lines on stderr.

    It is a `Reporter`. Call it from the thread that computes: what another thread displays lands in whichever
    cell is running. `quiet` leaves only what must be read: that nothing is being saved, and notices.
    """

    def __init__(self, shell: Any = None, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._in_kernel = getattr(shell, "kernel", None) is not None
        self._fresh = "--fresh" if shell is not None else "fresh=True"
        self._handle: Any = None
        self._alarm = ""
        """Why nothing was being saved when this was shown last, without numbers that differ from try to try."""
        self._noticed = 0
        self._next = 0.0
        self._drawn = False

    def show(self, status: Status, *, event: str) -> None:
        """Show what happened; mere progress is passed over within half a second of the last update.

        What stands at its place among the other output, or below all of it, is shown apart, once.
        """
        self._show_in_place(status, event)
        if event == "retrying" or self._in_kernel:
            self._show_apart(status, event)

    def _show_in_place(self, status: Status, event: str) -> None:
        alarm = _NUMBERS.sub("", status.unprotected)
        news = alarm != self._alarm or len(status.notices) > self._noticed
        now = time.monotonic()
        quiet = self._quiet and not (event == "ending" or (event == "stopped" and status.left))
        passing = event in _PASSING and (quiet or now < self._next)
        if not news and (passing or event == "retrying" or (quiet and event != "unprotected")):
            return
        self._next = now + REFRESH
        recovered = bool(self._alarm) and not alarm
        if self._in_kernel:
            self._display(status, event, quiet=quiet and not recovered)
        else:
            self._print(status, event, alarmed=alarm not in ("", self._alarm), recovered=recovered, quiet=quiet)
        self._alarm, self._noticed = alarm, len(status.notices)

    def _show_apart(self, status: Status, event: str) -> None:
        if event == "retrying":
            line = _Line(status.retry, "notice")
        elif status.state != "running" and status.unprotected:
            line = _not_saved(status)
        elif event == "stopped" and status.error and not self._quiet:
            line = _Line(_goes_on(status))
        else:
            return
        if not self._in_kernel:
            tty = sys.stderr.isatty()
            self._write(_terminal(status.name, line, colour=tty and not os.environ.get("NO_COLOR")), end="\n")
            return
        from IPython.display import display

        view = View(_plain(status.name, line), _html(status.name, line, None))
        display(view, metadata={"nbckpt": {"name": status.name}})

    def _display(self, status: Status, event: str, *, quiet: bool) -> None:
        lines = [_headline(status, event, self._fresh)]
        if event == "stopped" and status.error:
            lines = [_Line(f"stopped by {status.error}")]  # the rest stands below the traceback
        if status.unprotected and lines[0].tone != "alarm":
            lines.insert(0, _alarm(status))
        if status.gap is not None:
            begin, end, why = status.gap
            lines.append(_Line(f"nothing could be saved from {clock(begin)} to {clock(end)}: {_phrase(why)}", "notice"))
        lines += [_Line(text, "notice") for text in status.notices]
        lines = [line for line in lines if not (quiet and line.tone == "plain")]
        share = _share(status.progress) if status.state == "running" else None
        text = "\n".join(_plain(status.name, line) for line in lines)
        view = View(text, "".join(_html(status.name, line, share) for line in lines))
        marks = {"nbckpt": {"name": status.name}}  # so that a reader of the notebook can tell whose output it is
        if self._handle is None:
            from IPython.display import display

            self._handle = display(view, display_id=True, metadata=marks)
        else:
            self._handle.update(view, metadata=marks)

    def _print(self, status: Status, event: str, *, alarmed: bool, recovered: bool, quiet: bool) -> None:
        over = status.state in ("finished", "stopped") and bool(status.unprotected)
        headline = _not_saved(status) if over else _headline(status, event, self._fresh)
        lines = []
        if recovered:
            lines.append(_Line("saving works again"))
        if headline.tone == "alarm" or (event not in (*_PASSING, "unprotected", "retrying") and not quiet):
            lines.append(headline)
        if alarmed and headline.tone != "alarm":
            lines.insert(0, _alarm(status))
        lines += [_Line(text, "notice") for text in status.notices[self._noticed :]]
        tty = sys.stderr.isatty()
        colour = tty and not os.environ.get("NO_COLOR")
        for line in lines:
            self._write(_terminal(status.name, line, colour=colour), end="\n")
        if event in _PASSING and tty and not self._quiet:
            passing = _Line(f"NOT PROTECTED, {_running(status)}", "alarm") if status.unprotected else headline
            room = shutil.get_terminal_size().columns - 1
            self._write(_terminal(status.name, passing, colour=colour, room=room), end="")

    def _write(self, text: str, end: str) -> None:
        erase = "\r\x1b[K" if self._drawn else ""
        sys.stderr.write(f"{erase}{text}{end}")
        sys.stderr.flush()
        self._drawn = not end


def _plain(name: str, line: _Line) -> str:
    note = "note: " if line.tone == "notice" else ""
    return f"nbckpt {clean(name)}: {note}{clean(line.text)}".replace("\n", " ")


def _terminal(name: str, line: _Line, *, colour: bool, room: int | None = None) -> str:
    text = _plain(name, line)[:room]
    return f"{_RED}{text}{_PLAIN}" if colour and line.tone == "alarm" else text


def _html(name: str, line: _Line, share: float | None) -> str:
    who, _, rest = _plain(name, line).partition(": ")
    bar = ""
    if line.tone == "plain" and share is not None:
        bar = f' <progress value="{share:.4f}" max="1" style="vertical-align: middle"></progress>'
    said = f"<b>{html.escape(who)}:</b> {html.escape(rest)}"
    return f'<div style="{_STYLES[line.tone]}">{said}{bar}</div>'
