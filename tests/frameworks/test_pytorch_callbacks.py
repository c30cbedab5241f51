"""Loops inside Lightning and Hugging Face's Trainer, in processes that die in the middle of a batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import needs

LIGHTNING = """
import os, sys, warnings
warnings.filterwarnings("ignore")
import torch, lightning.pytorch as pl
from torch.utils.data import DataLoader, TensorDataset
import nbckpt.callbacks

store, dies_at, accumulate, result = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
        self.register_buffer("seen", torch.zeros(()), persistent=False)
    def training_step(self, batch, index):
        if self.global_step * accumulate + index % accumulate >= dies_at and dies_at >= 0 and index >= 0:
            if self.trainer.fit_loop.epoch_loop.total_batch_idx == dies_at:
                os._exit(9)
        self.seen += 1
        loss = (self.net(batch[0]) - batch[1]).pow(2).mean() + 0 * self.seen
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss
    def validation_step(self, batch, index):
        self.log("val_loss", (self.net(batch[0]) - batch[1]).pow(2).mean())
    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "train_loss_epoch"}}

pl.seed_everything(3, verbose=False)
data = TensorDataset(torch.randn(10, 3), torch.randn(10, 1))
loader = DataLoader(data, batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(4))
model = Net()
callbacks = [nbckpt.callbacks.Lightning("train", store=store, every="1it", quiet=True)] if store else []
trainer = pl.Trainer(max_epochs=3, accelerator="cpu", callbacks=callbacks, logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, accumulate_grad_batches=accumulate, val_check_interval=3)
trainer.fit(model, loader, DataLoader(data, batch_size=5))
rate = trainer.optimizers[0].param_groups[0]["lr"]
torch.save([*model.state_dict().values(), model.seen, torch.tensor(rate), torch.rand(3)], result)
"""

TRANSFORMERS = """
import os, sys, warnings
warnings.filterwarnings("ignore")
import torch
from transformers import Trainer, TrainingArguments, TrainerCallback, set_seed
import nbckpt.callbacks

store, dies_at, accumulate, result = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
    def forward(self, x, labels):
        return {"loss": (self.net(x) - labels).pow(2).mean()}

class Dies(TrainerCallback):
    def on_step_begin(self, args, state, control, **options):
        if state.global_step == dies_at:
            os._exit(9)

set_seed(3)
data = [{"x": torch.randn(3), "labels": torch.randn(1)} for _ in range(10)]
model = Net()
callbacks = [Dies()]
if store:
    callbacks.append(nbckpt.callbacks.Transformers("train", store=store, every="1it", quiet=True))
arguments = TrainingArguments(result + ".out", num_train_epochs=3, per_device_train_batch_size=2, use_cpu=True,
    report_to=[], disable_tqdm=True, save_strategy="no", gradient_accumulation_steps=accumulate, learning_rate=0.05,
    dataloader_pin_memory=False)
trainer = Trainer(model, arguments, train_dataset=data, callbacks=callbacks)
trainer.train(resume_from_checkpoint=callbacks[1].checkpoint() if store else None)
assert not store or not [name for name in os.listdir(arguments.output_dir) if name.startswith("checkpoint")]
torch.save(list(model.state_dict().values()), result)
"""


def run(script: str, folder: Path, *arguments: object) -> int:
    """Run a script in a process of its own; return how it ended."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], check=False, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode in (0, 9), done.stderr[-4000:]
    return done.returncode


def ends_the_same(script: str, folder: Path, accumulate: int, deaths: list[int]) -> None:
    import torch

    assert run(script, folder, "", -1, accumulate, folder / "plain.pt") == 0
    store = folder / "store"
    for batch in deaths:
        assert run(script, folder, store, batch, accumulate, folder / "never.pt") == 9
    assert run(script, folder, store, -1, accumulate, folder / "resumed.pt") == 0
    plain, resumed = torch.load(folder / "plain.pt"), torch.load(folder / "resumed.pt")
    assert len(plain) == len(resumed)
    assert [i for i, (one, other) in enumerate(zip(plain, resumed, strict=True)) if not torch.equal(one, other)] == []
    # what has ended is restored, not trained again: dying at any batch cannot happen
    assert run(script, folder, store, 0, accumulate, folder / "again.pt") == 0
    again = torch.load(folder / "again.pt")
    assert all(map(torch.equal, again[:4], plain[:4]))


@pytest.mark.slow
@pytest.mark.parametrize(("accumulate", "deaths"), [(1, [2, 5, 8]), (2, [7, 13])])
def test_lightning_ends_with_the_same_weights(tmp_path: Path, accumulate: int, deaths: list[int]) -> None:
    """Shuffling, dropout, validation inside epochs, accumulated gradients and metrics of the epoch: bit for bit."""
    needs("torch", "lightning")
    ends_the_same(LIGHTNING, tmp_path, accumulate, deaths)


@pytest.mark.slow
@pytest.mark.parametrize(("accumulate", "deaths"), [(1, [2, 8]), (2, [4])])
def test_transformers_ends_with_the_same_weights(tmp_path: Path, accumulate: int, deaths: list[int]) -> None:
    """Shuffling and dropout in the Trainer's loop: bit for bit."""
    needs("torch", "transformers", "accelerate")
    ends_the_same(TRANSFORMERS, tmp_path, accumulate, deaths)
