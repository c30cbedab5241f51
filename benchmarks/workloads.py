"""What is saved in the benchmark: six states, how an iteration changes each, and how to tell that one came back.

An iteration's code is text, because a cell runs it as its own and a peer's loop as the same text, compiled. A save
comes after every third iteration (`watch.CYCLE`), so an iteration grows what grows by a third of what a save should
find new.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import xxhash

from .watch import CYCLE

Variables = dict[str, Any]
Arrays = dict[str, Any]
"""Arrays or tensors by name: what the peers take that save nothing else."""


@dataclass(frozen=True)
class Workload:
    """One state. `scale` shrinks it: 1.0 is the size that the title says."""

    name: str
    title: str
    body: str
    """The code of an iteration, over the variables and `turn`."""
    make: Callable[[float], Variables]
    digest: Callable[[Variables], str]
    """What tells two states apart."""
    changed: Callable[[Variables], list[Any]]
    """The bytes that are new since the save before: buffers, or the pickle of what was added."""
    whole: Callable[[Variables], list[Any]]
    """All bytes of the state, as buffers where it has any."""
    arrays: Callable[[Variables], Arrays] | None = None
    put: Callable[[Variables, Arrays], None] | None = None
    """Puts arrays back into a state that was just made."""
    needs: tuple[str, ...] = ("numpy",)

    @property
    def is_buffers(self) -> bool:
        """Whether it is big arrays, and not many small objects."""
        return self.name in ("W1", "W2", "W2f")


def digest(pieces: Iterable[Any]) -> str:
    """What tells some buffers, one after another, from others."""
    state = xxhash.xxh3_128()
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()


def canonical(value: Any) -> bytes:
    """Plain objects as bytes that do not depend on which of them are one object."""
    out = io.BytesIO()
    pickler = pickle.Pickler(out, 5)
    pickler.fast = True
    pickler.dump(value)
    return out.getvalue()


def _described(name: str, array: np.ndarray) -> list[Any]:
    return [f"{name} {array.dtype} {array.shape}".encode(), np.ascontiguousarray(array).reshape(-1).view(np.uint8)]


# -- W1 ------------------------------------------------------------------------------------------------------


def _make_arrays(scale: float) -> Variables:
    length = max(8, int(scale * (1 << 25)))
    rng = np.random.default_rng(1)
    return {"arrays": [rng.random(length, dtype=np.float32) for _ in range(8)]}


def _digest_arrays(variables: Variables) -> str:
    return digest(piece for at, one in enumerate(variables["arrays"]) for piece in _described(str(at), one))


def _put_arrays(variables: Variables, arrays: Arrays) -> None:
    variables["arrays"] = [np.asarray(arrays[f"array{at}"]) for at in range(8)]


W1 = Workload(
    "W1",
    "1 GiB of float32 in 8 arrays, one of which (128 MiB) changes between saves",
    "arrays[0] += arrays[1 + turn % 7]",
    _make_arrays,
    _digest_arrays,
    changed=lambda variables: [variables["arrays"][0]],
    whole=lambda variables: variables["arrays"],
    arrays=lambda variables: {f"array{at}": one for at, one in enumerate(variables["arrays"])},
    put=_put_arrays,
)


# -- W2, W2f -------------------------------------------------------------------------------------------------

_STEP = """\
loss = model(batch).square().mean()
loss.backward()
optimizer.step()
optimizer.zero_grad()"""


def _make_model(scale: float, *, trained: int) -> Variables:
    """Twenty layers of 2000 by 2000, of which the last `trained` ones are, with Adam."""
    import torch

    torch.manual_seed(1)
    width = max(8, int(2000 * scale**0.5))
    model = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(20)))
    for layer in list(model)[: 20 - trained]:
        layer.requires_grad_(requires_grad=False)
    optimizer = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], lr=1e-4)
    return {"model": model, "optimizer": optimizer, "batch": torch.randn(8, width)}


def _tensors(variables: Variables) -> Arrays:
    model, optimizer = variables["model"], variables["optimizer"]
    found = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for at, state in optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{at}.{name}": tensor for name, tensor in state.items()}
    return found


def _put_tensors(variables: Variables, arrays: Arrays) -> None:
    import torch

    own = {name: np.asarray(one).copy() if np.ndim(one) == 0 else one for name, one in arrays.items()}
    tensors = {name: torch.as_tensor(one) for name, one in own.items()}
    model, optimizer = variables["model"], variables["optimizer"]
    own = {name.removeprefix("model."): one for name, one in tensors.items() if name.startswith("model.")}
    model.load_state_dict(own, assign=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(requires_grad=own[name].requires_grad)
    trained = list(variables["model"].parameters())[-len(optimizer.param_groups[0]["params"]) :]
    optimizer.param_groups[0]["params"] = [parameter.requires_grad_() for parameter in trained]
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, at, field = name.split(".")
            state.setdefault(int(at), {})[field] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _numpy(tensor: Any) -> np.ndarray:
    found: np.ndarray = tensor.detach().numpy()
    return found


def _digest_model(variables: Variables) -> str:
    """The tensors, which of them are trained, and that the optimizer works on the model's own."""
    model, optimizer = variables["model"], variables["optimizer"]
    own = {id(parameter): name for name, parameter in model.named_parameters()}
    worked_on = [own.get(id(parameter), "?") for group in optimizer.param_groups for parameter in group["params"]]
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    pieces = [piece for name, one in sorted(_tensors(variables).items()) for piece in _described(name, _numpy(one))]
    return digest([repr((worked_on, trained)).encode(), *pieces])


