"""Gradients of units, written into gradients of parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ..core.axes import wide
from ..core.training import Weights
from ..core.types import Member, Target

Strength = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""The factor of a penalty; at 0 it would push nothing."""


class Gradients(dict[str, Tensor]):
    """Parameter -> gradient in float32 or wider, to which slices are added."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.weights = weights

    def add(self, member: Member, factor: Tensor | float) -> None:
        """Add factor · w to the member's slice; `factor` is one number, or one per unit [units]."""
        weight = self.weights[member.param]
        full = self.setdefault(member.param, torch.zeros_like(weight, dtype=wide(weight)))
        own = member.layout.view(weight).to(full.dtype)  # [lead..., rest...]
        if isinstance(factor, Tensor):
            ones = [1] * (own.dim() - member.layout.lead)
            factor = factor.to(own.dtype).reshape(*member.layout.lead_shape, *ones)
        member.layout.view(full).add_(factor * own)


def squares(weights: Weights, members: Iterable[Member]) -> Tensor:
    """[units] the sum of the squares of what each unit owns of the members."""
    parts = [m.layout.matrix(weights[m.param]) for m in members]
    return torch.stack([part.to(wide(part)).square().sum(1) for part in parts]).sum(0)


def tensors_of(weights: Weights, target: Target) -> dict[str, list[Member]]:
    """Members by tensor, without biases and norms: filters that write units, columns that read them."""
    found: dict[str, list[Member]] = {}
    for member in target.members:
        if weights[member.param].dim() > 1:
            found.setdefault(member.param, []).append(member)
    return found
