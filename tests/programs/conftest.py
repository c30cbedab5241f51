"""The laboratory."""

from __future__ import annotations

from pathlib import Path

import pytest

from programs.harness import Lab, take_over_the_clock


@pytest.fixture
def lab(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(workplace, take_over_the_clock(monkeypatch))