def _trained(variables: Variables) -> list[Any]:
    optimizer = variables["optimizer"]
    own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return [_numpy(one) for one in own] + [
        _numpy(one) for state in optimizer.state_dict()["state"].values() for one in state.values() if one.ndim
    ]


def _model_workload(name: str, title: str, trained: int) -> Workload:
    return Workload(
        name,
        title,
        _STEP,
        lambda scale: _make_model(scale, trained=trained),
        _digest_model,
        changed=_trained,
        whole=lambda variables: [_numpy(one) for one in _tensors(variables).values() if one.ndim],
        arrays=_tensors,
        put=_put_tensors,
        needs=("numpy", "torch"),
    )


W2 = _model_workload("W2", "a PyTorch model with Adam, 0.96 GB, all of which changes", 20)
W2F = _model_workload("W2f", "the same model with 95 % of it frozen, 0.35 GB, of which 48 MB change", 1)


# -- W3 ------------------------------------------------------------------------------------------------------

# without a `for` of its own, whose iterations a cell would count
_RESULTS = """\
results.update(
    (trial, {"rate": trial / len(frame), "scores": [trial * 0.5, forest.n_outputs_ / 4], "kind": f"trial {trial}"})
    for trial in range(len(results), len(results) + trials)
)"""


def _make_notebook(scale: float) -> Variables:
    import pandas as pd
    from sklearn.ensemble import RandomForestClassifier

    rows = max(100, int(1_000_000 * scale))
    rng = np.random.default_rng(3)
    columns: dict[str, Any] = {f"x{at}": rng.random(rows) for at in range(36)}
    for at in range(3):
        columns[f"label{at}"] = pd.Series([f"{at}-{number}" for number in range(rows)], dtype=object)
    frame = pd.DataFrame(columns)
    sample = frame.iloc[: min(rows, 2000)]
    forest = RandomForestClassifier(max(5, int(100 * scale)), random_state=3, n_jobs=1)
    forest.fit(sample[[f"x{at}" for at in range(8)]].to_numpy(), sample["x8"].to_numpy() > 0.5)
    variables: Variables = {"frame": frame, "forest": forest, "results": {}, "trials": max(1, int(1000 * scale))}
    return variables


def _digest_notebook(variables: Variables) -> str:
    import pandas as pd

    frame, forest = variables["frame"], variables["forest"]
    rows = pd.util.hash_pandas_object(frame).to_numpy()
    trees = [piece for one in forest.estimators_ for piece in (one.tree_.feature, one.tree_.threshold, one.tree_.value)]
    plain = canonical((variables["results"], variables["trials"], list(frame.columns), [str(t) for t in frame.dtypes]))
    return digest([rows, *map(np.ascontiguousarray, trees), plain])


def _newest(table: dict[Any, Any], count: int) -> dict[Any, Any]:
    return dict(islice(reversed(table.items()), count))


