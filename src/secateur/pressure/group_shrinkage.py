"""Shrinkage of coupled units, the stronger the smaller they are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from ..core.component import register
from ..core.training import Pressure, Weights
from ..core.types import Target
from .gradients import Gradients, Strength, squares


@register("group-shrinkage")
class GroupShrinkage(Pressure):
    """strength · ½ Σ_u γ_u I_u, I_u = Σ w_u² over all members: strength · γ_u · w.

        γ_u = 2^(alpha · (I_max - I_u) / (I_max - I_min)), 1 for the largest unit, 2^alpha for the
        smallest; γ counts as a constant.

    Weights of layers and scales of batch norms count and are pushed; biases and shifts are not. Where
    all units are equal γ = 1.

    Attributes:
        strength: λ.
        alpha: how much harder small units are pushed than large ones.

    Paper: Fang, Ma, Song, Mi, Wang 2023, arXiv 2301.12900 (sparsity learning, α = 4). The paper's
    penalty has no ½; as in the official code it is left to λ. That code has √I in γ in place of I, where
    I is averaged over the layers, and earlier versions of it pushed by w / ‖w_u‖ instead.
    """

    strength: Strength = 1e-4
    alpha: float = Field(default=4.0, ge=0, le=64)

    def gradient(
        self,
        weights: Weights,
        targets: tuple[Target, ...],
        progress: float,
        decided: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """strength · γ_u · w; the same at all times."""
        out = Gradients(weights)
        for target in targets:
            pushed = [m for m in target.members if m.role == "scale" or weights[m.param].dim() > 1]
            size = squares(weights, pushed)  # [units]
            span = size.max() - size.min()
            share = torch.where(span > 0, (size.max() - size) / span, 0.0)
            for member in pushed:
                out.add(member, self.strength * torch.exp2(self.alpha * share))
        return dict(out)
