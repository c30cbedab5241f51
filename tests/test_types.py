"""What a type checker tells those who use nbckpt in their scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """\
import nbckpt


@nbckpt.resumable
def square(n: int) -> int:
    return n * n


with nbckpt.checkpointed("sums", every="1h") as ckpt:
    if not ckpt.resumed:
        ckpt.state.total = 0
    for n in ckpt.loop(range(3)):
        ckpt.state.total += square(n)
        ckpt.log(loss=1 / (n + 1))
    reveal_type(n)
reveal_type(square(2))
ckpt.nonsense
"""


def test_a_script_is_checked_as_its_author_means_it(tmp_path: Path) -> None:
    """The functions keep their types, `ckpt.state` takes any attribute, and a slip is seen."""
    (tmp_path / "sums.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "sums.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.replace("builtins.", "").splitlines() == [
        'sums.py:15: note: Revealed type is "int"',
        'sums.py:16: note: Revealed type is "int"',
        'sums.py:17: error: "Checkpoint" has no attribute "nonsense"  [attr-defined]',
        "Found 1 error in 1 file (checked 1 source file)",
    ]
