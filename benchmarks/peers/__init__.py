"""What can be used to save a state, each with the way in which its users would: one file a library.

Their order is that of the tables.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from ..workloads import Workload
from .peer import Peer

OURS = "nbckpt"
FORKED = "nbckpt --capture fork"

_HOMES = {
    OURS: "ours.Nbckpt",
    FORKED: "ours.Forked",
    "pickle": "pickles.Pickle",
    "joblib": "pickles.Joblib",
    "dill": "pickles.Dill",
    "torch.save": "pytorch.TorchSave",
    "safetensors": "pytorch.Safetensors",
    "DCP": "pytorch.Distributed",
    "DCP async": "pytorch.DistributedAsync",
    "Orbax": "orbax.Orbax",
    "Orbax async": "orbax.OrbaxAsync",
    "Kishu": "kishu.Kishu",
    "marimo": "marimo.Marimo",
}
PEERS = list(_HOMES)


def find(name: str) -> type[Peer]:
    """The peer of that name."""
    module, _, kind = _HOMES[name].partition(".")
    found: type[Peer] = getattr(import_module(f"{__name__}.{module}"), kind)
    return found


def missing(name: str, workload: Workload) -> str:
    """What a peer lacks here for that state, or nothing."""
    packages = {module.partition(".")[0] for module in (*find(name).imports, *workload.needs)}
    lacking = sorted(package for package in packages if find_spec(package) is None)
    return f"{', '.join(lacking)} is not installed" if lacking else ""
