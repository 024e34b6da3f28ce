"""Variational channel pruning: every scale of a batch norm is a Gaussian, pulled towards zero."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..core.component import register
from ..core.errors import PlanError
from ..core.training import Draw, Gate, Learned, Moment
from ..core.types import Member, Target
from .rules import State, adam, value

NARROW, WIDE = math.log(1e-4), math.log(10.0)
"""Between which log σ stays."""
SPREAD = "#spread/"
"""Before a target's name: its log σ."""


@register("variational")
class Variational(Gate):
    """s ~ N(μ, σ²) for each channel and step multiplies its norm, scale and shift alike: s · (γ x̂ + β).

        loss + strength · mean_u KL_u,   KL(N(μ, σ²) ‖ N(0, σ²)) = μ² / (2 σ²)

    The prior is centred on zero and as wide as the posterior. With s = μ + σ ε the slopes are ∂L/∂s for
    μ and ∂L/∂s · ε σ for log σ, μ / σ² and - μ² / σ² those of KL. μ = 1 and σ = `spread` at the start, and
    μ and log σ follow Adam. A channel is judged by the posterior of its scale s γ:

        s_u = max(|μ γ| / τ, σ |γ| / θ) - 1

    so that below 0 are those whose mean is near zero and whose deviation is small. At the end γ and β are
    multiplied by μ.

    Shapes: one μ and one log σ per unit, [target.shape].

    Attributes:
        lr: of μ and log σ.
        strength: λ. A variational lower bound has the number of channels over that of training samples.
        spread: σ at the start, as a share of the scale.
        mean, deviation: τ and θ, in scales of the norm.

    Paper: Zhao, Ni, Zhang, Zhao, Zhang, Tian 2019, CVPR, DOI 10.1109/cvpr.2019.00289. It writes
    γ (x̂ + β̃) with one Gaussian for γ; that is the Gaussian of s γ here, with β̃ = β / γ, which is huge
    where a trained network has a small γ. There is no official code; prior, τ and θ are those of an
    independent one.
    """

    masked: ClassVar[bool] = False
    scales: ClassVar[bool] = True

    lr: float = Field(default=0.02, gt=0, allow_inf_nan=False)
    strength: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    spread: float = Field(default=0.1, ge=1e-4, le=10)
    mean: float = Field(default=0.02, gt=0, allow_inf_nan=False)
    deviation: float = Field(default=0.01, gt=0, allow_inf_nan=False)

    @property
    def rate(self) -> float | None:
        """As given."""
        return self.lr

    def acts(self, member: Member) -> bool:
        """On scales and shifts of batch norms."""
        return member.role != ""

    def check(self, targets: tuple[Target, ...]) -> None:
        """Every target needs a batch norm, whose scale is what the posterior is of."""
        without = [t.name for t in targets if all(m.role != "scale" for m in t.members)]
        if without:
            raise PlanError(
                f"gate '{self.name}' learns a distribution of the scales of batch norms; "
                f"{len(without)} structures have none, among them '{without[0]}'. Leave them out "
                "(exclude), or use gate 'hard-concrete'"
            )

    def start(self, targets: tuple[Target, ...], draw: Draw) -> dict[str, Tensor]:
        """μ = 1, σ = `spread`."""
        out: State = {}
        for target in targets:
            out[value(target.name)] = torch.ones(target.shape)
            out[value(SPREAD + target.name)] = torch.full(target.shape, math.log(self.spread))
        return out

    def scores(self, learned: Learned, target: Target, progress: float) -> Tensor:
        """max(|μ γ| / τ, σ |γ| / θ) - 1: above 0 where the channel stays."""
        mean = learned[value(target.name)].abs() / self.mean
        deviation = learned[value(SPREAD + target.name)].exp() / self.deviation
        scale = learned[f"scale/{target.name}"].abs()
        return torch.maximum(mean, deviation) * scale - 1

    def factor(self, learned: Learned, target: Target, draw: Draw) -> Tensor:
        """This step's sample μ + σ ε."""
        mean, log_spread = learned[value(target.name)], learned[value(SPREAD + target.name)]
        return mean + log_spread.exp() * noise(draw, target.name, mean)

    def final(self, learned: Learned, target: Target) -> Tensor:
        """μ."""
        return learned[value(target.name)]

    def learn(
        self, learned: Learned, slopes: Mapping[str, Tensor], moment: Moment
    ) -> dict[str, Tensor]:
        """One step of Adam on every μ and log σ."""
        state = dict(learned)
        weight = self.strength / sum(slope.numel() for slope in slopes.values())
        for name, slope in slopes.items():
            mean, log_spread = state[value(name)], state[value(SPREAD + name)]
            sigma = log_spread.exp()
            moved = slope * noise(moment.draw, name, mean) * sigma
            ratio = (mean / sigma).square()
            adam(state, name, slope + weight * mean / sigma.square(), moment.lr)
            adam(state, SPREAD + name, moved - weight * ratio, moment.lr)
            state[value(SPREAD + name)] = state[value(SPREAD + name)].clamp(NARROW, WIDE)
        return state


def noise(draw: Draw, name: str, like: Tensor) -> Tensor:
    """ε of a step: drawn by a generator that gives the same whenever the step asks."""
    return torch.randn(like.shape, generator=draw("noise", name)).to(like)
