"""L1 on the scales of batch norms, each as strong as what its channel costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor

from ..core.axes import wide
from ..core.component import register
from ..core.training import Weights
from ..core.types import Target
from .l1_bn import L1Bn


@register("priced-bn")
class PricedBn(L1Bn):
    """strength · Σ_t p_t Σ_u |γ_u|: strength · p_t · sign(γ_u), with p_t the price of a unit of target t:

        p_t = (cost of the network that is there − the same with one unit of t less) / mean price

    A unit is there while |γ_u| > `threshold` at any of its batch norms. For a convolution of n inputs and m
    outputs that are there, at C multiplications for each pair, an output's price is C n and an input's is
    C m, which are the factors of the paper. The mean price is that of all units in the whole network,
    so that `strength` compares with that of `l1-bn`.

    Attributes:
        strength: λ.
        what: the cost, `macs` or `parameters`.
        threshold: |γ| up to which a unit counts as gone.

    Paper: Gordon, Eban, Nachum, Chen, Wu, Yang, Choi 2018, arXiv 1711.06798. Its prices are not divided by
    a mean, and its strengths (about 1e-9 for operations) are accordingly small.
    """

    what: Literal["macs", "parameters"] = "macs"
    threshold: float = Field(default=0.01, ge=0, allow_inf_nan=False)

    @property
    def weighs(self) -> str:
        """As given."""
        return self.what

    def there(self, weights: Weights, targets: tuple[Target, ...]) -> dict[str, int]:
        """Units with a scale above the threshold."""
        return {t.name: int(self._alive(weights, t).sum()) for t in targets}

    def _alive(self, weights: Weights, target: Target) -> Tensor:
        """[units] bool."""
        scales = [m for m in target.members if m.role == "scale"]
        parts = [m.layout.matrix(weights[m.param]).abs().amax(1) for m in scales]
        largest = parts[0].to(wide(parts[0]))
        for part in parts[1:]:
            largest = largest.maximum(part.to(largest.dtype))
        return largest > self.threshold

    def price(self, target: Target, decided: Mapping[str, Tensor]) -> float:
        """p_t."""
        return float(decided[target.name])
