"""Options: what they are called, what they may be, and where their values come from.

An option given to the cell wins over `%config NbCkpt`, that over the environment
(`NBCKPT_STORE`, `NBCKPT_EVERY`, ...), that over the default.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from .errors import OptionError

DEFAULT_STORE = ".nbckpt"
OUTPUT_LIMIT = 1 << 20
"""Bytes of printed and displayed output that a snapshot carries."""

SHARE = 0.01
"""How much of the time the loop may stand still under `--every auto`."""

OnChange = Literal["ask", "resume", "restart", "error"]
OnPreempt = Literal["continue", "stop", "requeue"]
Way = Literal["copy", "fork"]
HEARD_SIGNALS = ("USR1", "USR2", "XCPU", "URG")
"""What schedulers send as a warning. SIGINT, SIGTERM and SIGHUP mean the same in every run."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h|d)")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a checkpoint may be called."""


@dataclass(frozen=True, slots=True)
class Every:
    """When a snapshot is due: after some seconds, after some iterations, or as cost allows (`auto`)."""

    seconds: float | None = None
    iterations: int | None = None
    share: float = SHARE
    """Under `auto`: how much of the time the loop may stand still."""

    @classmethod
    def parse(cls, text: str | float | Every) -> Every:
        """Read `10m`, `90s`, `1h30m`, `0.5s`, `500it`, `auto` or `auto:2%`; a bare number means seconds.

        >>> Every.parse("1h30m").seconds, Every.parse("500it").iterations, Every.parse("auto:2%").share
        (5400.0, 500, 0.02)
        """
        if isinstance(text, Every):
            return text
        if isinstance(text, (int, float)) and not isinstance(text, bool):
            text = f"{text}s"
        word = str(text).strip()
        if word == "auto":
            return cls()
        if (share := re.fullmatch(r"auto:(\d+(?:\.\d+)?|\.\d+)%", word)) and 0 < float(share[1]) < 100:
            return cls(share=float(share[1]) / 100)
        if counted := re.fullmatch(r"(\d+)it", word):
            if int(counted[1]) > 0:
                return cls(iterations=int(counted[1]))
        elif (length := seconds(word)) is not None and length > 0:
            return cls(seconds=length)
        raise OptionError(
            f"--every {word!r} is not a time: write a duration (10m, 90s, 1h30m), "
            "a number of iterations (500it), auto, or auto:2% for the share of the time that saving may take"
        )

    @property
    def auto(self) -> bool:
        return self.seconds is None and self.iterations is None

    def __str__(self) -> str:
        if self.iterations is not None:
            return f"{self.iterations}it"
        if self.seconds is not None:
            return duration(self.seconds)
        return "auto" if self.share == SHARE else f"auto:{self.share * 100:g}%"


@dataclass(frozen=True, slots=True)
class Best:
    """Which snapshots are the best: the `count` ones with the lowest or highest value of a logged metric."""

    metric: str
    lowest: bool
    count: int = 1

    @classmethod
    def parse(cls, text: str | Best) -> Best:
        """Read `loss:min`, `accuracy:max` or `loss:min:3`.

        >>> Best.parse("loss:min:3")
        Best(metric='loss', lowest=True, count=3)
        """
        if isinstance(text, Best):
            return text
        if found := re.fullmatch(r"([^:\s]+):(min|max)(?::([1-9]\d*))?", str(text).strip()):
            return cls(found[1], found[2] == "min", int(found[3] or 1))
        raise OptionError(
            f"--keep-best {text!r} names no metric: write loss:min, accuracy:max, or loss:min:3 for the three best"
        )


def seconds(word: str) -> float | None:
    """Return how long a duration is, None if it is not one.

    >>> seconds("1h30m"), seconds("0s"), seconds("soon")
    (5400.0, 0.0, None)
    """
    pairs = _DURATION.findall(word)
    if not pairs or "".join(number + unit for number, unit in pairs) != word:
        return None
    return float(sum(float(number) * _UNITS[unit] for number, unit in pairs))


def duration(seconds: float) -> str:
    """Say a time as a person would.

    >>> duration(0.25), duration(42), duration(252), duration(11520)
    ('0.2 s', '42 s', '4 m 12 s', '3 h 12 m')
    """
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds < 9.95 and seconds != int(seconds) else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60} s" if whole % 60 else f"{whole // 60} m"
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours < 48:
        return f"{hours} h {minutes} m" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that one run was asked for."""

    name: str | None = None
    every: Every = Every()
    vars: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    store: str = DEFAULT_STORE
    keep: int = 3
    keep_best: Best | None = None
    keep_every: Every | None = None
    fresh: bool = False
    on_change: OnChange = "ask"
    grace: float = 25.0
    retry: int = 0
    retry_on: tuple[str, ...] = ()
    rng: bool = True
    replay: bool = True
    verify: bool = False
    preempt: tuple[str, ...] = ("auto",)
    on_preempt: OnPreempt = "continue"
    capture: Way = "copy"
    quiet: bool = False

    @classmethod
    def collect(cls, *layers: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
        """Merge layers of raw values, the first one that names an option winning; None means unnamed.

        Raises:
            OptionError: a value makes no sense; the message names the option and what would.
        """
        environ = os.environ if environ is None else environ
        raw: dict[str, Any] = {}
        for option in (field.name for field in fields(cls)):
            for layer in layers:
                if layer.get(option) is not None:
                    raw[option] = layer[option]
                    break
            else:
                if option in _FROM_ENVIRONMENT and (value := environ.get(f"NBCKPT_{option.upper()}")):
                    raw[option] = value
        return cls(**{option: _CHECK.get(option, _same)(value) for option, value in raw.items()})


_FROM_ENVIRONMENT = ("every", "store", "keep", "grace", "verify", "preempt", "on_preempt", "capture", "quiet")


def _same(value: Any) -> Any:
    return value


def check_name(name: str) -> str:
    """Return a checkpoint's name if it can be one.

    Raises:
        OptionError: it holds something else than letters, digits, dots, dashes and underscores.
    """
    if not NAME.fullmatch(name):
        raise OptionError(
            f"{name!r} cannot name a checkpoint: use up to 128 letters, digits, '.', '-' and '_', "
            "starting with a letter or digit"
        )
    return name


def _check_keep(value: Any) -> int:
    return _whole(value, 1, f"--keep {value!r} is not a number of snapshots: give a whole number from 1 up")


def _check_retry(value: Any) -> int:
    return _whole(value, 0, f"--retry {value!r} is not a number of tries: give a whole number, 0 for none")


def _whole(value: Any, least: int, otherwise: str) -> int:
    """The whole number that was given."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise OptionError(otherwise) from None
    if number < least:
        raise OptionError(otherwise)
    return number


def _check_grace(value: str | float) -> float:
    try:
        grace = float(value)
    except ValueError:
        grace = seconds(str(value).strip()) or 0.0
    if not 0 < grace < float("inf"):
        raise OptionError(f"--grace {str(value)!r} is not a time: give seconds, as in 25, or 2m")
    return grace


def _words(value: str | Iterable[str]) -> tuple[str, ...]:
    """A list as it is written with commas, or given as one."""
    words = value.split(",") if isinstance(value, str) else map(str, value)
    return tuple(word.strip() for word in words if word.strip())


def _check_types(value: str | Iterable[str]) -> tuple[str, ...]:
    names = _words(value)
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise OptionError(
                f"--retry-on {name!r} is not the name of an exception: give names separated by commas, as in "
                "TimeoutError,requests.ConnectionError"
            )
    return names


def _check_keep_every(value: str | float | Every) -> Every:
    try:
        every = Every.parse(value)
    except OptionError:
        every = Every()
    if every.auto:
        raise OptionError(f"--keep-every {str(value)!r} is not a distance: write 100it (iterations) or 1h (of work)")
    return every


def _check_names(value: str | Iterable[str]) -> tuple[str, ...]:
    names = _words(value)
    for name in names:
        if not name.isidentifier():
            raise OptionError(f"{name!r} is not a variable's name: give names separated by commas, as in a,b")
    return names


def _check_on_change(value: str) -> str:
    if value not in ("ask", "resume", "restart", "error"):
        raise OptionError(f"--on-change {value!r} is unknown: use resume, restart or error")
    return value


def _check_preempt(value: str | Iterable[str]) -> tuple[str, ...]:
    sources = tuple(map(_check_source, _words(value)))
    if "off" in sources and len(sources) > 1:
        raise OptionError(f"--preempt {','.join(sources)} asks for off and for more: give one or the other")
    return sources or ("off",)


def _check_source(word: str) -> str:
    """Return how a source of notices is known, if it is one."""
    if word.lower() in ("auto", "off", "aws", "gcp", "azure", "slurm"):
        return word.lower()
    kind, _, rest = word.partition(":")
    if kind == "signal":
        name = rest.upper().removeprefix("SIG")
        if name in HEARD_SIGNALS and hasattr(signal, f"SIG{name}"):
            return f"signal:{name}"
        raise OptionError(
            f"--preempt {word!r} names no signal that can give notice: it is one of "
            f"{', '.join(f'signal:{known}' for known in HEARD_SIGNALS)}. SIGINT, SIGTERM and SIGHUP are always heard"
        )
    if kind == "file" and rest:
        return f"file:{rest.removeprefix('//')}"
    if kind in ("http", "https") and rest.startswith("//") and rest.strip("/"):
        return word
    raise OptionError(
        f"--preempt {word!r} names nobody who gives notice: use auto, off, aws, gcp, azure, slurm, signal:USR1, "
        "file:/path or http://..., and commas between several"
    )


def _check_on_preempt(value: str) -> str:
    if value not in ("continue", "stop", "requeue"):
        raise OptionError(f"--on-preempt {value!r} is unknown: use continue, stop or requeue")
    return value


def _check_capture(value: str) -> str:
    if value not in ("copy", "fork"):
        raise OptionError(f"--capture {value!r} is unknown: use copy or fork")
    return value


def _check_flag(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() not in ("", "0", "no", "false", "off")
    return bool(value)


_CHECK: dict[str, Any] = {
    "name": check_name,
    "every": Every.parse,
    "vars": _check_names,
    "exclude": _check_names,
    "store": str,
    "keep": _check_keep,
    "keep_best": Best.parse,
    "keep_every": _check_keep_every,
    "fresh": _check_flag,
    "on_change": _check_on_change,
    "grace": _check_grace,
    "retry": _check_retry,
    "retry_on": _check_types,
    "rng": _check_flag,
    "replay": _check_flag,
    "verify": _check_flag,
    "preempt": _check_preempt,
    "on_preempt": _check_on_preempt,
    "capture": _check_capture,
    "quiet": _check_flag,
}


def bytes_from_environment(name: str, hint: str) -> int | None:
    """Return the number of bytes that an environment variable says, None where it says nothing; `hint` is for errors.

    Raises:
        OptionError: that is no number.
    """
    text = os.environ.get(name)
    if text and not (text.isascii() and text.isdecimal()):
        raise OptionError(f"{name}={text} is not a number of bytes: {hint}")
    return int(text) if text else None
