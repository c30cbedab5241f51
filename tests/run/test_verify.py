"""`--verify`: what a new process makes of a snapshot is known before the cell computes for hours."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nbckpt import VerificationError
from nbckpt.storage.repository import Repository
from programs.harness import Lab, kernel

GOOD = """
import collections, datetime, decimal, enum, functools, math, pathlib, random, re, types
import numpy as np, pandas as pd
class Colour(enum.Enum):
    RED = 1
class Colours(enum.Flag):
    A = 1
    B = 2
class Node:
    def __init__(self, value):
        self.value, self.next = value, None
class Slotted:
    __slots__ = ("a", "b")
class Words(list):
    pass
class Locked:
    def __init__(self):
        import threading
        self.lock, self.n = threading.Lock(), 1
    def __getstate__(self):
        return {"n": self.n}
    def __setstate__(self, state):
        self.__dict__.update(state)
        import threading
        self.lock = threading.Lock()
def counter():
    n = 0
    def up():
        nonlocal n
        n += 1
        return n
    return up
class Base(Node):
    def __init__(self):
        super().__init__(3)
def local():
    class Inner(Node):
        def __init__(self):
            super().__init__(4)
    return Inner()
"""
CELL = """
chain = None
for k in range(3000):
    node = Node(k)
    node.next, chain = chain, node
slotted = Slotted(); slotted.a = [chain, math.nan, -0.0]
words = Words("ab"); words.extra = words
table = pd.DataFrame({"x": np.arange(4.0), "s": list("abcd"), "o": [1, "x", None, (2,)]})
column, array = table["x"], np.arange(12.0).reshape(3, 4)
view, other, objects = array[1], array.T, np.array([[], [1]], dtype=object)
records = np.zeros(2, dtype=[("a", "i1"), ("b", "f8")])
names = {f"name{i}" for i in range(50)}
nodes = {chain, Node(1), Node(2)}
things = [Colour.RED, Colours.A | Colours.B, Locked(), counter(), functools.partial(max, 1), Base(), local(),
          collections.deque([1, 2], 5), collections.OrderedDict(a=1), collections.Counter("abca"), re.compile("a+"),
          datetime.datetime(2020, 1, 1), decimal.Decimal("1.5"), pathlib.Path("x"), types.SimpleNamespace(a=1),
          collections.defaultdict(list, a=[1]), iter([1, 2]), map(str, [1, 2]), range(3), complex(1, math.nan),
          bytearray(b"x"), frozenset("abc"), Node.__init__, chain.__init__, lambda x: x + k, ValueError("x", 1),
          np.random.default_rng(3), random.Random(3), np.float32(1.5), np.datetime64("2020-01-01"), array.dtype,
          Node, int, len, math, iter({1: 2}.items()), np.random.RandomState(4), pd.Timestamp("2020"), table.iloc[:2]]
things[3](), next(things[16])
total, keys = 0, []
for name, value in {"a": 1, "b": 2, "c": 3}.items():
    total += value
    keys.append(name)
    random.random()
