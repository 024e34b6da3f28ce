"""Sparse structure selection: scaling factors that a proximal step sets to exactly zero."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from ..core.component import register
from ..core.training import Draw, Learned, Moment
from ..core.types import Target
from .factors import Factors
from .rules import value


@register("scaling")
class Scaling(Factors):
    """factor = a, 1 at the start; loss + strength · Σ a, by accelerated proximal gradient steps of size η:

        z = S(a - η ∂L/∂a, η · strength), v <- z - a + momentum · v, a <- max(0, z + momentum · v)

    with S(x, t) = sign(x) max(0, |x| - t). What has reached zero is off; what is left of a is multiplied into
    what later layers read.

    Shapes: one factor per unit, [target.shape].

    Attributes:
        lr: η; None = the training's, as in the paper.
        strength: γ of the paper, 0.01 for most of its networks.
        momentum: μ.

    Paper: Huang & Wang 2018, arXiv 1707.01213. That factors are held at zero or above, and do not decay,
    is taken from the official code.
    """

    strength: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)

    def start(self, targets: tuple[Target, ...], draw: Draw) -> dict[str, Tensor]:
        """Ones, at rest."""
        ones = super().start(targets, draw)
        return ones | {f"momentum/{t.name}": torch.zeros(t.shape) for t in targets}

    def scores(self, learned: Learned, target: Target, progress: float) -> Tensor:
        """a: above 0 where the unit is on."""
        return learned[value(target.name)]

    def learn(
        self, learned: Learned, slopes: Mapping[str, Tensor], moment: Moment
    ) -> dict[str, Tensor]:
        """One proximal step on every factor."""
        state = dict(learned)
        for name, slope in slopes.items():
            a, speed = state[value(name)], state[f"momentum/{name}"]
            x = a - moment.lr * slope
            z = x.sign() * (x.abs() - moment.lr * self.strength).clamp(min=0)
            speed = z - a + self.momentum * speed
            state |= {
                value(name): (z + self.momentum * speed).clamp(min=0),
                f"momentum/{name}": speed,
            }
        return state
