"""PyTorch where the programs cannot see it: real kernels, other processes, devices, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernels.notebook import notebook
from nbckpt.errors import RestoreError, UnpicklableError
from nbckpt.run import loaders
from nbckpt.run.replays import Trail
from nbckpt.state import adapters, home, memory, pickling, randomness
from nbckpt.state.adapters import live
from nbckpt.state.culprit import culprit
from programs.harness import Lab

from .conftest import needs

TRAINING = """
import gate, torch
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(3)
net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
data = TensorDataset(torch.randn(12, 3), torch.randn(12, 1))
loader = DataLoader(data, batch_size=3, shuffle=True)
optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
step = 0
for epoch in range(3):
    for x, y in loader:
        optimizer.zero_grad()
        loss = (net(x) - y).pow(2).mean()
        loss.backward()
        optimizer.step()
        step += 1
        gate.hold(step)
    print(f"{epoch} {loss.item():.6f}")
"""

WEIGHTS = "[p.tolist() for p in net.parameters()], torch.rand(3).tolist(), optimizer.param_groups[0]['params'][0] is \
next(net.parameters()), step"


@pytest.fixture(autouse=True)
def torch() -> Any:
    needs("torch")
    import torch

    return torch


def there_and_back(thing: Any) -> Any:
    pickled = pickling.dump(thing)
    buffers = [bytearray(buffer) for buffer in pickled.buffers]
    return home.load(pickled.stream, buffers, home.Home(vars(sys.modules["__main__"])))[0]


@pytest.mark.kernel
@pytest.mark.slow
def test_a_training_killed_in_a_kernel(tmp_path: Path) -> None:
    """SIGKILL in the middle of a batch, twice; a new kernel comes to the same weights and the same output."""
    head = "%%checkpointed train --every 1it\n"
    with notebook(tmp_path) as book:
        plain, weights = book.ok(TRAINING), book.value(WEIGHTS)
    for hold in (2, 7):
        with notebook(tmp_path, hold=hold) as book:
            book.kill_when_held(head + TRAINING)
    with notebook(tmp_path) as book:
        resumed = book.ok(head + TRAINING)
        assert any("resumed at" in line for line in resumed.said)
        assert book.value(WEIGHTS) == weights
    assert resumed.text() == plain.text()


def test_big_storages_leave_the_stream_once(torch: Any) -> None:
    """However many tensors look at a storage, its bytes are there once, and none of them in the stream."""
    base = torch.zeros(100_000)
    pickled = pickling.dump({"base": base, "views": [base[k:] for k in range(5)], "alias": base.detach()})
    assert [buffer.nbytes for buffer in pickled.buffers] == [400_000]
    assert len(pickled.stream) < 4000


def test_restored_storages_are_torchs_own(torch: Any) -> None:
    """They can be resized, and lie where kernels expect them, on which a result's last bit may depend."""
    made = there_and_back(torch.arange(9000.0))
    assert made.data_ptr() % 64 == 0
    assert made.resize_(20_000).shape == (20_000,)


def test_a_storage_takes_over_the_memory_that_its_bytes_were_read_to(torch: Any) -> None:
    """Nothing is copied, and it is torch's own all the same."""
    saved = torch.arange(90_000.0)
    pickled = pickling.dump({"whole": saved, "part": saved[3:]})
    (room,) = memory.allocate(memory.owners(pickled.buffers), [saved.nbytes])
    assert room is not None
    room[:] = pickled.buffers[0].cast("B")
    (found,) = home.load(pickled.stream, memory.spent([room]), home.Home({}))
    assert torch.equal(found["whole"], saved)
    found["part"][0] = -1
    assert found["whole"][3] == -1
    assert memoryview(room.obj).nbytes == saved.nbytes
    assert found["whole"].untyped_storage().data_ptr() == room.obj.storage.data_ptr()
    assert found["whole"].data_ptr() % 64 == 0
    assert found["whole"].resize_(100_000).shape == (100_000,)


def test_a_result_that_autograd_follows_is_refused(torch: Any) -> None:
    weight = torch.ones(2, requires_grad=True)
    with pytest.raises(UnpicklableError, match=r"grad_fn.*\.detach\(\)"):
        pickling.dump({"kept": [weight * 2]})
    assert culprit({"kept": [weight * 2]}, "x") is not None
    assert adapters.is_passing({"loss": weight.sum()})
    assert not adapters.is_passing([weight])


@pytest.mark.filterwarnings("ignore")
def test_a_jit_module_is_refused(torch: Any) -> None:
    with pytest.raises(UnpicklableError, match=r"torch\.jit module"):
        pickling.dump(torch.jit.script(torch.nn.Linear(2, 2)))


