"""The status line: what it says, where, and how often."""

from __future__ import annotations

import html
import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import IPython.display
import pytest

from nbckpt.front import display
from nbckpt.front.display import StatusLine, View
from nbckpt.run.status import Status

ROOT = Path(__file__).parents[2]


def status(**known: Any) -> Status:
    return Status(**{"name": "train", "store": ".nbckpt", "every": "10 m", **known})


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Output:
    """A kernel's display: every state of every output."""

    def __init__(self) -> None:
        self.outputs: list[list[View]] = []
        self.apart: list[View] = []
        """What is shown once, where the cell's output has come to."""

    def display(self, view: View, *, metadata: dict[str, Any], display_id: bool = False) -> Any:
        assert metadata == {"nbckpt": {"name": "train"}}
        if not display_id:
            self.apart.append(view)
            return None
        states = [view]
        self.outputs.append(states)
        return SimpleNamespace(update=lambda view, metadata: states.append(view))

    @property
    def states(self) -> list[View]:
        (states,) = self.outputs
        return states


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


KERNEL = SimpleNamespace(kernel=object())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(display, "time", clock)
    return clock


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Output:
    output = Output()
    monkeypatch.setattr(IPython.display, "display", output.display)
    return output


def terminal_of(monkeypatch: pytest.MonkeyPatch, columns: int = 200) -> Terminal:
    """Put a terminal in the place of stderr. In a fixture, pytest's own capture would take the place back."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.delenv("NO_COLOR", raising=False)
    return terminal


def text_of(view: View) -> str:
    """What the HTML says once its tags are gone."""
    return html.unescape(re.sub(r"<[^>]+>", "", view.html.replace("</div>", "\n"))).replace(" \n", "\n").strip()


NOW = time.time()
SITUATIONS = {
    "started": (status(), "started, saving every 10 m to .nbckpt"),
    "started auto": (status(every="auto"), "started, saving automatically to .nbckpt"),
    "started counting": (status(every="500it"), "started, saving every 500 iterations to .nbckpt"),
    "resumed": (
        status(resumed_at="epoch 57 of 100", resumed_age=250, kept=11520),
        "resumed at epoch 57 of 100, saved 4 minutes ago, 3 h 12 m of work kept",
    ),
    "progress": (
        status(
            progress="epoch 60 of 100", saved_at=NOW, saved_progress="epoch 59 of 100", snapshots=4, size=12_000_000
        ),
        f"epoch 60 of 100, saved {display.clock(NOW)} at epoch 59 of 100 (4 snapshots, 12 MB)",
    ),
    "progress, nothing saved": (status(progress="epoch 1 of 100"), "epoch 1 of 100, not saved yet"),
    "progress, saved right here": (
        status(progress="i 6", saved_at=NOW, saved_progress="i 6", snapshots=1, size=1),
        f"i 6, saved {display.clock(NOW)} (1 snapshot, 1 byte)",
    ),
    "progress after a resume": (
        status(progress="i 7", saved_at=NOW, saved_progress="i 6", resumed_at="i 5"),
        "i 7, nothing new to save yet; resumed at i 5",
    ),
    "finished": (
        status(state="finished", worked=12000, resumed_at="epoch 57 of 100"),
        "finished after 3 h 20 m of work (resumed at epoch 57 of 100)",
    ),
    "restored": (
        status(state="restored", resumed_age=7300),
        "restored the finished result, saved 2 hours ago; --fresh runs it anew",
    ),
    "stopped": (
        status(state="stopped", saved_progress="epoch 59 of 100"),
        "stopped; run it again to go on at epoch 59 of 100",
    ),
    "stopped early": (status(state="stopped"), "stopped before anything was saved"),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_sentences(situation: str, output: Output) -> None:
    """Each situation has its sentence, and text and HTML say the same."""
    shown, sentence = SITUATIONS[situation]
    StatusLine(KERNEL).show(shown, event=re.split(r"\W", situation)[0])
    (view,) = output.states
    assert view.text == f"nbckpt train: {sentence}"
    assert text_of(view) == view.text


def test_one_output_in_a_kernel(clock: Clock, output: Output) -> None:
    """A cell has one display, whose last state stays."""
    line = StatusLine(KERNEL)
    for event in ("started", "progress", "saved"):
        clock.now += 60
        line.show(status(progress=event), event=event)
    line.show(status(state="finished", worked=5), event="finished")
    assert len(output.states) == 4
    assert output.states[-1].text == "nbckpt train: finished after 5 s of work"


def test_twice_a_second_at_most(clock: Clock, output: Output) -> None:
    """Progress and saves are shown at most twice a second; what starts or ends a run always."""
    line = StatusLine(KERNEL)
    line.show(status(), event="started")
    for turn in range(1000):
        clock.now += 0.01
        line.show(status(progress=f"i {turn}"), event="saved" if turn % 3 else "progress")
    assert 2 < len(output.states) <= 1 + 10 * 2
    line.show(status(state="stopped"), event="stopped")
    assert "stopped" in output.states[-1].text


def test_an_alarm_is_shown_at_once_and_stays(clock: Clock, output: Output) -> None:
    """A run that is not saved says so in red from that moment on, until saving works again."""
    line = StatusLine(KERNEL)
    run = status(progress="i 1")
    line.show(run, event="started")
    run.unprotect("the disk is full: free some space.")
    line.show(run, event="progress")
    assert re.match(
        r"nbckpt train: NOT PROTECTED since [\d:]+: the disk is full: free some space; the computation goes on\n",
        output.states[-1].text,
    )
    assert "background: #b00020" in output.states[-1].html
    clock.now += 60
    run.progress = "i 2"
    line.show(run, event="progress")
    assert "NOT PROTECTED" in output.states[-1].text
    assert "i 2" in output.states[-1].text
    run.protect()
    line.show(run, event="saved")
    assert "NOT PROTECTED" not in output.states[-1].text


def test_a_result_that_is_not_saved(output: Output) -> None:
    """A run that ends without its result being saved does not look finished."""
    run = status(progress="i 1", state="finished", worked=60)
    run.unprotect("the disk is full")
    StatusLine(KERNEL).show(run, event="unprotected")
    below, (line,) = output.apart[0], output.states
    assert line.text == "nbckpt train: finished after 1 m of work, but the result is NOT SAVED: the disk is full"
    assert re.sub(r"since \d+:\d+:\d+", "since NOW", below.text) == (
        "nbckpt train: finished after 1 m of work, but the result is NOT SAVED, as nothing was since NOW: the disk is "
        "full. The variables are in this kernel only: write what you need of them to a file before it ends. Run again, "
        "the cell begins anew"
    )
    for view in (line, below):
        assert "background: #b00020" in view.html
        assert text_of(view) == view.text


def test_an_error_is_answered_below_its_traceback(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the cell would go on, and how old that is; the line on top says that it stopped, and by what."""
    run = status(state="stopped", error="ValueError: bad", saved_progress="k 3 of 9", saved_at=time.time() - 61)
    for shell in (KERNEL, None):
        StatusLine(shell).show(run, event="stopped")
    assert output.states[-1].text == "nbckpt train: stopped by ValueError: bad"
    (below,) = output.apart
    where = "run it again to go on at k 3 of 9, saved NOW, 1 m 1 s before the error"
    assert re.sub(r"saved [-\d: ]+,", "saved NOW,", below.text) == f"nbckpt train: {where}"
    said = re.sub(r"saved [-\d: ]+,", "saved NOW,", capsys.readouterr().err)
    assert said == f"nbckpt train: stopped by ValueError: bad; {where}\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_a_retry_has_a_line_of_its_own(
    quiet: bool,
    output: Output,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Below what the failed attempt showed, also where little is to be said; the status goes on in its place."""
    run = status(progress="k 3 of 9", retry="retry 1 of 3 after OSError, from k 3 of 9, in 1 s")
    lines = [StatusLine(shell, quiet=quiet) for shell in (KERNEL, None)]
    for line in lines:
        line.show(run, event="started")
        line.show(run, event="retrying")
        line.show(run, event="resumed")
    (view,) = output.apart
    assert view.text == f"nbckpt train: note: {run.retry}"
    assert capsys.readouterr().err.count(run.retry) == 1


def test_when_nothing_could_be_saved_is_told_afterwards(output: Output) -> None:
    """From when to when, and why: who looks later learns that there was a gap."""
    run = status(progress="i 1")
    line = StatusLine(KERNEL)
    run.unprotect("the disk is full")
    line.show(run, event="unprotected")
    run.protect()
    line.show(run, event="saved")
    text = re.sub(r"\d+:\d+:\d+", "NOW", output.states[-1].text)
    assert text.splitlines()[-1] == "nbckpt train: note: nothing could be saved from NOW to NOW: the disk is full"


def test_user_text_is_text(output: Output) -> None:
    """Whatever a name or message holds, it is neither markup nor a control sequence."""
    run = status(progress="<script>x</script> & \x1b[31m 1 of 2")
    run.notice("<b>bold</b>\nsecond line")
    StatusLine(KERNEL).show(run, event="progress")
    (view,) = output.states
    assert "<script" not in view.html
    assert "<b>bold" not in view.html
    assert "\x1b" not in view.text + view.html
    assert text_of(view) == view.text
    assert len(view.text.splitlines()) == 2


def test_the_bar(output: Output) -> None:
    """The bar shows the share of all iterations that is done, and is gone at the end."""
    line = StatusLine(KERNEL)
    line.show(status(progress="epoch 50 of 100, batch 1 of 2"), event="started")
    assert '<progress value="0.5050" max="1"' in output.states[-1].html
    line.show(status(progress="iteration 5"), event="resumed")
    assert "<progress" not in output.states[-1].html
    line.show(status(progress="epoch 100 of 100", state="finished"), event="finished")
    assert "<progress" not in output.states[-1].html


def test_lines_in_a_log(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Where stderr is no terminal, there is a line for what starts, ends or goes wrong, once, and none for progress."""
    line = StatusLine()
    run = status()
    line.show(run, event="started")
    for turn in range(10):
        clock.now += 60
        run.progress = f"i {turn}"
        line.show(run, event="saved")
    run.notice("lock is a lock and is not saved")
    line.show(run, event="progress")
    line.show(run, event="progress")
    for attempt in ("0af3", "11", "7be0"):
        run.unprotect(f"no space for {attempt}")
        line.show(run, event="unprotected" if attempt == "0af3" else "progress")
        clock.now += 60
    run.unprotect("somebody else saves here")
    line.show(run, event="progress")
    run.protect()
    line.show(run, event="saved")
    run.state = "finished"
    line.show(run, event="finished")
    said = capsys.readouterr()
    assert said.out == ""
    assert re.sub(r"since [\d:]+:", "since NOW:", said.err).splitlines() == [
        "nbckpt train: started, saving every 10 m to .nbckpt",
        "nbckpt train: note: lock is a lock and is not saved",
        "nbckpt train: NOT PROTECTED since NOW: no space for 0af3; the computation goes on",
        "nbckpt train: NOT PROTECTED since NOW: somebody else saves here; the computation goes on",
        "nbckpt train: saving works again",
        "nbckpt train: finished",
    ]


