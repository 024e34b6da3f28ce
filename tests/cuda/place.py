"""The device under test, and how near it comes to the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from torch import Tensor, nn

DEVICE = os.environ.get("SECATEUR_TEST_DEVICE", "cuda")
"""`cpu` rehearses these tests where there is no GPU."""


def agreement(here: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> float:
    """The share of units on which two choices agree."""
    assert here.keys() == there.keys()
    same = sum(int((mask == there[name].to(mask.device)).sum()) for name, mask in here.items())
    return same / sum(mask.numel() for mask in here.values())


def kept(units: Mapping[str, Tensor]) -> int:
    return sum(int(mask.sum()) for mask in units.values())


def apart(here: nn.Module, there: nn.Module) -> float:
    """The largest distance of two networks' tensors, relative to the tensor's largest value."""
    other = there.state_dict()
    return max(
        float((value - other[name].to(value.device)).abs().max() / value.abs().max().clamp(1e-6))
        for name, value in here.state_dict().items()
        if value.is_floating_point() and value.numel()
    )


def placed_on(model: nn.Module, device: str) -> bool:
    """Whether every tensor of a network lies there."""
    tensors = (*model.parameters(), *model.buffers())
    return all(tensor.device.type == torch.device(device).type for tensor in tensors)