def test_new_hooks_do_not_take_the_places_of_old_ones(torch: Any) -> None:
    """In a new process the numbers of hooks begin at 0 again."""
    model = torch.nn.Linear(2, 2)
    model.register_forward_hook(print)
    saved = pickling.dump(model)
    torch.utils.hooks.RemovableHandle.next_id = 0
    made = home.load(saved.stream, [bytearray(b) for b in saved.buffers], home.Home({}))[0]
    made.register_forward_hook(print)
    assert len(made._forward_hooks) == 2


class Dataset:
    """Counts what is loaded."""

    loaded = 0

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        Dataset.loaded += 1
        return index


@pytest.mark.parametrize("wrap", [iter, enumerate])
def test_batches_that_are_done_are_not_loaded_again(torch: Any, wrap: Any) -> None:
    loader = torch.utils.data.DataLoader(Dataset(), batch_size=2, shuffle=True)

    def begin() -> tuple[Iterator[Any], Trail]:
        torch.manual_seed(4)
        iterator, trail = wrap(loader), Trail()
        loaders.note_indices(loaders.loader_in(iterator), trail)
        return iterator, trail

    iterator, trail = begin()
    items = [next(iterator), next(iterator)]
    record = {"trail": trail.saved(), "drawn_again": False}
    items += list(iterator)
    Dataset.loaded = 0
    rest, follower = loaders.skip(begin()[0], record, 2)
    assert Dataset.loaded == 0
    assert not follower.differs
    assert str(list(rest)) == str(items[2:])
    again, follower = loaders.skip(begin()[0], {**record, "drawn_again": True}, 2)
    assert str(follower.trail.last) == str(items[1])
    assert str(list(again)) == str(items[2:])


@pytest.mark.parametrize("begun", [False, True])
def test_an_iterator_whose_sampler_draws_with_others_is_refused(torch: Any, begun: bool) -> None:
    """What it draws ahead of time would come before their draws; it can be said at once, not only once it has begun."""
    own = torch.Generator().manual_seed(2)
    iterator = iter(torch.utils.data.DataLoader(range(6), shuffle=True, generator=own))
    if begun:
        next(iterator)
    with pytest.raises(UnpicklableError, match="loop over the loader itself"):
        pickling.dump(iterator)
    stream = iter(torch.utils.data.DataLoader(range(6), batch_sampler=([k] for k in range(6))))
    with pytest.raises(UnpicklableError, match="loop over the loader itself"):
        pickling.dump(stream)


def test_the_header_of_a_loop_over_an_iterator_of_a_loader_may_not_change(lab: Lab) -> None:
    before = ("import torch\nfrom torch.utils.data import DataLoader\nbatches = iter(DataLoader(range(6)))\n",)
    left = lab.killed("n = 0\nfor one in batches:\n    n += 1\n", "n == 3", before=before)
    done, _ = lab.again(left, "n = 0\nfor one in [*batches]:\n    n += 1\n", before=before)
    assert done.error.startswith("CellChangedError")


def test_a_loader_that_keeps_its_workers_is_saved_without_them(torch: Any) -> None:
    loader = torch.utils.data.DataLoader(Dataset(), num_workers=1, persistent_workers=True)
    assert len(list(loader)) == 8
    made = there_and_back(loader)
    assert made._iterator is None
    assert len(list(made)) == 8
    for used in (loader, made):
        used._iterator._shutdown_workers()


def test_that_workers_kept_begin_anew_is_said_at_the_start(lab: Lab) -> None:
    """Once, naming the loader, wherever it is; and of no loader whose workers are new in each epoch."""
    before = (
        "import torch, types\nfrom torch.utils.data import DataLoader\ndata = torch.arange(4)\n"
        "plain = DataLoader(data, num_workers=1)\n"
        "trainer = types.SimpleNamespace(loader=DataLoader(data, num_workers=1, persistent_workers=True))\n"
    )
    cell = (
        "mine = DataLoader(data, num_workers=1, persistent_workers=True)\nfor epoch in range(2):\n"
        "    loaders = len(mine) + len(trainer.loader) + len(plain)\n"
    )
    left = lab.killed(cell, "loaders", before=(before,))
    done, kernel = lab.again(left, cell, before=(before,))
    assert not done.error
    for seen in (kernel.notices, lab.again(lab.folder(), cell, before=(before,))[1].notices):
        assert seen.count("trainer.loader keeps its worker processes from epoch to epoch (persistent_workers)") == 1
        assert "plain" not in seen
    assert "mine keeps its worker processes" in kernel.notices


