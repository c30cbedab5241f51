"""Which names belong to a cell, and which of them matter where."""

from __future__ import annotations

import ast
import sys
import types
from typing import Any

import pytest

from nbckpt.run.instrument import holds_boundary
from nbckpt.state import namespace as names


def alive(source: str) -> names.Liveness:
    return names.liveness(ast.parse(source).body, holds_boundary)


def test_a_name_assigned_before_it_is_read_does_not_matter() -> None:
    """What an iteration binds for itself is dead at the top of the loop; what it carries over is alive."""
    found = alive("""
total = 0
for url in urls:
    reply = get(url)
    total += reply.size
    last = reply
print(total)
""")
    assert found.inputs == {"urls", "get", "print"}
    assert found.tops["1"] == {"get", "total", "print"}
    assert found.before["2"] == {"total", "print"}


def test_nested_loops_carry_what_the_outer_body_still_reads() -> None:
    """At an inner boundary, what comes after the inner loop counts too."""
    found = alive("""
for a in xs:
    reply = get(a)
    for b in reply:
        loss = f(b)
    log(reply, loss)
""")
    assert {"reply", "loss"} <= found.tops["0.body.1"]
    assert not {"reply", "a"} & found.tops["0"]
    assert "loss" in found.tops["0"], "an empty reply leaves the loss of the iteration before"


def test_breaks_handlers_and_contexts_lead_on() -> None:
    """Wherever `break`, an exception or a swallowing context leads, what is read there is alive."""
    assert "x" in alive("for a in b:\n    x = 1\n    break\nelse:\n    x = 2\nprint(x)").before["1"]
    assert "x" in alive("try:\n    for a in b:\n        x = f(a)\nexcept E:\n    print(x)").tops["0.body.0"]
    assert "x" in alive("with c:\n    for a in b:\n        x = f(a)\nprint(x)").tops["0.body.0"]


def test_what_a_function_reads_is_alive_until_nobody_can_call_it() -> None:
    """A function may be called at any later time, so what it reads matters everywhere; a generator has its source."""
    found = alive("h = open(p)\ndef f(): return h.read()\nfor a in b:\n    g(a)\n")
    assert "h" in found.tops["2"]
    found = alive("with open(p) as h:\n    n = sum(1 for _ in h)\nfor a in b:\n    g(a)\n")
    assert "h" not in found.tops["1"]
    assert found.remade == {"h"}


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
model = Model()
""",
        notebook,
    )
    values = [notebook[name] for name in ("helper", "model", "decorated", "bound")]
    found = names.names_of_definitions(values, notebook)
    assert {"hidden", "rate", "losses", "config", "offset", "inside", "deepest"} <= found.reads
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
