"""The benchmark measures what it says, and finds out what was not restored."""

from __future__ import annotations

import doctest
import mmap
import os
import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import command, curves, large, page, peers, pictures, restoring, rounds, s3, targets, watch, workloads  # noqa: E402
from benchmarks.floors import measure as floors_of  # noqa: E402
from benchmarks.peers.pickles import Pickle  # noqa: E402

TINY = rounds.Plan(scale=0.0005, rounds=1, saves=2, limit=600)


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_an_iteration_changes_the_state_and_a_digest_tells(name: str, tmp_path: Path) -> None:
    """Each save finds something new, and what pickle brings back is known for the same."""
    workload = workloads.WORKLOADS[name]
    for module in workload.needs:
        pytest.importorskip(module)
    variables = workload.make(TINY.scale)
    code = compile(workload.body, name, "exec")
    peer = Pickle(workload, TINY.scale, tmp_path)
    digests = []
    for turn in range(3):
        variables["turn"] = turn
        exec(code, variables)
        peer.save(variables, turn)
        digests.append(workload.digest(variables))
        assert workload.digest(peer.restore(turn)) == digests[-1]
    assert len(set(digests)) == 3
    if workload.arrays is not None and workload.put is not None:
        again = workload.make(TINY.scale)
        workload.put(again, workload.arrays(variables))
        assert workload.digest(again) == digests[-1]


@pytest.mark.parametrize("peer", ["nbckpt", "pickle"])
def test_a_turn(peer: str, tmp_path: Path) -> None:
    """A session is killed, its saves are restored in another process, and every measure has a value."""
    row = rounds.Row()
    rounds.take_turn(peer, workloads.W4, TINY, tmp_path, row)
    assert row.problem == ""
    assert {what: len(row.values[what]) for what in rounds.MEASURES} == dict.fromkeys(rounds.MEASURES, 1) | {
        "restore": 2
    }
    assert (row.median("stall") or 0) > 0
    assert (row.median("durable") or 0) > 0
    assert (row.median("written") or 0) > 0


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system's cache cannot be emptied of a file")
def test_the_cache_is_filled_and_emptied(tmp_path: Path) -> None:
    """Which is looked at, page by page."""
    (tmp_path / "empty").touch()
    (tmp_path / "file").write_bytes(bytes(1_000_000))
    restoring.warm(tmp_path)
    assert sum(map(restoring.cached, restoring.files(tmp_path))) == -(-1_000_000 // mmap.PAGESIZE)
    assert restoring.forget(tmp_path)
    assert sum(map(restoring.cached, restoring.files(tmp_path))) == 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells how much memory there was")
def test_a_state_needs_no_room_for_a_second_one(tmp_path: Path) -> None:
    """Beside a state there is what may wait to be written while it is saved, and next to nothing on the way back."""
    size, staging = 700_000_000, 64_000_000
    found = large.measure(size, tmp_path, str(staging))
    assert found["saving beside it"] < staging + 0.2 * size
    assert found["restoring"] < 1.1 * size


def test_what_is_restored_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of a peer that brings back something else are not shown."""
    plain = rounds.run

    def damaging(module: str, *given: object, folder: Path, limit: float) -> tuple[int, str, str]:
        if module == "restoring":
            one, two = (tmp_path / "saved" / f"save-{number}" / "state.pickle" for number in (1, 2))
            two.write_bytes(one.read_bytes())
        return plain(module, *given, folder=folder, limit=limit)

    monkeypatch.setattr(rounds, "run", damaging)
    row = rounds.Row()
    rounds.take_turn("pickle", workloads.W5, TINY, tmp_path, row)
    assert row.problem == "restores something else than was saved"
    assert row.median("stall") is None


def test_a_peer_that_fails_says_why(tmp_path: Path) -> None:
    """The last words of its process are its problem."""
    row = rounds.Row()
    rounds.take_turn("pickle", workloads.W5, rounds.Plan(scale=1.0, saves=2, limit=0.01), tmp_path, row)
    assert row.problem == "took longer than 0.01 s" or row.problem.startswith("took longer than 0 s")


def test_a_missing_peer_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has its line in the table, without numbers."""
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "joblib" else find_spec(name))
    found = rounds.measure(workloads.W5, ["joblib"], TINY, tmp_path, lambda _: None)
    assert found["joblib"].problem == "joblib is not installed"
    shown = page.peers_table("W5", found)
    assert "| joblib | -" in re.sub(r" +", " ", shown)
    assert "joblib: joblib is not installed." in shown


@pytest.mark.usefixtures("no_last_result")
def test_examples() -> None:
    """What a docstring shows is what happens."""
    for module in (command, page):
        found = doctest.testmod(module)
        assert found.attempted
        assert found.failed == 0


