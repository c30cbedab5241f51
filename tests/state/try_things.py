"""Run by itself: makes each of the things and saves it, or loads it in another process, and asks it the same."""

from __future__ import annotations

import json
import os
import pickle
import sys
import types
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from nbckpt.errors import NbckptError
from nbckpt.state import definitions, namespace, pickling
from nbckpt.state.culprit import culprit
from nbckpt.state.home import Home, load as load_graphs
from state.things import CASES

Answers = dict[str, dict[str, str]]


def new_notebook() -> dict[str, Any]:
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    return vars(main)


def ask(names: dict[str, Any], question: str) -> str:
    try:
        return repr(eval(question, names))  # noqa: S307 - the test's own words
    except Exception as error:  # noqa: BLE001 - an answer like any other
        return f"{type(error).__name__}: {error}"


def save(place: Path) -> Answers:
    answers: Answers = {}
    kept = []
    for name, (source, question) in CASES.items():
        names = new_notebook()
        exec(source, names)
        kept.append(names)
        if found := culprit(names["thing"], "thing"):
            answers[name] = {"refused": found[1]}
            continue
        known = namespace.sort_names([it for it in names if not it.startswith("__")], names).definitions
        used = {**known, **pickling.probe(names["thing"]).definitions}
        state = {it: own for it, code in used.items() if (own := definitions.split_state(code, {})[0])}
        pickled = pickling.dump({"thing": names["thing"], "state": state})
        code, uncopied = pickling.pickle_definitions({**used, **pickled.definitions})
        saved = bytes(pickled.stream), [bytes(buffer) for buffer in pickled.buffers], code
        (place / f"{len(kept)}.pickle").write_bytes(pickle.dumps(saved))
        answers[name] = {"was": ask(names, question), "uncopied": " ".join(uncopied.values())}
    return answers


def load(place: Path) -> Answers:
    answers: Answers = {}
    for number, (name, (source, question)) in enumerate(CASES.items(), 1):
        if not (path := place / f"{number}.pickle").exists():
            continue
        stream, buffers, code = pickle.loads(path.read_bytes())
        names = new_notebook()
        exec("\n".join(line for line in source.split("\n") if line.startswith(("import", "from"))), names)
        home = Home(names, code)
        try:
            (root,) = load_graphs(stream, buffers, home)
            for it, own in root["state"].items():
                definitions.put_state(home.definition(it), own)
        except NbckptError as error:
            answers[name] = {"now": str(error)}
            continue
        names.update({it: home.definition(it) for it in code} | {"thing": root["thing"]})
        answers[name] = {"now": ask(names, question)}
    return answers


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    what, folder = sys.argv[1:]
    done = (save if what == "save" else load)(Path(folder))
    (Path(folder) / f"{what}.json").write_text(json.dumps(done))
    sys.stdout.flush()
    os._exit(0)  # without waiting for threads, processes and finalizers of what was made
