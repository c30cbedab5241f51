"""Objects to bytes and back: what is one stays one, and what the notebook defined is what it defines."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbckpt.errors import RestoreError, UnpicklableError
from nbckpt.state import fingerprints, pickling
from nbckpt.state.culprit import culprit
from nbckpt.state.home import Home, load

SOURCE = """
factor = 3
class Model:
    def __init__(self, weight): self.weight = weight
    def value(self): return self.weight * factor
class Outer:
    class Inner: pass
def counter():
    count = 0
    def up():
        nonlocal count
        count += 1
        return count
    def now(): return count
    def factorial(n): return 1 if n < 2 else n * factorial(n - 1)
    return up, now, factorial
scaled = lambda x: x * factor
"""


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The namespace of a notebook in which SOURCE was run."""
    return new_notebook(monkeypatch, SOURCE)  # type: ignore[return-value]


def new_notebook(monkeypatch: pytest.MonkeyPatch, source: str) -> dict[str, Any]:
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    exec(source, vars(module))
    return vars(module)


def there_and_back(root: Any, namespace: dict[str, Any], saved: dict[str, bytes] | None = None) -> Any:
    pickled = pickling.dump(root)
    buffers = [bytearray(buffer) for buffer in pickled.buffers]
    return load(bytes(pickled.stream), buffers, Home(namespace, saved or {}))[0]


def test_closures_share_their_variables(notebook: dict[str, Any]) -> None:
    """Two functions over one variable still are, and one that calls itself still can."""
    up, now, factorial = notebook["counter"]()
    up()
    up, now, factorial = there_and_back((up, now, factorial), notebook)
    assert (up(), now(), factorial(5)) == (2, 2, 120)


def test_functions_use_the_live_namespace(notebook: dict[str, Any]) -> None:
    """A restored function's globals are the namespace, not a copy."""
    scaled = there_and_back(notebook["scaled"], notebook)
    notebook["factor"] = 10
    assert scaled(2) == 20
    assert scaled.__globals__ is notebook


