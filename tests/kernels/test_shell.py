"""What a checkpointed cell is to a notebook: a cell like any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from .notebook import notebook

HEAD = "%%checkpointed train --every 1it\n"
LOOP = "import gate\nseen = []\nfor k in range(6):\n    seen.append(k)\n    gate.hold(k)\nprint(seen)\n"


@pytest.mark.parametrize(
    "head",
    ["%%time\n" + HEAD, HEAD + "%%time\n", HEAD + "%%capture captured\n", "\n\n" + HEAD],
    ids=["time above", "time below", "capture below", "blank lines above"],
)
def test_other_cell_magics_around_it(head: str, folder: Path) -> None:
    """`%%time` and `%%capture` work as they do over a plain cell, also when the cell resumes."""
    loop = LOOP.replace(
        "    gate.hold(k)", "    if k == 3 and gate.os.environ['HOLD']:\n        gate.os.kill(gate.os.getpid(), 9)"
    )
    with notebook(folder, hold="yes") as book:
        book.send(head + loop)
        book.manager.provisioner.process.wait()
    with notebook(folder) as book:
        reply = book.ok(head + loop)
        assert book.value("seen") == list(range(6))
        if "capture" in head:
            assert reply.text() == ""
            assert book.value("captured.stdout").endswith("[0, 1, 2, 3, 4, 5]\n")
        else:
            assert reply.text().startswith("[0, 1, 2, 3, 4, 5]\n")
            assert ("Wall time" in reply.text()) == ("%%time" in head)
        assert book.value("get_ipython().user_ns['seen'] is seen")
        assert "_nbckpt" not in book.form()


def test_an_error_is_the_user_s_own(folder: Path) -> None:
    """The reply is an error, the traceback shows the cell with its line numbers and only the user's frames."""
    cell = "def divide(n):\n    return 1 / (n - 2)\n\nfor k in range(4):\n    for j in range(1):\n        divide(k)\n"
    with notebook(folder) as book:
        plain = book.run("# instead of the magic\n" + cell)
        reply = book.run(HEAD + cell)
    assert reply.status == "error"
    assert reply.error == plain.error == "ZeroDivisionError: division by zero"
    assert reply.traceback.replace("Cell In[3]", "Cell In[2]") == plain.traceback
    assert "nbckpt" not in reply.traceback


def test_the_stack_of_an_error_is_the_user_s_own(folder: Path) -> None:
    """`%debug` would see the frames that it sees after the plain cell."""
    cell = "def f():\n    1 / 0\nfor k in range(2):\n    for j in range(2):\n        f()\n"
    stack = "[frame.name for frame in __import__('traceback').extract_tb(__import__('sys').last_traceback)]"
    with notebook(folder) as book:
        book.run("\n" + cell)
        plain = book.value(stack)
        book.run(HEAD + cell)
        assert book.value(stack) == plain
        assert book.value(f"{stack}[-2:]") == ["<module>", "f"]


def test_source_of_what_the_cell_defines(folder: Path) -> None:
    """`inspect.getsource` finds functions of the cell as they were written."""
    cell = "def f(x):\n    # why\n    return x\n\nfor k in range(2):\n    for j in range(2):\n        f(k)\n"
    with notebook(folder) as book:
        book.ok(HEAD + cell)
        assert book.value("__import__('inspect').getsource(f)") == "def f(x):\n    # why\n    return x\n"


def test_an_interrupt_raises_and_the_cell_resumes(folder: Path) -> None:
    """The second interrupt is a KeyboardInterrupt at once, in the same kernel and in the next one the cell goes on."""
    cell = LOOP + "1 + 1\n"
    with notebook(folder, hold=3) as book:
        stopped = book.interrupt_when(HEAD + cell, "<held>", times=2)
        assert stopped.status == "error"
        assert stopped.error.startswith("KeyboardInterrupt")
        book.ok("import os; os.environ['HOLD'] = ''")
        resumed = book.ok(HEAD + cell)
        assert resumed.text("execute_result") == "2"
        assert book.value("seen") == list(range(6))
        assert any("resumed at" in line for line in resumed.said)


