"""Masks: the network as it is, with zeros where the masks say so."""

from __future__ import annotations

import torch
from torch import nn

from ..core.axes import Materialiser
from ..core.component import register
from ..core.types import Masks as UnitMasks
from ..core.types import Target, element_masks
from ..core.zeroing import zero


@register("masks")
class Masks(Materialiser):
    """w <- m · w for every parameter and buffer that a target owns; nothing changes its shape.

    Zeros are written into `model` itself, in place. A NaN under a mask becomes zero as well.
    For masks that hold while the network goes on training, see `HardMasks`.
    """

    def apply(self, model: nn.Module, targets: tuple[Target, ...], masks: UnitMasks) -> nn.Module:
        """The same model, with zeros at what the masks drop."""
        tensors = {**dict(model.named_buffers()), **dict(model.named_parameters())}
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        with torch.no_grad():
            for name, keep in element_masks(targets, masks, shapes).items():
                zero(tensors[name].detach(), keep)
        return model
