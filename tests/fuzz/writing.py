"""Writing cells: statements, loops of all kinds, branches, handlers, over a few features at a time."""

from __future__ import annotations

import dis
import random
import textwrap

from .features import CORE, FEATURES, Feature
from .lane import Cell

_ERRORS = "(ArithmeticError, LookupError, ValueError, AttributeError, AssertionError, TypeError, RuntimeError)"


LACKING: frozenset[str] = frozenset()
"""What is not written yet: features, and `outside`: other names, of the cells before, for the cell's objects."""


def program(seed: int, lacking: frozenset[str] = LACKING) -> Cell:
    """The program of a number."""
    return _Writer(random.Random(seed), lacking).program()


class _Writer:
    def __init__(self, draw: random.Random, lacking: frozenset[str]) -> None:
        self.draw = draw
        chosen = draw.sample(FEATURES, draw.choice([1, 1, 2, 2, 3]))
        chosen = [feature for feature in chosen if feature.name not in lacking]
        self.features: list[Feature] = [CORE, *chosen]
        self.weights = [1, *[2] * len(chosen)]
        self.outside = "outside" not in lacking
        self.refuses = False
        self.names = 0
        self.asynchronous = any(feature.asynchronous for feature in chosen)
        self.may_refuse = draw.random() < 0.3

    def program(self) -> Cell:
        draw = self.draw
        setups = [feature.setup for feature in self.features]
        outside = frozenset[str]()
        split = draw.choice([0, 0, 0, len(setups), draw.randint(1, len(setups))])
        before = tuple(setups[:split])
        known = [feature for feature in self.features[:split] if feature.outside]
        if self.outside and known and draw.random() < 0.7:
            before = (*before, known[0].outside)
            outside = frozenset({"held"})
        body = self.block(draw.choice([2, 3, 3]), count=draw.randint(1, 3))
        if draw.random() < 0.3:
            body = f"from contextlib import suppress\nwith suppress(Exception):\n{_indented(body)}"
        last = draw.choice(["out", "a, b", "out[-1:]", "", "print(a)", "a = b", "None", "a; b"])
        if not self.outside and before:
            body += "\n" + ", ".join(sorted(set().union(*map(_bound, before))))
        cell = "\n".join([*setups[split:], body, last]).strip() + "\n"
        return Cell(cell, before, self.refuses, "def bump" in body, outside)

    # -- statements ----------------------------------------------------------------------------------------

    def block(self, depth: int, *, loop: bool = False, count: int = 0) -> str:
        return "\n".join(self.statement(depth, loop=loop) for _ in range(count or self.draw.choice([1, 1, 2, 2, 3])))

    def statement(self, depth: int, *, loop: bool) -> str:
        draw = self.draw
        kinds = {"plain": 5}
        if depth:
            kinds |= {"for": 5, "while": 1.5, "if": 1.5, "try": 1.5, "with": 0.7, "comprehension": 0.5}
        if depth and self.asynchronous:
            kinds["async for"] = 2
        if loop:
            kinds["leave"] = 0.7
        kind = draw.choices(list(kinds), list(kinds.values()))[0]
        if kind == "plain":
            return self.plain()
        if kind == "leave":
            return f"if {self.condition()}: {draw.choice(['break', 'continue'])}"
        if kind == "comprehension":
            return self.comprehension()
        return str(getattr(self, f"_{kind.replace(' ', '_')}")(depth, loop))

    def plain(self) -> str:
        line = self.draw.choice(self.feature(lambda feature: bool(feature.statements)).statements)
        line = self.named(line)
        if line.startswith("!"):
            line = line[1:]
            if self.draw.random() < 0.85:
                return f"try:\n{_indented(line)}\nexcept {_ERRORS}:\n    a += 1"
        return line

    def comprehension(self) -> str:
        source, inner = self.source(), self.source()
        name = self.name()
        return self.draw.choice(
            [
                f"{name} = [k for k in {source}]",
                f"{name} = [(str(k)[:9], a) for k in {source} if a]",
                f"{name} = {{str(k)[:9]: j for j, k in enumerate({source})}}",
                f"{name} = [j for j in {inner} for k in {source}][:5]",
                f"{name} = {{str(k)[:9] for k in {source}}}",
            ]
        )

    def _for(self, depth: int, loop: bool) -> str:
        head = f"for {self.target()} in {self.source()}:"
        return f"{head}\n{_indented(self.block(depth - 1, loop=True))}{self.orelse(depth, loop)}"

    def _async_for(self, depth: int, loop: bool) -> str:
        feature = self.feature(lambda feature: bool(feature.asynchronous))
        head = f"async for {self.name()} in {self.draw.choice(feature.asynchronous)}:"
        return f"{head}\n{_indented(self.block(depth - 1, loop=True))}{self.orelse(depth, loop)}"

    def _while(self, depth: int, loop: bool) -> str:
        name = self.name()
        condition = f" and {self.condition()}" if self.draw.random() < 0.4 else ""
        body = _indented(self.block(depth - 1, loop=True))
        if self.draw.random() < 0.3:
            return f"{name} = 0\nwhile ({name} := {name} + 1) < 3{condition}:\n{body}{self.orelse(depth, loop)}"
        return f"{name} = 0\nwhile {name} < 2{condition}:\n    {name} += 1\n{body}{self.orelse(depth, loop)}"

    def _if(self, depth: int, loop: bool) -> str:
        text = f"if {self.condition()}:\n{_indented(self.block(depth - 1, loop=loop))}"
        if self.draw.random() < 0.3:
            text += f"\nelif {self.condition()}:\n{_indented(self.block(depth - 1, loop=loop))}"
        return text + self.orelse(depth, loop)

    def _try(self, depth: int, loop: bool) -> str:
        draw = self.draw
        text = f"try:\n{_indented(self.block(depth - 1, loop=loop))}"
        handler = "" if draw.random() < 0.5 else " as error"
        note = "out.append(type(error).__name__)" if handler else "b += 2"
        text += f"\nexcept {_ERRORS}{handler}:\n    {note}"
        if draw.random() < 0.3:
            text += f"\n{_indented(self.block(max(depth - 2, 0), loop=loop))}"
        if draw.random() < 0.3:
            text += f"\nelse:\n{_indented(self.block(max(depth - 2, 0), loop=loop))}"
        if draw.random() < 0.3:
            text += f"\nfinally:\n{_indented(self.block(max(depth - 2, 0)))}"
        return text

    def _with(self, depth: int, loop: bool) -> str:
        body = _indented(self.block(depth - 1, loop=loop))
        context = self.draw.choice(
            ["__import__('contextlib').suppress(Exception)", "__import__('contextlib').nullcontext(a) as context"]
        )
        return f"with {context}:\n{body}"

    def orelse(self, depth: int, loop: bool) -> str:
        if self.draw.random() > 0.25:
            return ""
        return f"\nelse:\n{_indented(self.block(max(depth - 2, 0), loop=loop))}"

    # -- parts of statements ---------------------------------------------------------------------------------

    def feature(self, fits: object) -> Feature:
        fitting = [(f, w) for f, w in zip(self.features, self.weights, strict=True) if fits(f)]  # type: ignore[operator]
        return self.draw.choices([f for f, _ in fitting], [w for _, w in fitting])[0]

    def source(self) -> str:
        feature = self.feature(lambda feature: bool(feature.sources))
        if feature.refuses and self.may_refuse and self.draw.random() < 0.4:
            self.refuses = True
            return self.draw.choice(feature.refuses)
        return self.draw.choice(feature.sources)

    def target(self) -> str:
        return self.draw.choices([self.name(), "t", "_"], [8, 4, 0.5])[0]

    def condition(self) -> str:
        return self.draw.choice(self.feature(lambda feature: bool(feature.conditions)).conditions)

    def name(self) -> str:
        self.names += 1
        return f"t{self.names}"

    def named(self, text: str) -> str:
        for mark in ("@1", "@2"):
            if mark in text:
                text = text.replace(mark, self.name())
        return text


def _bound(text: str) -> set[str]:
    """The names that a cell binds at its top level."""
    code = compile(text, "<before>", "exec")
    return {str(step.argval) for step in dis.get_instructions(code) if step.opname == "STORE_NAME"}


def _indented(text: str) -> str:
    return textwrap.indent(text, "    ")
