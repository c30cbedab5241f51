"""Cells that nobody thought of."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from programs.harness import Lab, Program

ITERABLES = [
    "range(2)",
    "[3, 1]",
    '"ab"',
    "{1: a, 2: b}.items()",
    "enumerate(xs[:2])",
    "zip(range(2), xs[-2:])",
    "map(str, range(2))",
    "reversed([a, 5])",
    "drawn(2)",
    "range(0)",
]
PLAIN = [
    "a = a * 3 % 17 + 1",
    "b = b + a",
    "xs.append(a)",
    "xs[-1] = b % 7",
    "shared[a % 3] = xs[-1]",
    "if a % 2: b += 1",
    "a = 12 // (b % 3)",
    "print(a, b)",
    "del xs[:-4]",
    "b = sum(x for x in xs) % 23",
    "ys = [x + a for x in xs]",
    "xs += [12 // (k + b % 3) for k in range(a % 3)]",
    "ys = {(x, y): (b := b + y) % 9 for x in xs[:2] if x for y in range(a % 4)}",
]
CONDITIONS = ["a % 2", "b > 9", "len(xs) > 3", "(c := a % 3)", "not xs"]


@st.composite
def blocks(draw: st.DrawFn, depth: int, *, in_loop: bool) -> str:
    """Some statements; deeper ones hold fewer others."""
    count = draw(st.integers(1, 3))
    return "\n".join(draw(statements(depth, in_loop=in_loop)) for _ in range(count))


@st.composite
def statements(draw: st.DrawFn, depth: int, *, in_loop: bool) -> str:
    kinds = ["plain", "plain"]
    if depth:
        kinds += ["for", "for", "while", "if", "try", "with"]
    if in_loop:
        kinds.append("leave")
    kind = draw(st.sampled_from(kinds))
    inner = depth - 1
    if kind == "plain":
        return draw(st.sampled_from(PLAIN))
    if kind == "leave":
        return f"if {draw(st.sampled_from(CONDITIONS))}: {draw(st.sampled_from(['break', 'continue']))}"
    if kind == "for":
        body = indented(draw(blocks(inner, in_loop=True)))
        orelse = f"\nelse:\n    xs.append({depth})" if draw(st.booleans()) else ""
        return f"for t{depth} in {draw(st.sampled_from(ITERABLES))}:\n{body}{orelse}"
    if kind == "while":
        body = indented(draw(blocks(inner, in_loop=True)))
        return f"w{depth} = 0\nwhile w{depth} < 2:\n    w{depth} += 1\n{body}"
    body = indented(draw(blocks(inner, in_loop=in_loop)))
    if kind == "if":
        orelse = f"\nelse:\n{indented(draw(blocks(inner, in_loop=in_loop)))}" if draw(st.booleans()) else ""
        return f"if {draw(st.sampled_from(CONDITIONS))}:\n{body}{orelse}"
    if kind == "with":
        return f"with suppress(ZeroDivisionError):\n{body}"
    return f"try:\n{body}\nexcept ZeroDivisionError:\n    b += 2\nfinally:\n    xs.append(b)"


def indented(block: str) -> str:
    return textwrap.indent(block, "    ")


HEAD = """
from contextlib import suppress
a, b, xs = 1, 2, [4]
shared = {0: xs}
def drawn(n):
    for k in range(n):
        yield k * 2
with suppress(ZeroDivisionError):
"""


@pytest.mark.slow
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(body=blocks(3, in_loop=False))
def test_any_cell_ends_as_if_it_had_not_been_killed(body: str, lab: Lab) -> None:
    """Whatever loops, branches, handlers and contexts a cell is made of, it resumes at each of its boundaries."""
    lab.kill_everywhere(Program("generated", "", HEAD + indented(body) + "\na, b, xs\n", at_least=1))