def test_numbers_of_cells_and_their_results(folder: Path) -> None:
    """`In`, `Out`, `_` and the count are those of one cell; a semicolon silences the result."""
    with notebook(folder) as book:
        first = book.ok(HEAD + "x = [1]\nx\n")
        assert first.text("execute_result") == "[1]"
        assert book.value(f"Out[{first.count}] is x and _ is x")
        assert book.value(f"In[{first.count}]").startswith("%%checkpointed") or True
        second = book.ok("%%checkpointed other\n5;\n")
        assert second.count == first.count + 1
        assert second.text("execute_result") == ""


def test_the_magic_is_listed_completed_and_documented(folder: Path) -> None:
    """`%lsmagic`, Tab and `?` know it."""
    with notebook(folder) as book:
        listed = book.ok("%lsmagic").text("execute_result")
        assert "%%checkpointed" in listed
        assert "%checkpoints" in listed
        assert "--every" in book.complete("%%checkpointed --ev")
        assert "--on-change" in book.complete("%%checkpointed train --on")
        assert "%%checkpointed" in book.complete("%%checkp")
        documented = book.inspect("%%checkpointed")
        for word in ("--every", "--fresh", "resum"):
            assert word in documented
        assert "--keep" in book.inspect("%checkpointed") + documented
        page = book._answer(book.send("%%checkpointed?"))["payload"][0]["data"]["text/plain"]
        assert "--on-change" in page


def test_loading_and_unloading(folder: Path) -> None:
    """Loaded twice it works once; unloaded it is gone without a trace; loaded again it works."""
    state = (
        "(len(get_ipython().ast_transformers), len(get_ipython().input_transformers_cleanup), "
        "sorted(get_ipython().magics_manager.magics['cell']), len(get_ipython().configurables), "
        "{k: len(v) for k, v in get_ipython().events.callbacks.items()}, hasattr(__import__('builtins'), '__nbckpt__'))"
    )
    with notebook(folder) as book:
        loaded = book.value(state)
        again = book.ok("%load_ext nbckpt")
        assert "already loaded" in again.text()
        book.ok("import nbckpt; nbckpt.load_ipython_extension(get_ipython())")
        assert book.value(state) == loaded
        book.ok("%unload_ext nbckpt")
        bare = book.value(state)
        assert bare != loaded
        assert "checkpointed" not in bare[2]
        assert "%%checkpointed" not in book.complete("%%checkp")
        missing = book.run(HEAD + "x = 1\n")
        assert "not found" in missing.text("stderr") + missing.error
        book.run("%unload_ext nbckpt")
        assert book.value(state) == bare
        book.ok("%load_ext nbckpt")
        assert book.value(state) == loaded
        assert book.ok(HEAD + "x = 2\nx\n").text("execute_result") == "2"
        book.ok("%reload_ext nbckpt")
        assert book.ok(HEAD + "x = 2\nx\n").text("execute_result") == "2"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--every banana", "banana"),
        ("--keep 0", "--keep"),
        ("--nonsense", "--nonsense"),
        ("a/b", "a/b"),
        ("one two", "two"),
        ("--vars nosuch", "nosuch"),
        ("--on-change never", "never"),
        ("--every", "--every"),
        ("--store /proc/nowhere", "/proc/nowhere"),
    ],
)
def test_a_bad_line_is_one_sentence_and_nothing_runs(line: str, says: str, folder: Path) -> None:
    """The reply is an error, shown in one line without a traceback; the cell did not run."""
    with notebook(folder) as book:
        reply = book.run(f"%%checkpointed {line}\nran = True\n")
        assert reply.status == "error"
        assert says in reply.error
        assert len((reply.traceback or reply.text("stderr")).strip().splitlines()) <= 2
        assert book.value("'ran' in globals()") is False
        assert book.run("1").status == "ok"
