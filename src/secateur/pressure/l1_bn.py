"""L1 on the scales of batch norms."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..core.axes import wide
from ..core.component import register
from ..core.errors import PlanError
from ..core.training import Pressure, Weights
from ..core.types import Target
from .gradients import Strength


@register("l1-bn")
class L1Bn(Pressure):
    """strength · Σ |γ_u| over the batch-norm scales of all units: strength · sign(γ_u), 0 at 0.

    Attributes:
        strength: λ; the paper takes 1e-4 for VGG and 1e-5 for ResNet and DenseNet on CIFAR.

    Paper: Liu, Li, Shen, Huang, Yan, Zhang 2017, arXiv 1708.06519. The official code too adds the
    subgradient by hand, after the backward pass.
    """

    strength: Strength = 1e-4

    def price(self, target: Target, decided: Mapping[str, Tensor]) -> float:
        """What |γ| of the target's units is multiplied by: 1."""
        return 1.0

    def check(self, targets: tuple[Target, ...]) -> None:
        """Every target needs a batch norm, or its units would be judged by what nobody pushed."""
        without = [t.name for t in targets if all(m.role != "scale" for m in t.members)]
        if without:
            raise PlanError(
                f"pressure '{self.name}' pushes the scales of batch norms; {len(without)} structures have "
                f"none, among them '{without[0]}'. Leave them out, or use pressure 'group-lasso'"
            )

    def gradient(
        self,
        weights: Weights,
        targets: tuple[Target, ...],
        progress: float,
        decided: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """strength · sign(γ); the same at all times."""
        out: dict[str, Tensor] = {}
        for target in targets:
            push = self.strength * self.price(target, decided)
            for member in (m for m in target.members if m.role == "scale"):
                scale = weights[member.param]
                full = out.setdefault(member.param, torch.zeros_like(scale, dtype=wide(scale)))
                sign = member.layout.view(scale).sign().to(full.dtype)
                member.layout.view(full).copy_(push * sign)
        return out
