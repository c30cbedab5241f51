"""PyTorch: tensors, modules, optimizers, loaders."""

from programs.harness import Program

_NET = """
import torch
from torch import nn

net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
x, y = torch.randn(12, 4), torch.randn(12, 1)
"""

_DATA = """
import torch
from torch.utils.data import Dataset
class Data(Dataset):
    def __init__(self):
        self.loaded = 0
    def __len__(self):
        return 6
    def __getitem__(self, index):
        self.loaded += 1
        return torch.rand(2) + index, index
data = Data()
"""

PROGRAMS = [
    Program(
        "torch_training",
        "Weights, gradients, running statistics, optimizer state and dropout go on as they were.",
        """
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
losses = []
for epoch in range(3):
    for start in range(0, 12, 6):
        optimizer.zero_grad()
        out = net(x[start:start + 6])
        loss = nn.functional.mse_loss(out, y[start:start + 6])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    weight = net[0].weight
optimizer.param_groups[0]["params"][0] is net[0].weight, weight is net[0].weight, losses
""",
        before=(_NET,),
        unsaved=frozenset({"loss", "out"}),
        at_least=9,
        library="torch",
        row="PyTorch: modules and optimizers",
    ),
    Program(
        "torch_views",
        "Views stay views of their storage, in whatever they are kept, and a change to one shows in all.",
        """
import torch
base = torch.arange(12.0)
rows = base.view(3, 4)
kept = {"row": rows[1], "odd": [base[1::2], rows.t()]}
flat = base.numpy()
alias = base.detach()
imag = torch.zeros(3, dtype=torch.complex64)
real = imag.real
for step in range(3):
    rows[step] += 1
    kept["row"].mul_(2)
    kept["odd"][0][0] = -1
    real[step] = step
    for inner in range(1):
        alias[0] += 10
base, kept, imag, alias.data_ptr() == base.data_ptr()
""",
        unsaved=frozenset({"flat"}),
        library="torch",
        row="PyTorch: tensors",
    ),
    Program(
        "torch_rows",
        "Rows that a loop goes over are the tensor's own.",
        """
import torch
table = torch.zeros(3, 2)
for row in table:
    row += torch.rand(2)
    for column in range(2):
        row[column] *= 2
table, row
""",
        library="torch",
        row="PyTorch: tensors",
    ),
    Program(
        "torch_kinds_of_tensors",
        "Types, layouts, flags and attributes of tensors.",
        """
import torch
class Tagged(torch.Tensor):
    pass
small = torch.tensor(3, dtype=torch.int8)
things = {
    "half": torch.ones(2, dtype=torch.bfloat16),
    "eighth": torch.ones(2).to(torch.float8_e4m3fn),
    "bool": torch.tensor([True, False]),
    "complex": torch.tensor([1 + 2j, 3j]).conj(),
    "sparse": torch.eye(3).to_sparse(),
    "rows": torch.eye(3).to_sparse_csr(),
    "none": torch.empty(0, 3),
    "meta": torch.empty(3, device="meta"),
    "leaf": torch.ones(2, requires_grad=True),
    "tagged": torch.ones(2).as_subclass(Tagged),
    "strided": torch.arange(6).view(2, 3).t(),
    "expanded": torch.ones(1).expand(4),
    "values": (torch.float16, torch.device("cpu"), torch.Size([1, 2]), torch.channels_last),
}
things["tagged"].label = things
things["leaf"].grad = torch.tensor([1.0, 2.0])
gradient = things["leaf"].grad
for step in range(2):
    small += 1
    for inner in range(1):
        things["half"] += 1
        things["leaf"].grad += 1
gradient is things["leaf"].grad, things["tagged"].label is things, small
""",
        loose=frozenset({"stderr"}),  # a warning names the kernel's file
        library="torch",
        row="PyTorch: tensors",
    ),
    Program(
        "torch_tied_weights",
        "Tied weights stay tied, frozen ones frozen, and hooks stay on.",
        """
import torch
from torch import nn
class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.embed.weight
        self.register_buffer("seen", torch.zeros(()))
        self.register_forward_hook(count)
    def forward(self, ids):
        self.seen += 1
        return self.out(self.embed(ids))
calls = []
def count(module, inputs, output):
    calls.append(len(inputs[0]))
def halve(gradient):
    return gradient / 2
model = Tied()
head = nn.Linear(5, 2)
head.bias.requires_grad_(False)
handle = head.weight.register_hook(halve)
optimizer = torch.optim.SGD([*model.parameters(), head.weight], lr=0.1, momentum=0.9)
for step in range(2):
    for ids in [torch.tensor([0, 1]), torch.tensor([2, 3, 4])]:
        optimizer.zero_grad(set_to_none=False)
        loss = head(model(ids)).pow(2).sum()
        loss.backward()
        optimizer.step()
        del loss
handle.remove()
model.out.weight is model.embed.weight, calls, model.seen
""",
        at_least=6,
        library="torch",
        row="PyTorch: modules and optimizers",
    ),
    Program(
        "torch_optimizers_around_others",
        "An optimizer that wraps another one, and never was told that it is one, goes on wrapping it.",
        """
import torch
class Lookahead(torch.optim.Optimizer):
    def __init__(self, inner):
        self.inner, self.steps = inner, 0
        self.slow = [[weight.detach().clone() for weight in group["params"]] for group in inner.param_groups]
        self.param_groups = inner.param_groups
    def step(self):
        self.inner.step()
        self.steps += 1
        if self.steps % 2 == 0:
            for group, slow in zip(self.param_groups, self.slow):
                for weight, old in zip(group["params"], slow):
                    old.lerp_(weight.data, 0.5)
                    weight.data.copy_(old)
weight = torch.nn.Parameter(torch.ones(3))
optimizer = Lookahead(torch.optim.Adam([weight], lr=0.1))
scheduler = torch.optim.lr_scheduler.StepLR(optimizer.inner, 2)
for step in range(4):
    optimizer.inner.zero_grad()
    (weight * torch.rand(3)).sum().backward()
    optimizer.step()
    scheduler.step()
weight.tolist(), optimizer.steps, optimizer.param_groups is optimizer.inner.param_groups, scheduler.get_last_lr()
""",
        library="torch",
        row="PyTorch: modules and optimizers",
    ),
    Program(
        "torch_schedulers",
        "Schedulers of all kinds, with lambdas and the optimizer's own, and a scaler.",
        """
import torch
weight = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.AdamW([{"params": [weight], "lr": 0.1}])
schedulers = [
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9 ** epoch),
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=10),
]
plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
warm = torch.optim.SGD([weight], lr=0.1)
both = torch.optim.lr_scheduler.SequentialLR(
    warm,
    [torch.optim.lr_scheduler.LinearLR(warm), torch.optim.lr_scheduler.CosineAnnealingLR(warm, 5)],
    milestones=[2],
)
scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
rates = []
for step in range(3):
    optimizer.zero_grad()
    scaler.scale((weight * (step + 1)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    for scheduler in schedulers:
        scheduler.step()
    plateau.step(float(step))
    warm.step()
    both.step()
    rates.append((optimizer.param_groups[0]["lr"], warm.param_groups[0]["lr"], scaler.get_scale()))
rates, schedulers[0].optimizer is optimizer, plateau.optimizer is optimizer
""",
        library="torch",
        row="PyTorch: schedulers and GradScaler",
    ),
    Program(
        "torch_averaged_models",
        "Copies that follow a model, recurrent and normalised weights.",
        """
import copy
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
model = nn.LSTM(2, 3, batch_first=True)
normed = parametrizations.weight_norm(nn.Linear(3, 1))
spectral = parametrizations.spectral_norm(nn.Linear(3, 3))
ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
best = copy.deepcopy(model.state_dict())
optimizer = torch.optim.RMSprop([*model.parameters(), *normed.parameters(), *spectral.parameters()], lr=0.01)
for step in range(2):
    optimizer.zero_grad()
    states, hidden = model(torch.randn(2, 4, 2))
    normed(spectral(states)).sum().backward()
    optimizer.step()
    ema.update_parameters(model)
    del states, hidden
    for inner in range(1):
        best = copy.deepcopy(model.state_dict())
normed.weight.detach(), ema.module.weight_ih_l0
""",
        library="torch",
        row="PyTorch: EMA copies",
    ),
    Program(
        "torch_generators",
        "Generators in variables and the global one.",
        """
import torch
own = torch.Generator().manual_seed(3)
same = [own, torch.default_generator]
drawn = []
for step in range(3):
    drawn.append(torch.rand(1, generator=own).item())
    for inner in range(2):
        drawn.append(torch.rand(1).item())
        drawn.append(torch.randn(1, generator=same[1]).item())
drawn, same[0] is own, same[1] is torch.default_generator
""",
        library="torch",
        row="PyTorch: random state",
    ),
    Program(
        "torch_loaders",
        "Shuffled loaders go on in the same order, and draw what they would have drawn, in each epoch.",
        """
from torch.utils.data import DataLoader, random_split
loader = DataLoader(data, batch_size=2, shuffle=True)
own = DataLoader(data, batch_size=3, shuffle=True, generator=torch.Generator().manual_seed(5), drop_last=True)
seen = []
for epoch in range(2):
    for numbers, labels in loader:
        seen.append((numbers.tolist(), labels.tolist(), torch.rand(1).item()))
    for index, (numbers, labels) in enumerate(own):
        for inner in range(1):
            seen.append((index, numbers.tolist()))
first, second = random_split(data, [4, 2])
for (numbers, labels) in DataLoader(first, shuffle=True):
    seen.append(numbers.tolist())
seen, data.loaded
""",
        before=(_DATA,),
        at_least=15,
        library="torch",
        row="PyTorch: DataLoader",
    ),
    Program(
        "torch_loader_iterators",
        "An iterator over a loader that a variable holds, for `next`, has the batches left that it had.",
        """
from torch.utils.data import DataLoader, WeightedRandomSampler
loader = DataLoader(data, batch_size=4, shuffle=True)
batches, waiting = iter(loader), iter(DataLoader(data, batch_size=3, drop_last=True))
weighted = iter(DataLoader(data, sampler=WeightedRandomSampler([1, 2, 3, 4, 5, 6], 4), batch_size=None))
holder, seen = [batches], []
for step in range(5):
    try:
        numbers, labels = next(batches)
    except StopIteration:
        batches = iter(loader)
        numbers, labels = next(batches)
    seen.append((numbers.tolist(), labels.tolist(), torch.rand(1).item()))
    for inner in range(1):
        seen.append(next(weighted, None) and labels.tolist())
for numbers, labels in waiting:
    seen.append((numbers.tolist(), labels.tolist(), next(holder[0], None)))
seen, data.loaded, batches is holder[0]
""",
        before=(_DATA,),
        at_least=12,
        library="torch",
        row="PyTorch: DataLoader",
    ),
    Program(
        "torch_samplers",
        "Samplers of all kinds, one's own too, and a progress bar around the loader.",
        """
import random
from torch.utils.data import BatchSampler, DataLoader, Sampler, SubsetRandomSampler, WeightedRandomSampler
from tqdm import tqdm
class Odd(Sampler):
    def __iter__(self):
        order = [1, 3, 5]
        random.shuffle(order)
        yield from order
    def __len__(self):
        return 3
odd = Odd()
seen = []
for numbers, labels in DataLoader(data, batch_size=2, sampler=odd):
    seen.append(numbers.tolist())
batches = BatchSampler(SubsetRandomSampler([0, 2, 4]), batch_size=2, drop_last=False)
for numbers, labels in tqdm(DataLoader(data, batch_sampler=batches)):
    for inner in range(1):
        seen.append(numbers.tolist())
weighted = WeightedRandomSampler([1, 2, 3, 4, 5, 6], 3, generator=torch.Generator().manual_seed(2))
for epoch in range(2):
    for number, label in DataLoader(data, batch_size=None, sampler=weighted):
        seen.append(number.tolist())
seen
""",
        before=(_DATA,),
        loose=frozenset({"stderr"}),
        at_least=12,
        library="torch",
        row="PyTorch: DataLoader",
    ),
    Program(
        "torch_loader_workers",
        "Loaders with workers yield what they would have, also what the workers draw.",
        """
from torch.utils.data import DataLoader
loader = DataLoader(data, batch_size=2, shuffle=True, num_workers=2)
seen = []
for epoch in range(2):
    for numbers, labels in loader:
        seen.append((numbers.tolist(), torch.rand(1).item()))
seen
""",
        before=(_DATA,),
        at_least=6,
        library="torch",
        row="PyTorch: DataLoader with workers",
    ),
    Program(
        "torch_iterable_datasets",
        "A dataset that is a generator is drawn again.",
        """
import torch
from torch.utils.data import DataLoader, IterableDataset
class Stream(IterableDataset):
    def __iter__(self):
        for number in range(6):
            yield torch.rand(1) + number
seen = []
for batch in DataLoader(Stream(), batch_size=2):
    for inner in range(1):
        seen.append(batch.tolist())
seen
""",
        at_least=5,
        library="torch",
        row="PyTorch: DataLoader",
    ),
    Program(
        "torch_stateful_loaders",
        "torchdata's loaders are told where they were.",
        """
from torchdata.stateful_dataloader import StatefulDataLoader
loader = StatefulDataLoader(data, batch_size=2, shuffle=True)
seen = []
for epoch in range(2):
    for numbers, labels in loader:
        seen.append((numbers.tolist(), torch.rand(1).item()))
seen
""",
        before=(_DATA,),
        at_least=6,
        library="torch torchdata",
        row="PyTorch: StatefulDataLoader",
    ),
    Program(
        "torch_compiled",
        "Compiled modules and functions are compiled again around what came back.",
        """
model = torch.nn.Linear(2, 2)
fast = torch.compile(model, backend="eager")
optimizer = torch.optim.SGD(fast.parameters(), lr=0.1)
in_place = torch.nn.Linear(2, 1)
in_place.compile(backend="eager")
for step in range(2):
    optimizer.zero_grad()
    in_place(twice(fast(torch.randn(3, 2)))).sum().backward()
    optimizer.step()
    for inner in range(1):
        result = twice(torch.ones(1))
fast._orig_mod is model, model.weight, result
""",
        before=(
            """
import torch
@torch.compile(backend="eager")
def twice(x):
    return x * 2
""",
        ),
        unsaved=frozenset({"twice"}),  # it is there, and has numbers that count what was compiled
        library="torch",
        row="PyTorch: compiled modules",
    ),
    Program(
        "torch_loss_printed_after_its_loop",
        "What autograd still follows is waited for: a snapshot is made where none of it is needed.",
        """
import torch
weight = torch.ones(2, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.1)
for epoch in range(2):
    for batch in range(3):
        optimizer.zero_grad()
        loss = (weight * torch.rand(2)).sum()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] *= 0.9
        optimizer.step()
    print(f"{loss.item():.4f}")
""",
        unsaved=frozenset({"loss"}),
        at_least=10,
        library="torch",
        row="PyTorch: modules and optimizers",
    ),
    Program(
        "torch_and_numpy_share_memory",
        "An array and a tensor over the same memory stay so, whichever of them has it.",
        """
import numpy as np
import torch
array = np.arange(4.0)
tensor = torch.from_numpy(array)
weights = torch.zeros(3)
looks = {"weights": weights.numpy()[1:], "tail": array[2:]}
for step in range(2):
    array += 1
    weights += step
    for inner in range(1):
        tensor *= 2
        looks["weights"][0] -= 1
        looks["tail"][1] = 5
array.tolist() == tensor.tolist(), weights
""",
        library="torch",
        row="PyTorch: tensors",
    ),
    Program(
        "torch_memory_known_by_several_names",
        "Whoever is met first, and whatever part of it they look into, they share what they shared.",
        """
import numpy as np
import torch
rows = np.arange(12.0).reshape(6, 2)
first, last = torch.from_numpy(rows[:3]), torch.from_numpy(rows[3:])
a = torch.zeros(4, 3)
both = torch.from_numpy(a.numpy()[1:])[1:]
lost = torch.from_numpy(np.zeros(3))
copy = lost.numpy()
for step in range(3):
    rows[step] += 1
    last *= 2
    a += step
    both[0, 0] -= 1
    copy[step] = 9
first.sum().item(), rows.sum().item(), both.sum().item(), a[2, 0].item(), lost.tolist()
""",
        library="torch",
        row="PyTorch: tensors",
    ),
    Program(
        "torch_scaler_switched_off",
        "A GradScaler that does nothing, as without a GPU, goes on doing nothing.",
        """
import torch
weight = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.SGD([weight], lr=0.1)
scaler = torch.amp.GradScaler("cpu", enabled=False)
for step in range(3):
    optimizer.zero_grad()
    scaler.scale((weight * step).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
weight.tolist(), scaler.is_enabled(), scaler.get_scale()
""",
        library="torch",
        row="PyTorch: schedulers and GradScaler",
    ),
    Program(
        "torch_settings",
        "The type and the device of new tensors, and whether autograd looks on, stay as the cell has set them.",
        """
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
torch.set_grad_enabled(False)
torch.use_deterministic_algorithms(True)
torch.set_printoptions(precision=2)
out = []
for step in range(3):
    out.append((torch.ones(1).dtype, torch.ones(1).device.type, torch.is_grad_enabled()))
    out.append((torch.are_deterministic_algorithms_enabled(), str(torch.full((1,), 1 / 3, device="cpu"))))
torch.set_default_dtype(torch.float32)
torch.set_default_device(None)
torch.set_grad_enabled(True)
torch.use_deterministic_algorithms(False)
torch.set_printoptions(profile="default")
out
""",
        before=(
            """
import torch
torch.set_default_dtype(torch.float32)
torch.set_default_device(None)
torch.set_grad_enabled(True)
torch.use_deterministic_algorithms(False)
torch.set_printoptions(profile="default")
""",
        ),
        needs_before=True,
        library="torch",
        row="PyTorch: settings (default type and device, grad mode, determinism)",
    ),
    Program(
        "distributed_data_parallel",
        "A model that is trained through its distributed wrapper is the one inside it, and goes on bit for bit.",
        """
torch.manual_seed(8)
nn = torch.nn
model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1))
parallel = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.AdamW(parallel.parameters(), lr=0.05)
data = torch.utils.data.TensorDataset(torch.randn(12, 3), torch.randn(12, 1))
sampler = torch.utils.data.distributed.DistributedSampler(data, seed=3)
losses = []
for epoch in range(2):
    sampler.set_epoch(epoch)
    for x, y in torch.utils.data.DataLoader(data, 4, sampler=sampler):
        optimizer.zero_grad()
        loss = ((parallel(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    torch.distributed.all_reduce(total := torch.tensor(losses[-1]))
parallel.module is model, losses, total, parallel.state_dict()["module.0.bias"], model[0].weight.grad
""",
        before=(
            """
import tempfile, torch
meet = f"file://{tempfile.mkdtemp()}/meet"
torch.distributed.init_process_group("gloo", init_method=meet, rank=0, world_size=1)
""",
        ),
        after=("torch.distributed.destroy_process_group()",),
        needs_before=True,
        unsaved=frozenset({"meet", "loss"}),
        library="torch",
        row="PyTorch: modules and optimizers",
    ),
]
