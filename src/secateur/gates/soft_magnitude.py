"""Masks that are soft near the threshold: weights on its two sides still tell how they would do."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..core.component import register
from ..core.training import Gate
from ..core.types import Target
from .checks import single_weights


@register("soft-magnitude")
class SoftMagnitude(Gate):
    """factor = exp(w² / τ) / (exp(w² / τ) + exp(t² / τ)) = σ((w² - t²) / τ), τ = `temperature`.

    t lies half-way between the smallest weight that this step's selection keeps and the largest that it
    drops, so that the factor is ½ at the threshold and the selection's own mask far from it. Nothing
    is learned beside the weights, which follow the derivative of w · factor:

        ∂(w m) / ∂w = m + 2 w² m (1 - m) / τ

    with t held constant. Where a group keeps all, m = 1, where it drops all, m = 0. The group is that
    of the recipe's scope (N of M weights), or the part of it that lies in one layer.

    Attributes:
        temperature: τ, 1e-4 in the paper.

    Paper: Cho, Adya, Naik 2023, arXiv 2305.11203.
    """

    learns: ClassVar[bool] = False
    graded: ClassVar[bool] = True

    temperature: float = Field(default=1e-4, gt=0, allow_inf_nan=False)

    def check(self, targets: tuple[Target, ...]) -> None:
        """Only single weights have a w of their own."""
        super().check(targets)
        single_weights(self.name, targets, "gate 'hard-concrete'")

    def grade(self, kept: Tensor, square: Tensor) -> Tensor:
        """[groups, n] m from this step's masks and w²."""
        least = square.masked_fill(~kept, torch.inf).amin(1, keepdim=True)  # of those kept
        most = square.masked_fill(kept, 0).amax(1, keepdim=True)  # of those dropped
        t = (least.sqrt() + most.sqrt()) / 2
        m = ((square - t.square()) / self.temperature).sigmoid()
        m = torch.where(kept.any(1, keepdim=True), m, 0)
        return torch.where(kept.all(1, keepdim=True), 1, m)

    def passes(self, gradient: Tensor, weight: Tensor, factor: Tensor) -> Tensor:
        """g · (m + 2 w² m (1 - m) / τ)."""
        slope = 2 * weight.square() * factor * (1 - factor) / self.temperature
        return gradient * (factor + slope)