def _pickled(*values: Any) -> list[Any]:
    """The bytes of objects: their buffers, and the rest as a pickle."""
    buffers: list[Any] = []
    stream = pickle.dumps(values, 5, buffer_callback=lambda one: buffers.append(one.raw()))
    return [stream, *buffers]


W3 = Workload(
    "W3",
    "a notebook: a DataFrame of 500 MB and a random forest, which stay, and a dict of results that grows",
    _RESULTS,
    _make_notebook,
    _digest_notebook,
    changed=lambda variables: _pickled(_newest(variables["results"], CYCLE * variables["trials"])),
    whole=lambda variables: _pickled(variables["frame"], variables["forest"], variables["results"]),
    needs=("numpy", "pandas", "sklearn"),
)


# -- W4 ------------------------------------------------------------------------------------------------------

_ITEMS = """\
table.update(
    (f"item {number}", {"number": number, "score": number * 0.5})
    for number in range(len(table), len(table) + growth)
)"""


def _make_table(scale: float) -> Variables:
    count = max(300, int(1_000_000 * scale))
    table = {f"item {number}": {"number": number, "score": number * 0.5} for number in range(count)}
    return {"table": table, "growth": max(1, count // (100 * CYCLE))}


W4 = Workload(
    "W4",
    "a dict of 1,000,000 small dicts, 1 % more at each save",
    _ITEMS,
    _make_table,
    lambda variables: digest([canonical((variables["table"], variables["growth"]))]),
    changed=lambda variables: _pickled(_newest(variables["table"], CYCLE * variables["growth"])),
    whole=lambda variables: _pickled(variables["table"]),
)


# -- W5 ------------------------------------------------------------------------------------------------------

_SMALL = [f"x{at}" for at in range(10)]


def _put_small(variables: Variables, arrays: Arrays) -> None:
    variables.update({name: float(arrays[name]) for name in _SMALL}, counter=int(arrays["counter"]))


W5 = Workload(
    "W5",
    "ten floats and a counter",
    "\n".join(["counter += 1", *(f"{name} += counter * {at}.5" for at, name in enumerate(_SMALL))]),
    lambda _: {**{name: float(at) for at, name in enumerate(_SMALL)}, "counter": 0},
    lambda variables: digest([repr([variables[name] for name in (*_SMALL, "counter")]).encode()]),
    changed=lambda variables: _pickled([variables[name] for name in (*_SMALL, "counter")]),
    whole=lambda variables: _pickled([variables[name] for name in (*_SMALL, "counter")]),
    arrays=lambda variables: {name: np.array(variables[name]) for name in (*_SMALL, "counter")},
    put=_put_small,
)

WORKLOADS = {workload.name: workload for workload in (W1, W2, W2F, W3, W4, W5)}


# -- for the curves ------------------------------------------------------------------------------------------


def many_variables(count: int) -> Workload:
    """So many variables, each with a list of its own, of which one grows."""
    names = [f"x{at}" for at in range(count)]
    return Workload(
        f"variables-{count}",
        f"{count} variables",
        f"x0.append(turn)\n({', '.join(names)},)",  # a cell saves what it mentions
        lambda _: {name: [at, at / 2, name] for at, name in enumerate(names)},
        lambda variables: digest([canonical([variables[name] for name in names])]),
        changed=lambda variables: _pickled(variables["x0"]),
        whole=lambda variables: _pickled([variables[name] for name in names]),
    )


def many_chunks(count: int) -> Workload:
    """So many arrays of 4 KiB, of which one changes: each is a chunk of its own."""
    return Workload(
        f"chunks-{count}",
        f"{count} chunks",
        f"arrays[turn % {count}] += 1",
        lambda _: {"arrays": [np.full(1024, at, np.float32) for at in range(count)]},
        lambda variables: digest(piece for one in variables["arrays"] for piece in _described("", one)),
        changed=lambda variables: [variables["arrays"][0]],
        whole=lambda variables: variables["arrays"],
    )


def workload_of(name: str) -> Workload:
    """The workload of that name: one of the table's, or `variables-1000` and `chunks-1000`."""
    kind, _, count = name.partition("-")
    if count:
        return {"variables": many_variables, "chunks": many_chunks}[kind](int(count))
    return WORKLOADS[name]