@pytest.mark.filterwarnings("ignore")
def test_a_distributed_module_needs_its_group(torch: Any, tmp_path: Path) -> None:
    """It comes back around the module that came back, in the group that is there; a group itself does not."""
    distributed = torch.distributed
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        model = torch.nn.Linear(2, 2)
        saved = pickling.dump({"model": model, "parallel": torch.nn.parallel.DistributedDataParallel(model)})
        buffers = [bytearray(buffer) for buffer in saved.buffers]
        made = home.load(saved.stream, buffers, home.Home({}))[0]
        made["parallel"](torch.ones(1, 2)).sum().backward()
        assert made["model"].weight.grad is not None
        assert live.live_resource(type(distributed.group.WORLD)) == "a process group"
    finally:
        distributed.destroy_process_group()
    with pytest.raises(RestoreError, match="init_process_group in a cell before this one"):
        home.load(saved.stream, buffers, home.Home({}))


def test_torch_is_looked_at_only_where_it_is_imported() -> None:
    code = (
        "import sys; from nbckpt.state import randomness; print(sorted(randomness.capture()), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "['random'] False\n"


def test_a_new_process_imports_torch_for_its_random_state(torch: Any, tmp_path: Path) -> None:
    """The state is put back although nothing there has imported torch yet."""
    torch.manual_seed(11)
    states = randomness.capture()
    expected = torch.rand(1).item()
    (tmp_path / "states").write_bytes(bytes(pickling.dump(states["torch"]).stream))
    code = (
        "from pathlib import Path; from nbckpt.state import home, randomness\n"
        f"(state,) = home.load(Path({str(tmp_path / 'states')!r}).read_bytes(), (), home.Home({{}}, {{}}))\n"
        "randomness.restore({'torch': state}); import torch; print(torch.rand(1).item())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(done.stdout) == expected


def test_a_device_that_is_missing_is_said(torch: Any) -> None:
    """What was on it is on one that exists."""
    from nbckpt.state.adapters import torch_tensors

    adapters.take_said()
    name = f"cuda:{torch.cuda.device_count() + 7}"
    here = torch_tensors.device_here(name)
    assert here.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert f"there is no device {name} here" in adapters.take_said()[0]


def test_random_state_of_missing_devices_is_said(torch: Any) -> None:
    states = randomness.capture()
    states["torch"]["xpu"] = [b"\0" * 16] * (torch.xpu.device_count() + 1)
    assert "XPU devices was saved" in randomness.restore(states)[0]


@pytest.fixture
def cuda(torch: Any) -> Any:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    return torch.device("cuda", 0)


def test_cuda_tensors_come_back_to_their_device(torch: Any, cuda: Any) -> None:
    base = torch.arange(9000.0, device=cuda)
    made = there_and_back({"base": base, "view": base[3:], "device": cuda})
    assert made["base"].device == cuda == made["device"]
    assert made["view"].data_ptr() == made["base"].data_ptr() + 12
    assert torch.equal(made["base"], base)


def test_cuda_random_state_comes_back(torch: Any, cuda: Any) -> None:
    own = torch.Generator(cuda).manual_seed(3)
    torch.rand(3, device=cuda)
    states, saved = randomness.capture(), pickling.dump(own)
    expected = torch.rand(3, device=cuda), torch.rand(3, device=cuda, generator=own)
    randomness.restore(states)
    made = home.load(saved.stream, [bytearray(b) for b in saved.buffers], home.Home({}))[0]
    assert torch.equal(torch.rand(3, device=cuda), expected[0])
    assert torch.equal(torch.rand(3, device=cuda, generator=made), expected[1])


def test_a_seed_that_cuda_has_not_used_yet_holds(torch: Any, cuda: Any) -> None:
    """`torch.manual_seed` seeds a device that is woken up only after the resume."""
    torch.manual_seed(12)
    expected = torch.rand(3, device=cuda)
    states = {"torch": {"cpu": randomness.capture()["torch"]["cpu"], "seed": 12}}
    torch.rand(3, device=cuda)
    randomness.restore(states)
    assert torch.equal(torch.rand(3, device=cuda), expected)


_RESIZED = """
import sys, numpy as np, torch, nbckpt
with nbckpt.checkpointed("grows", store=sys.argv[1], every="1it", quiet=True) as ckpt:
    ckpt.state.array = np.arange(4.0)
    for step in ckpt.loop(range(3)):
        ckpt.state.array.resize(5 + step)
with nbckpt.checkpointed("shares", store=sys.argv[1], every="1it", quiet=True) as ckpt:
    ckpt.state.array = np.zeros(3)
    ckpt.state.tensor = torch.from_numpy(ckpt.state.array)
    for _ in ckpt.loop(range(2)):
        pass
found = nbckpt.load("shares", store=sys.argv[1])
found["tensor"][0] = 7
print(len(nbckpt.load("grows", store=sys.argv[1])["array"]), found["array"][0])
"""


def test_arrays_can_be_resized_where_torch_is_loaded(tmp_path: Path) -> None:
    """A save leaves an array as it was; NumPy refuses to resize one that somebody else refers to, even weakly."""
    run = subprocess.run([sys.executable, "-c", _RESIZED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["7", "7.0"], run.stderr
