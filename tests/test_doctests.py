"""The examples in docstrings."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import nbckpt


def _is_usable(name: str) -> bool:
    """Whether a module can be imported: that of a library which is not installed here cannot."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        return str(error.name).startswith("nbckpt")
    return True


MODULES = [found.name for found in pkgutil.walk_packages(nbckpt.__path__, "nbckpt.") if _is_usable(found.name)]


@pytest.mark.usefixtures("no_last_result")
@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    """What a docstring shows is what happens."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.usefixtures("no_last_result")
def test_there_are_examples() -> None:
    """The test above tests something."""
    tried = [doctest.testmod(importlib.import_module(name)).attempted for name in MODULES]
    assert sum(tried) >= 15
