"""Tracebacks as a person should see them: of the user's own code."""

from __future__ import annotations

from pathlib import Path
from types import CodeType
from typing import Any

from . import comprehensions

_PACKAGE = str(Path(__file__).parent.parent)


def without_ours(error: BaseException) -> None:
    """Take nbckpt's own frames out of the traceback of an exception that passes."""
    at = error.__traceback__
    while at is not None:
        while at.tb_next is not None and _is_ours(at.tb_next.tb_frame.f_code):
            at.tb_next = at.tb_next.tb_next
        at = at.tb_next


def _is_ours(code: CodeType) -> bool:
    if code.co_name == "<listcomp>" and comprehensions.STRETCH in code.co_varnames:
        return True  # around the user's own
    return code.co_filename.startswith(_PACKAGE)


def dressed(error: KeyboardInterrupt) -> KeyboardInterrupt:
    """Have IPython show an interrupt without our frames also where no `with` of ours can take them out.

    It may be raised before a plain statement, which has none around it.
    """

    def render() -> Any:
        from IPython.core.getipython import get_ipython

        without_ours(error)
        return get_ipython().InteractiveTB.structured_traceback(type(error), error, error.__traceback__)

    error._render_traceback_ = render  # type: ignore[attr-defined]
    return error