def test_objects_belong_to_the_live_class(notebook: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a new kernel that ran the class's cell, restored objects are its instances, with edited methods."""
    pickled = pickling.dump([notebook["Model"](5), notebook["Outer"].Inner()])
    edited = new_notebook(monkeypatch, SOURCE.replace("self.weight * factor", "-self.weight"))
    ((model, inner),) = load(bytes(pickled.stream), [], Home(edited))
    assert type(model) is edited["Model"]
    assert type(inner) is edited["Outer"].Inner
    assert model.value() == -5


def test_definitions_come_along(notebook: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a new kernel where no cell was run, the saved class is used, once for all its objects."""
    pickled = pickling.dump([notebook["Model"](5), notebook["Model"](6), notebook["Outer"].Inner()])
    assert pickled.definitions.keys() == {"Model", "Outer"}
    saved, failed = pickling.pickle_definitions(pickled.definitions)
    assert not failed
    empty = new_notebook(monkeypatch, "factor = 4")
    with pytest.raises(RestoreError, match="needs 'Model'"):
        load(bytes(pickled.stream), [], Home(empty))
    ((one, two, _),) = load(bytes(pickled.stream), [], Home(empty, saved))
    assert type(one) is type(two)
    assert (one.value(), two.value()) == (20, 24)


def test_views_stay_views() -> None:
    """Arrays over one memory still are, however they look at it."""
    base = np.arange(60_000.0).reshape(300, 200)
    fields = np.zeros(3, dtype=[("x", "i4"), ("y", "f8")])
    root = {
        "base": base,
        "column": base[:, 7],
        "backwards": base[::-1],
        "transposed": base.T,
        "bytes": base.view(np.uint8),
        "spread": np.broadcast_to(base[0], (4, 200)),
        "field": fields["y"],
        "fields": fields,
    }
    back = there_and_back(there_and_back(root, {}), {})
    for name, array in root.items():
        assert np.array_equal(back[name], array)
        assert back[name].strides == array.strides
        assert back[name].flags.writeable == array.flags.writeable
    back["base"][5, 7] = -1
    back["field"][1] = 2.5
    assert (back["column"][5], back["backwards"][-6, 7], back["transposed"][7, 5]) == (-1, -1, -1)
    assert back["fields"]["y"][1] == 2.5


def test_big_buffers_leave_the_stream() -> None:
    """An array's bytes are handed over as they lie in memory, not copied into the pickle."""
    array = np.arange(100_000)
    pickled = pickling.dump({"a": array, "b": array})
    assert [buffer.nbytes for buffer in pickled.buffers] == [array.nbytes]
    assert np.shares_memory(np.frombuffer(pickled.buffers[0], array.dtype), array)
    assert pickled.stream.nbytes < 1000


@pytest.mark.parametrize("deep", [False, True])
def test_nothing_of_what_was_pickled_is_held(deep: bool) -> None:
    """Once the pickle is gone, so are the variables' values when the cell lets go of them: no collector is needed."""
    thing = np.arange(4.0)
    held = weakref.ref(thing)
    root: Any = [thing]
    for _ in range(20_000 if deep else 0):
        root = (root,)
    gc.disable()
    try:
        pickling.dump(root)
        pickling.digest(root)
        while deep and isinstance(root, tuple):
            (root,) = root
        del root, thing
        assert held() is None
    finally:
        gc.enable()


def test_the_culprit_is_named_with_its_path() -> None:
    """Through attributes, items, slots, closures and methods."""

    class Slotted:
        __slots__ = ("lock",)

    thing = types.SimpleNamespace(items=[1, {"deep": Slotted()}])
    thing.items[1]["deep"].lock = threading.Lock()
    path, reason = culprit(thing, "thing") or ("", "")
    assert path == "thing.items[1]['deep'].lock"
    assert reason == "a lock belongs to this process"


def test_a_read_file_is_refused(tmp_path: Path) -> None:
    """cloudpickle would turn it into a StringIO without a word."""
    place = tmp_path / "file.txt"
    place.write_text("text")
    with place.open() as file, pytest.raises(UnpicklableError, match="an open file"):
        pickling.dump([file])


def test_deep_structures_are_saved() -> None:
    """A list nested thousands of levels deep goes there and back, and the recursion limit is as it was."""
    limit = sys.getrecursionlimit()
    deep: list[Any] = []
    for _ in range(1200):
        deep = [deep]
    back, levels = there_and_back(deep, {}), 0
    while back:
        back, levels = back[0], levels + 1
    assert levels == 1200
    assert sys.getrecursionlimit() == limit


def test_what_never_ends_is_refused() -> None:
    """An object that pickles into ever new ones is an error, not the end of the process."""
    script = (
        "from nbckpt.state import fingerprints, pickling\n"
        "class Endless:\n    def __reduce__(self): return (Endless, (Endless(),))\n"
        "try: pickling.dump(Endless())\nexcept pickling.UnpicklableError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "nested too deeply" in run.stdout


@pytest.mark.parametrize(
    "value", [None, True, 3, 2.5, "é\ud800", b"x", (1, "a"), {"k": [1, {2: 3}]}, range(4)], ids=repr
)
def test_stable_digests_depend_on_the_value_alone(value: Any) -> None:
    """Equal values have equal digests although their strings are other objects; different ones do not."""
    again = there_and_back(value, {})
    assert fingerprints.stable_digest(value) == fingerprints.stable_digest(again) is not None
    assert fingerprints.stable_digest(value) != fingerprints.stable_digest([value])


def test_unstable_values_have_no_stable_digest() -> None:
    """An object's identity says nothing in another process; a set's order neither, so that is left out of it."""
    assert (
        fingerprints.stable_digest({"a", "b"})
        == fingerprints.stable_digest({"b", "a"})
        != fingerprints.stable_digest({"a"})
    )
    assert fingerprints.stable_digest([object()]) is None
    assert fingerprints.stable_digest(np.array([None])) is None
    assert fingerprints.stable_digest(np.arange(3)) == fingerprints.stable_digest(np.arange(3))


def test_what_a_class_has_hidden_from_pickle_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A property put in a slot's place would be asked for its value, and be told that on the way back."""
    source = """
class Doubled:
    __slots__ = ("x",)
slot = Doubled.x
Doubled.x = property(lambda self: 2 * slot.__get__(self), lambda self, x: slot.__set__(self, x))
thing = Doubled()
thing.x = 3
"""
    notebook = new_notebook(monkeypatch, source)
    with pytest.raises(UnpicklableError, match="its slot 'x' is hidden"):
        pickling.dump(notebook["thing"])


def test_classes_inside_classes_keep_their_whole_names(notebook: dict[str, Any]) -> None:
    """Also where the snapshot has to bring them."""
    code, _ = pickling.pickle_definitions({"Outer": notebook["Outer"]})
    thing = notebook["Outer"].Inner()
    pickled = pickling.dump(thing)
    back = load(bytes(pickled.stream), [], Home({}, code))[0]
    assert type(back).__qualname__ == "Outer.Inner"


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_waits_meanwhile(enabled: bool) -> None:
    """And is as it was afterwards, also when pickling fails."""
    seen = []

    class Looks:
        def __reduce__(self) -> Any:
            seen.append(gc.isenabled())
            return (len, ("abc",))

    class Fails:
        def __reduce__(self) -> Any:
            raise ValueError("no")

    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        pickling.dump(Looks())
        assert gc.isenabled() is enabled
        with pytest.raises(UnpicklableError):
            pickling.dump(Fails())
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()
    assert seen == [False]