def test_a_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal progress rewrites one line, alarms are red, and the last line stands for itself."""
    terminal = terminal_of(monkeypatch)
    line = StatusLine()
    run = status()
    line.show(run, event="started")
    clock.now += 60
    run.progress = "i 1"
    line.show(run, event="progress")
    clock.now += 60
    run.unprotect("no space")
    line.show(run, event="unprotected")
    clock.now += 60
    line.show(run, event="progress")
    run.state = "stopped"
    line.show(run, event="stopped")
    first, alarm, rest = terminal.getvalue().split("\n", 2)
    assert first == "nbckpt train: started, saving every 10 m to .nbckpt"
    assert alarm.startswith("nbckpt train: i 1, not saved yet\r\x1b[K\x1b[1;31mnbckpt train: NOT PROTECTED since ")
    assert rest.startswith("\x1b[1;31mnbckpt train: NOT PROTECTED, i 1, not saved yet\x1b[0m\r\x1b[K")
    assert "nbckpt train: stopped, and what it did is NOT SAVED, as nothing was since " in rest
    assert rest.endswith("Run again, the cell begins anew\x1b[0m\n")


def test_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is rewritten is never longer than the terminal is wide, or it could not be rewritten."""
    terminal = terminal_of(monkeypatch, columns=30)
    StatusLine().show(status(progress="epoch 1 of 100, " * 10), event="progress")
    assert len(terminal.getvalue()) == 29


