"""PyTorch's ways to save tensors: `torch.save`, safetensors, and Distributed Checkpoint."""

from __future__ import annotations

from typing import Any

from ..workloads import Variables
from .peer import ArraysPeer


def tensors(arrays: Variables) -> dict[str, Any]:
    """Arrays as tensors, which share their memory."""
    import torch

    return {name: torch.as_tensor(array) for name, array in arrays.items()}


class TorchSave(ArraysPeer):
    """`torch.save` of the tensors in a dict."""

    imports = ("torch",)

    def save(self, variables: Variables, number: int) -> None:
        import torch

        self.place(number).mkdir()
        torch.save(tensors(self.arrays(variables)), self.place(number) / "state.pt")

    def restore(self, number: int) -> Variables:
        import torch

        return self.put(torch.load(self.place(number) / "state.pt", weights_only=True))


class Safetensors(ArraysPeer):
    """`save_file` of the tensors."""

    imports = ("torch", "safetensors.torch")

    def save(self, variables: Variables, number: int) -> None:
        from safetensors.torch import save_file

        self.place(number).mkdir()
        save_file(tensors(self.arrays(variables)), self.place(number) / "state.safetensors")

    def restore(self, number: int) -> Variables:
        from safetensors.torch import load_file

        return self.put(load_file(self.place(number) / "state.safetensors"))


class Distributed(ArraysPeer):
    """`torch.distributed.checkpoint.save`, in one process."""

    imports = ("torch.distributed.checkpoint",)

    def save(self, variables: Variables, number: int) -> None:
        import torch.distributed.checkpoint as dcp

        dcp.save(tensors(self.arrays(variables)), checkpoint_id=self.place(number), no_dist=True)

    def restore(self, number: int) -> Variables:
        import torch
        import torch.distributed.checkpoint as dcp

        # it loads into tensors that are there, whose shapes its own list tells
        known = dcp.FileSystemReader(self.place(number)).read_metadata().state_dict_metadata
        found = {name: torch.empty(one.size, dtype=one.properties.dtype) for name, one in known.items()}
        dcp.load(found, checkpoint_id=self.place(number), no_dist=True)
        return self.put(found)


class DistributedAsync(Distributed):
    """`async_save` with staging memory that is used again, as its documentation recommends."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._stager: Any = None
        self._saving: dict[int, Any] = {}

    def save(self, variables: Variables, number: int) -> None:
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

        if self._stager is None:
            options = StagingOptions(
                use_pinned_memory=False, use_shared_memory=True, use_async_staging=False, use_non_blocking_copy=False
            )
            self._stager = DefaultStager(options)
        self._saving[number] = dcp.async_save(
            tensors(self.arrays(variables)),
            checkpoint_id=self.place(number),
            async_stager=self._stager,
            no_dist=True,
        )

    def wait(self, number: int) -> None:
        saving = self._saving[number]
        getattr(saving, "upload_completion", saving).result()
        super().wait(number)
