"""He's initialisation for rectifiers, with one magnitude for all weights or without."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.component import register
from ..core.training import Initial


@register("kaiming")
class Kaiming(Initial):
    """w ~ N(0, σ²), or w = ± σ at even odds with `signed`; σ = √(2 / fan_in).

    Attributes:
        signed: constant magnitude, random sign.

    Paper: He, Zhang, Ren, Sun 2015, arXiv 1502.01852; signed constants: Ramanujan et al. 2020, arXiv
    1911.13299.
    """

    signed: bool = False

    def weights(self, shape: tuple[int, ...], fan_in: int, rng: torch.Generator) -> Tensor:
        """Drawn anew."""
        normal = torch.randn(shape, generator=rng)
        values = torch.where(normal < 0, -1.0, 1.0) if self.signed else normal
        return math.sqrt(2 / fan_in) * values
