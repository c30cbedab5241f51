"""Things that notebooks hold: how each is made, and what to ask it before and after it was saved."""

from __future__ import annotations

from pathlib import Path


def _cases() -> dict[str, tuple[str, str]]:
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    cases = {}
    for section in f"\n{text}".split("\n== ")[1:]:
        name, _, rest = section.partition("\n")
        source, _, question = rest.partition("\n? ")
        cases[name] = source, question.strip()
    return cases


CASES = _cases()