def test_bytes_written(tmp_path: Path) -> None:
    """New files, files that were written over and what was added count; what was deleted does not."""
    for name in ("kept", "longer", "over", "gone"):
        (tmp_path / name).write_bytes(b"12345")
    before = watch.files(tmp_path)
    (tmp_path / "gone").unlink()
    (tmp_path / "new").write_bytes(b"123")
    (tmp_path / "longer").write_bytes(b"1234567")
    after = watch.files(tmp_path)
    after[str(tmp_path / "over")] = (5, 0)
    assert watch.grown(before, after) == 3 + 2 + 5


def test_goals_compare_with_the_floor_and_the_best(tmp_path: Path) -> None:
    """The floors have what the goals need, and the best peer is the one whose restore was right."""
    floors = rounds.Row({what: [value] for what, value in floors_of(workloads.W1, TINY.scale, tmp_path).items()})
    ours, quick, wrong = (rounds.Row({what: [value] for what in rounds.MEASURES}) for value in (0.2, 0.5, 0.1))
    wrong.problem = "restores something else than was saved"
    rows = {"nbckpt": ours, "pickle": quick, "dill": wrong, rounds.FLOORS: floors}
    stalls = [one for one in targets.goals("W1", rows) if one.what == "stall, W1"]
    assert [one.beside for one in stalls] == ["reading all and copying what changed", "pickle"]
    assert stalls[1].reached == pytest.approx(0.4)
    assert stalls[1].is_met


MADE_UP = {
    "about": {
        "command": "python -m benchmarks",
        "when": "2026-01-02",
        "machine": {"processors": "2 x m", "memory": "8 GiB", "system": "s", "python": "3"},
        "versions": {},
        "rounds": 1,
        "scale": 1.0,
        "saves": 2,
        "staging": 1000,
        "pages": True,
        "s3": 5,
    },
    "workloads": {
        "W1": {
            "nbckpt": rounds.Row({"stall": [0.03], "memory": [500], "restore": [3.0]}),
            "pickle": rounds.Row({"stall": [0.1], "restore": [4.0]}),
            "marimo": rounds.Row({"stall": [0.4], "restore": [2.0]}),
            rounds.FLOORS: rounds.Row({"scan": [0.02], "memcpy": [0.005]}),
        },
        "W4": {
            "nbckpt": rounds.Row({"first": [1.0], "stall": [0.1]}),
            rounds.FLOORS: rounds.Row({"scan": [0.02], "memcpy": [0.005], "pickle": [2.0]}),
        },
    },
    "s3": {
        "nbckpt": {"upload": 1.0, "download": 3.0},
        "one": {"upload": 2.0, "download": 2.0},
        "other": {"upload": 4.0, "download": 1.0},
    },
    "startup": {"%load_ext nbckpt": 21.0, "%load_ext of an empty extension": 0.5},
}


def test_the_readme_says_what_is_reached() -> None:
    """Between the comments stand the machine, the command, what is not met by name, and every target of the record."""
    expected = f"""\
above

{page.BEGIN}
Measured by `python -m benchmarks`: 2 x m, 8 GiB, s, Python 3. 2026-01-02. The states at full size.

Ratios to the floor or to the peer named, unless a unit is given. They are set for states of full size.
7 of 11 are met; not: restore (W1), ms of stall (W1), S3 download, ms (%load_ext).

<details>
<summary>All of them</summary>

| what                        | beside                               | reached | wanted, at most | met    |
| --------------------------- | ------------------------------------ | ------- | --------------- | ------ |
| stall, W1                   | reading all and copying what changed | 1.20    | 1.30            | yes    |
| stall, W1                   | pickle                               | 0.30    | 0.50            | yes    |
| restore, W1                 | pickle                               | 0.75    | 1.00            | yes    |
| restore, W1                 | marimo                               | 1.50    | 1.00            | **no** |
| ms of stall, W1             | where the kernel tells written pages | 30.00   | 20.00           | **no** |
| memory, W1                  | what may wait to be written          | 0.50    | 1.00            | yes    |
| stall, W4                   | pickling all                         | 0.05    | 0.10            | yes    |
| stall of the first save, W4 | pickling all                         | 0.50    | 1.10            | yes    |
| S3 upload                   | one                                  | 0.50    | 1.11            | yes    |
| S3 download                 | other                                | 3.00    | 1.11            | **no** |
| ms, %load_ext               | an empty extension                   | 20.50   | 20.00           | **no** |

</details>
{page.END}

below
"""
    text = page.readme(MADE_UP, f"above\n\n{page.BEGIN}\nold\n{page.END}\n\nbelow\n")
    assert text == expected
    assert page.readme(MADE_UP, text) == text
    with pytest.raises(ValueError, match="has no <!-- targets -->"):
        page.readme(MADE_UP, "above")