total
"""


def test_what_comes_back_as_it_was_is_verified(lab: Lab) -> None:
    """Objects of all kinds, shared and in circles; the status says so, and the run is what it is without."""
    store = lab.folder()
    with kernel(1) as new:
        assert new.run(GOOD).success
        done = new.run(f"%%checkpointed prog --store {store} --verify\n{CELL}")
        assert done.success, new.shell.tracebacks
        assert done.result == 6
        assert new.status.verified
        assert new.status.snapshots == 3, "one at the start, one in the loop, one at the end"
        assert new.notices == ""


BAD = {
    "a __setstate__ that raises": (
        (
            "class Model:\n    x = 1\n    def __getstate__(self): return {1: 2}\n"
            "    def __setstate__(self, state): raise ValueError('no way')\n"
        ),
        "ValueError: no way",
    ),
    "a __setstate__ that forgets": (
        (
            "class Model:\n    def __init__(self): self.x, self.y = 1, 2\n"
            "    def __setstate__(self, state): self.x = state['x']\n"
        ),
        "model.inner was Model with x, y and came back as Model with x",
    ),
    "a __getstate__ that returns nothing": (
        "class Model:\n    def __init__(self): self.x = 1\n    def __getstate__(self): return None\n",
        "model.inner was Model with x and came back as Model",
    ),
    "a __setstate__ that changes": (
        (
            "class Model:\n    def __init__(self): self.x = 1.0\n"
            "    def __setstate__(self, state): self.x = state['x'] + 1e-16 + 1e-15\n"
        ),
        "model.inner.x was float 0x1.0",
    ),
    "a __reduce__ that makes anew": (
        (
            "class Model:\n    def __init__(self): self.x = []\n    def __reduce__(self): return Model, ()\n"
            "    def grow(self):\n        self.x.append(1)\n        return self\n"
        ),
        "model.inner.x was list of 1 and came back as list of 0",
    ),
    "a copy where there was one object": (
        (
            "class Model:\n    def __init__(self): self.x = []; self.y = self.x\n"
            "    def __setstate__(self, state): self.x, self.y = state['x'], list(state['y'])\n"
        ),
        "model.inner.y was what was met as number",
    ),
    "a class that loads in its own kernel only": (
        (
            "import sys, types\nmodule = types.ModuleType('made_here')\nexec('class Model: pass', vars(module))\n"
            "sys.modules['made_here'] = module\nModel = module.Model\n"
        ),
        "made_here",
    ),
}


@pytest.mark.parametrize("about", BAD)
def test_what_comes_back_otherwise_stops_the_cell_first(lab: Lab, about: str) -> None:
    """The error names the path to it; no statement was run; the snapshot stays."""
    source, says = BAD[about]
    before = (
        f"{source}import types\nmodel = types.SimpleNamespace(inner=Model())\n"
        "if hasattr(Model, 'grow'): model.inner.grow()\n"
    )
    cell = "import ledger\nledger.note('ran')\nfor k in range(3):\n    model.k = k\n"
    store = lab.folder()
    done, new = lab.again(store, cell, "--verify", before=(before,))
    assert done.error.startswith("VerificationError")
    assert says in done.error
    assert "Nothing more was run" in done.error
    assert "--exclude" in done.error
    assert done.notes == ()
    assert not new.status.verified
    assert len(Repository.open(str(store)).history("prog")) == 1


def test_what_the_cell_makes_is_verified_in_its_first_loop(lab: Lab) -> None:
    """One iteration is run, then the state inside the loop is loaded back, too."""
    source = BAD["a __setstate__ that forgets"][0]
    cell = f"{source}model = [Model()]\nseen = []\nfor k in range(5):\n    seen.append(k)\n"
    done, _ = lab.again(lab.folder(), cell, "--verify")
    assert "model[0] was Model with x, y and came back as Model with x" in done.error
    assert done.names["seen"] == [0]
    done, _ = lab.again(lab.folder(), cell)
    assert done.names["seen"] == [0, 1, 2, 3, 4]


def test_what_cannot_be_saved_inside_the_loop_stops_a_cell_that_asked(lab: Lab) -> None:
    """Without `--verify` it goes on unprotected."""
    cell = "gen, seen = (x for x in range(9)), []\nfor k in range(5):\n    seen.append(next(gen))\n"
    done, _ = lab.again(lab.folder(), cell, "--verify")
    assert done.error.startswith("VerificationError")
    assert "gen cannot be saved" in done.error
    assert done.names["seen"] == [0]


def test_what_a_class_leaves_out_on_purpose_is_told(lab: Lab) -> None:
    """An attribute that `__getstate__` drops and nobody makes again is a notice, not an error."""
    before = (
        "class Model:\n    def __init__(self): self.x, self.cache = 1, {}\n"
        "    def __getstate__(self): return {'x': self.x}\nmodel = Model()\n"
    )
    done, new = lab.again(lab.folder(), "for k in range(3):\n    model.x += k\n", "--verify", before=(before,))
    assert not done.error
    assert new.status.verified
    assert "model.cache: left out by the __getstate__ of its class" in new.notices


def test_registered_classes_are_registered_in_the_new_process_too(lab: Lab) -> None:
    """`nbckpt.register` in the notebook is part of what a resumed kernel has."""
    before = (
        "import nbckpt\nclass Handle:\n    def __init__(self, n):\n        self.n, self.gen = n, (x for x in ())\n"
        "nbckpt.register(Handle, save=lambda h: h.n, load=lambda n: Handle(n))\nh = Handle(3)\n"
    )
    done, new = lab.again(lab.folder(), "for k in range(3):\n    h.n += k\n", "--verify", before=(before,))
    assert not done.error, new.shell.tracebacks
    assert new.status.verified


def test_a_resumed_run_is_verified_where_it_goes_on(lab: Lab) -> None:
    """Once: its first snapshot stands in the loop already."""
    cell = "seen = []\nfor k in range(5):\n    seen.append(k)\n"
    left = lab.killed(cell, "len(seen) == 2")
    done, new = lab.again(left, cell, "--verify")
    assert done.names["seen"] == [0, 1, 2, 3, 4]
    assert new.status.verified
    assert new.status.snapshots == 2


def test_a_module_on_the_path_of_this_kernel_only_is_found(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new process looks for modules where this one does."""
    place = Path("elsewhere").absolute()
    place.mkdir()
    (place / "mine_only.py").write_text("class Model:\n    def __init__(self): self.x = [1]\n")
    monkeypatch.setattr(sys, "path", [str(place), *sys.path])
    before = "import mine_only\nmodel = mine_only.Model()\n"
    done, new = lab.again(lab.folder(), "for k in range(3):\n    model.x.append(k)\n", "--verify", before=(before,))
    sys.modules.pop("mine_only", None)
    assert not done.error
    assert new.status.verified


def test_in_a_script(workplace: Path) -> None:
    """`verify=True` looks at the first snapshot there is, at the end of the first iteration."""
    import nbckpt

    with nbckpt.checkpointed("good", verify=True, quiet=True) as ckpt:
        ckpt.state.total = 0
        for x in ckpt.loop(range(3)):
            ckpt.state.total += x
    assert ckpt.state.total == 3

    def loop() -> None:
        with nbckpt.checkpointed("bad", verify=True) as ckpt:
            ckpt.state.gen = (x for x in ())
            list(ckpt.loop(range(3)))

    with pytest.raises(VerificationError, match="cannot be saved"):
        loop()


def test_the_environment_can_ask_for_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `NBCKPT_VERIFY=1`."""
    monkeypatch.setenv("NBCKPT_VERIFY", "1")
    _, new = lab.again(lab.folder(), "for k in range(3):\n    pass\n")
    assert new.status.verified
