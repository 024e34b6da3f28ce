"""Bytes on the disk: as dense float32, and as really stored with the pruned weights left out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..artifact import save_sparse
from .params import kept_masks


@dataclass(frozen=True)
class Size:
    """Bytes of a model's state dict.

    Attributes:
        dense: every floating-point element as float32, integers as they are; tied tensors once.
        stored: the file that `artifact.save_sparse` wrote, header and all.
    """

    dense: int
    stored: int

    @property
    def share(self) -> float:
        """stored / dense."""
        return self.stored / self.dense if self.dense else 1.0


def measure_size(model: nn.Module, masks: Mapping[str, Tensor] | None = None) -> Size:
    """Both sizes; the stored one is of a file that is really written and deleted again.

    Args:
        model: any model with data (not on the meta device).
        masks: parameter name → boolean tensor, True = kept; a masked value counts as zero whatever
            it is. Without, the zeros of every parameter of two or more dimensions are left out.

    >>> layer = nn.Linear(100, 100, bias=False)
    >>> size = measure_size(layer, {"weight": torch.zeros(100, 100).bool()})
    >>> size.dense, size.stored < 600
    (40000, True)
    """
    kept = kept_masks(model, masks)
    state = {name: tensor for name, tensor in model.state_dict().items() if torch.is_tensor(tensor)}
    for name, mask in kept.items():
        # one new tensor for every name of a tied weight, so that it stays tied
        pruned = torch.where(mask.to(state[name].device), state[name], 0)
        same = [other for other, tensor in state.items() if _same(tensor, state[name])]
        state |= dict.fromkeys(same, pruned)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_sparse(path, state, kept)
        return Size(_dense(state), path.stat().st_size)


def _dense(state: Mapping[str, Tensor]) -> int:
    once = {
        (t.data_ptr(), t.shape, t.stride()) if t.numel() else name: t for name, t in state.items()
    }
    return sum(
        t.numel() * (4 if t.is_floating_point() else t.element_size()) for t in once.values()
    )


def _same(first: Tensor, second: Tensor) -> bool:
    return (first.data_ptr(), first.shape, first.stride()) == (
        second.data_ptr(),
        second.shape,
        second.stride(),
    )