def test_writing_the_page_writes_the_readme(tmp_path: Path) -> None:
    """The README above the page's folder has the targets of the same record, if it has a place for them."""
    (tmp_path / "docs").mkdir()
    readme = tmp_path / "README.md"
    command.write(MADE_UP, tmp_path / "docs" / "speed.md")
    assert not readme.exists()
    for before, has_place in ((f"{page.BEGIN}\n{page.END}\n", True), ("nothing\n", False)):
        readme.write_text(before)
        command.write(MADE_UP, tmp_path / "docs" / "speed.md")
        assert (readme.read_text() != before) == has_place
    table = page.goals_table(targets.reached(MADE_UP))
    assert table in (tmp_path / "docs" / "speed.md").read_text()


def test_the_readme_has_the_targets_of_the_page() -> None:
    """Both are of one record: they name one command, one day and machine, and hold the same targets."""
    readme, speed = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/speed.md"))
    section = readme.partition(page.BEGIN)[2].partition(page.END)[0]
    table = section[section.index("| what ") : section.index("\n</details>")]
    assert table.count("\n") > 10
    assert table in speed
    (given,) = re.findall(r"^Measured by `(python -m benchmarks [^`]+)`: ", section, re.MULTILINE)
    assert f"This page is written by `{given}`." in speed
    assert command.parser().parse_args(shlex.split(given)[3:]).write == Path("docs/speed.md")
    machine, when, _ = section.partition("`: ")[2].splitlines()[0].rsplit(". ", 2)
    assert f"\n{machine}. {when}.\n" in speed


def test_a_state_goes_to_s3_and_back(tmp_path: Path) -> None:
    """Each way is timed for nbckpt and for boto3 alone."""
    pytest.importorskip("moto.server")
    times = s3.measure(tmp_path, 1 << 20, 2, 600)
    assert len(times) == 2
    for values in times.values():
        assert values.keys() == {"upload", "download"}


def test_the_page_shows_every_measure(tmp_path: Path) -> None:
    """What was kept as JSON is enough for the page and the pictures."""
    pytest.importorskip("matplotlib")
    row = rounds.Row({what: [0.5, 1.5] for what in (*rounds.MEASURES, "first")})
    curve = [{"at": 1, "stall": 0.1, "durable": 0.2, "restore": 0.3}, {"at": 10, "stall": 1.0}]
    about = {
        "command": "c",
        "when": "w",
        "machine": dict.fromkeys(("processors", "memory", "system", "python"), "m"),
        "versions": {},
        "rounds": 1,
        "scale": 0.5,
        "saves": 2,
    }
    results = {
        "about": about,
        "workloads": {"W5": {"nbckpt": row, rounds.FLOORS: rounds.Row()}},
        "curves": {"size": curve[:1]},
    }
    (tmp_path / "kept.json").write_text(command.kept(results))
    again = command.read(tmp_path / "kept.json")
    text = page.page(again)
    assert "| **nbckpt** | 1.00 s (500.0 ms to 1.50 s) |" in re.sub(r" +", " ", text)
    for drawn in pictures.draw(again, tmp_path):
        assert drawn.read_bytes().startswith(b"\x89PNG")
        assert drawn.stat().st_size < 100_000


def test_many_variables_and_chunks_are_saved(tmp_path: Path) -> None:
    """The states of the curves come back, too."""
    for number, make in enumerate((workloads.many_variables, workloads.many_chunks)):
        row = rounds.Row()
        place = tmp_path / str(number)
        place.mkdir()
        rounds.take_turn("nbckpt", make(20), TINY, place, row)
        assert row.problem == ""


@pytest.mark.parametrize("which", ["snapshots", "history", "loop"])
def test_curves_in_one_process(which: str, tmp_path: Path) -> None:
    """Each gives its points in ascending order."""
    if which == "snapshots":
        assert [point["at"] for point in curves.snapshots(tmp_path, 600, most=10)] == [1, 10]
    elif which == "history":
        pytest.importorskip("moto.server")
        assert [point["at"] for point in curves.history(tmp_path, 600, most=10)] == [1, 10]
    else:
        assert [point["at"] for point in curves.loop(tmp_path, 600, most=10_000)] == [1_000, 10_000]


def test_the_page_that_ships_is_this_command_s() -> None:
    """It names the command, and its pictures are there and small."""
    text = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert "This page is written by `python -m benchmarks" in text
    pictures_there = re.findall(r"\]\((images/[^)]+)\)", text)
    assert pictures_there
    for picture in pictures_there:
        assert 0 < (ROOT / "docs" / picture).stat().st_size < 100_000
