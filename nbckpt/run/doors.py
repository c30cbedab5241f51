"""Calls of resumable functions by code that is not rewritten: who answers them.

While a `with nbckpt.checkpointed(...)` block is open, each resumable function has a *door* for its code, which takes
the same arguments and hands them to the block. The function is the same object all the while, and has its own code
again as soon as the block is left, or looks at its objects to save them.
"""

from __future__ import annotations

import ast
import functools
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from .resumable import DOORS, FUNCTIONS, MADE, Source, mangled, source_of
from .syntax import at

_DOOR = "__nbckpt_door__"
_blocks: list[tuple[Strand, Answering]] = []
_in_place = False

Strand = tuple[int, Any]
"""A thread, and the task in it."""


class Answering(Protocol):
    """An open block."""

    def call(self, function: types.FunctionType, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call a function, or go on in its middle."""

    async def call_async(self, function: types.FunctionType, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """The same for a function that is awaited."""


def note(function: types.FunctionType) -> None:
    """Take note of a resumable function that was made, or came back with a snapshot."""
    FUNCTIONS.add(function)
    if _in_place:
        _put_up(function)


MADE.append(note)


def enter(block: Answering) -> None:
    """Let calls be answered by a block."""
    _blocks.append((strand(), block))
    _set(in_place=True)


def leave(block: Answering) -> None:
    """Let them be answered by the block around it again, if there is one."""
    _blocks[:] = [one for one in _blocks if one[1] is not block]
    _set(in_place=bool(_blocks))


@contextmanager
def shut() -> Iterator[None]:
    """Let every function be itself, to be looked at."""
    before = _in_place
    _set(in_place=False)
    try:
        yield
    finally:
        _set(in_place=before)


def block_here() -> Any:
    """The innermost open block that this thread and task has entered, or None."""
    if not _blocks:
        return None
    here = strand()
    return next((block for opened, block in reversed(_blocks) if opened == here), None)


def strand() -> Strand:
    """Which thread, and which task in it, this is: others run beside it, in no order that could be kept."""
    task = None
    if asyncio := sys.modules.get("asyncio"):
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop is running
            task = None
    return threading.get_ident(), task


def plain(function: types.FunctionType) -> types.FunctionType:
    """The function with its own code."""
    door = DOORS.get(function)
    if door is None:
        return function
    made = types.FunctionType(
        door.code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    made.__qualname__ = function.__qualname__
    return made


class Door:
    """What the code of one function's door calls; `code` is the function's own."""

    def __init__(self, function: types.FunctionType) -> None:
        self._function, self.code = weakref.ref(function), function.__code__

    @property
    def function(self) -> Any:
        """The function, which its caller holds."""
        function = self._function()
        assert isinstance(function, types.FunctionType)  # noqa: S101
        return function

    def answer(self, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call the function in the block that is open here."""
        block = block_here()
        if block is not None:
            return block.call(self.function, given, named)
        called: Any = plain(self.function)
        return called(*given, **named)

    async def answer_async(self, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """The same for a function that is awaited."""
        block = block_here()
        if block is None:
            called: Any = plain(self.function)
            return await called(*given, **named)
        return await block.call_async(self.function, given, named)


def _set(*, in_place: bool) -> None:
    global _in_place  # noqa: PLW0603 - a function has one code, whoever calls it
    if in_place == _in_place:
        return
    _in_place = in_place
    for function in list(FUNCTIONS):
        if in_place:
            _put_up(function)
        elif (door := DOORS.pop(function, None)) is not None:
            function.__code__ = door.code


def _put_up(function: types.FunctionType) -> None:
    source = source_of(function)
    if source is None or function in DOORS:
        return
    code = _door_code(source)
    if code.co_freevars != function.__code__.co_freevars:
        return
    door = DOORS[function] = Door(function)
    function.__code__ = code.replace(co_consts=tuple(door if one == _DOOR else one for one in code.co_consts))


@functools.lru_cache(maxsize=1024)
def _door_code(source: Source) -> types.CodeType:
    """Code with the parameters and the closure of a function, which calls its door; a string stands for that."""
    node = source.parsed()
    arguments = node.args
    parts: list[ast.expr] = [_name(one.arg) for one in [*arguments.posonlyargs, *arguments.args]]
    if arguments.vararg:
        parts.append(ast.Starred(_name(arguments.vararg.arg), ast.Load()))
    names: list[ast.expr | None] = [ast.Constant(*mangled({one.arg}, source.owner)) for one in arguments.kwonlyargs]
    values: list[ast.expr] = [_name(one.arg) for one in arguments.kwonlyargs]
    if arguments.kwarg:
        names.append(None)
        values.append(_name(arguments.kwarg.arg))
    answer = ast.Attribute(ast.Constant(_DOOR), "answer_async" if source.asynchronous else "answer", ast.Load())
    call: ast.expr = ast.Call(answer, [ast.Tuple(parts, ast.Load()), ast.Dict(names, values)], [])
    body: list[ast.stmt] = [ast.Return(ast.Await(call) if source.asynchronous else call)]
    body += [ast.Expr(_name(name)) for name in source.free]  # never reached: a closure has them all
    node.body = [at(part, node.body[0]) for part in body]
    return source.compiled(node, source.free).replace(co_filename=__file__)


def _name(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())
