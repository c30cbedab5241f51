"""Which names belong to a cell."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from nbckpt.state import namespace as names


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return vars(module)


def test_names_are_found_through_functions(notebook: dict[str, Any]) -> None:
    """Helpers that call helpers, methods, decorators and partials: what they read and bind is the cell's state."""
    exec(
        """
import functools
def deepest(): return hidden
def helper():
    global written
    written = 1
    return deepest()
class Model:
    def step(self): return rate
    @property
    def loss(self): return losses
    @classmethod
    def build(cls): return config
def wrap(f):
    @functools.wraps(f)
    def wrapped(): return f() + offset
    return wrapped
@wrap
def decorated(): return inside
bound = functools.partial(helper)
@functools.lru_cache
def cached(): return source
@functools.singledispatch
def by_type(x): return other
@by_type.register(int)
def _(x): return whole
model = Model()
""",
        notebook,
    )
    values = [notebook[name] for name in ("helper", "model", "decorated", "bound", "cached", "by_type")]
    found = names.names_of_definitions(values, notebook)
    assert {
        "hidden",
        "rate",
        "losses",
        "config",
        "offset",
        "inside",
        "deepest",
        "source",
        "other",
        "whole",
    } <= found.reads
    assert found.binds == {"written"}


def test_attributes_and_locals_are_not_names() -> None:
    """`x.shape` does not read a variable `shape`, and a function's own variables are its own."""
    code = compile("y = x.shape\ndef f(a):\n    b = a\n    return b\nclass C:\n    k = z\n", "<cell>", "exec")
    found = names.names_in(code, module=True)
    assert found.reads - {"__name__"} == {"x", "z"}
    assert {"y", "f", "C"} <= found.binds
    assert not {"k", "a", "b"} & found.binds


def test_ipythons_names_are_not_the_users() -> None:
    """`Out` and `_3` are IPython's; `_cache` and `__x` are not."""
    assert all(map(names.is_ipythons, ["In", "Out", "_", "__", "_3", "_i", "_i12", "_oh", "get_ipython", "__name__"]))
    assert not any(map(names.is_ipythons, ["_cache", "out", "_x3", "i", "__x", "Inn"]))


def test_what_is_defined_anew_is_never_taken_for_what_was_there() -> None:
    """Python gives the identity of what is gone to what comes next: that is no sign that nothing was defined."""
    selection = names.Selection(set(), set())
    namespace: dict[str, Any] = {"f": lambda: 0}
    selection.start(namespace)
    for _ in range(100):
        del namespace["f"]
        namespace["f"] = lambda: 1
        assert selection.is_new("f", namespace["f"])