@pytest.mark.parametrize("shell", [KERNEL, None], ids=["kernel", "terminal"])
def test_quiet(shell: Any, clock: Clock, output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    """Quiet leaves notices and alarms, and the end of an alarm, and nothing else."""
    line = StatusLine(shell, quiet=True)
    run = status(progress="i 1")
    for event in ("started", "progress", "saved"):
        clock.now += 60
        line.show(run, event=event)
    assert output.outputs == []
    assert capsys.readouterr().err == ""
    run.notice("look here")
    line.show(run, event="progress")
    run.unprotect("no space")
    line.show(run, event="unprotected")
    said = capsys.readouterr().err + (output.states[-1].text if shell else "")
    assert "look here" in said
    assert "NOT PROTECTED" in said
    assert "i 1" not in said
    run.protect()
    line.show(run, event="saved")
    run.state = "finished"
    line.show(run, event="finished")
    end = capsys.readouterr().err + (output.states[-1].text if shell else "")
    assert "NOT PROTECTED" not in end
    assert "finished" not in end


def test_scripts_are_told_their_own_option(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no shell, what runs a checkpoint anew is an argument of Python."""
    StatusLine().show(status(state="restored"), event="restored")
    assert "fresh=True runs it anew" in capsys.readouterr().err


def test_a_clock_of_another_day() -> None:
    """A moment that was not today comes with its date."""
    assert re.fullmatch(r"\d\d:\d\d:\d\d", display.clock(time.time()))
    assert re.fullmatch(r"2001-09-0\d \d\d:\d\d", display.clock(1_000_000_000))


def test_tables_line_up() -> None:
    """A table has a line a row, also where a cell holds a line break or markup."""
    view = display.table(["name", "size"], [["a\nb", "<1>"], ["train", "2"]])
    assert view.text.splitlines() == ["name   size", "a b    <1>", "train  2"]
    assert "&lt;1&gt;" in view.html
    assert view.html.count("<tr>") == 3


def test_light() -> None:
    """Showing the status imports nothing heavy."""
    probe = (
        "import sys, nbckpt.front.display; "
        "print([m for m in ('numpy', 'cloudpickle', 'boto3', 'fsspec', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == "[]"


IN_A_KERNEL = """
from nbckpt.front.display import StatusLine
from nbckpt.run.status import Status
line, run = StatusLine(get_ipython()), Status("train", ".nbckpt", "10 m")
line.show(run, event="started")
print("printed by the cell")
run.state = "finished"
line.show(run, event="finished")
"""


@pytest.mark.kernel
def test_a_real_kernel(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook the cell keeps one output for the line, in its last state, in text and HTML."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(IN_A_KERNEL)])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(workplace)}}).execute()
    shown = [output for output in notebook.cells[0].outputs if output.output_type == "display_data"]
    assert [output.data["text/plain"] for output in shown] == ["nbckpt train: finished"]
    assert "<b>nbckpt train:</b> finished" in shown[0].data["text/html"]
    assert shown[0].metadata == {"nbckpt": {"name": "train"}}
