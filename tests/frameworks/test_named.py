"""What a library has that cannot be saved is named when the cell starts, with what to do."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from programs.harness import Lab, Program

BEFORE = "import numpy as np\nX, y = np.zeros((9, 2)), np.arange(9) % 2\n"
NAMED = [
    ("", "import hashlib\nthing = hashlib.sha256(b'x')", "thing cannot be saved"),
    ("", "thing = [k for k in (x for x in range(3))], (x for x in range(3))", r"thing\[1\] cannot be saved"),
    ("", "import re\nthing = re.match('a', 'a')", "thing cannot be saved"),
    ("", "import contextvars\nthing = contextvars.ContextVar('v')", "thing cannot be saved"),
    ("xgboost", "import xgboost\nthing = xgboost.QuantileDMatrix(X, label=y)", "use a plain xgboost.DMatrix"),
    ("lightgbm", "import lightgbm\nthing = lightgbm.Dataset(X, y).construct()", "free_raw_data=False"),
]


@pytest.mark.parametrize(("library", "makes", "says"), NAMED)
def test_it_is_named(library: str, makes: str, says: str, lab: Lab, available: Callable[[Program], None]) -> None:
    program = Program("named", "", "for k in range(2):\n    print(thing)", before=(BEFORE + makes,), library=library)
    available(program)
    outcome, _ = lab.execute(program, lab.marker(program, lab.folder()))
    assert outcome.error.startswith("UnpicklableError")
    assert re.search(says, outcome.error), outcome.error
