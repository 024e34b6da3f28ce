"""A plain state dict as safetensors: `model.load_state_dict(safetensors.torch.load_file(path))`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.errors import StorageError
from .files import Exported, tried_out


def save_state_dict(model: nn.Module, path: Path, *, overwrite: bool = False) -> Exported:
    """Every parameter and buffer under its own name, pruned weights as zeros, tied ones twice."""
    from safetensors.torch import load_file, save_file

    state = dict(model.state_dict())
    odd = next((n for n, t in state.items() if not isinstance(t, Tensor) or t.is_meta), None)
    if odd is not None:
        raise StorageError(f"'{odd}' is no tensor with data; only those can be written")
    separate = {n: t.detach().cpu().contiguous().clone() for n, t in state.items()}

    def make(file: Path) -> None:
        save_file(separate, file, metadata={"format": "pt"})
        again = load_file(file)
        for name, tensor in separate.items():
            if not torch.equal(again[name].nan_to_num(), tensor.nan_to_num()):
                raise StorageError(f"'{name}' does not come back from the file as it was written")

    tried_out(path, overwrite, make)
    return Exported(path, "state-dict", path.stat().st_size)
