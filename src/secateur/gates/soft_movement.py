"""Soft movement: scores against a threshold, and a penalty that lowers them."""

from __future__ import annotations

from pydantic import Field, model_validator
from torch import Tensor

from ..core.component import register
from ..core.errors import PlanError
from ..core.training import Learned
from ..core.types import Target
from .movement import Movement
from .rules import value


@register("soft-movement")
class SoftMovement(Movement):
    """factor = [σ(s) > τ_t]; to the loss comes λ_t · mean σ(s), a mean over layers of their means.

        τ_t = τ (1 - (1 - (t - begin) / (end - begin))³), λ_t = strength · τ_t / τ

    How much stays is found, not asked for: `strength` decides. Scored is σ(s) - τ_t, so that what is
    above zero stays.

    Attributes:
        threshold: τ.
        strength: λ at its full height.
        begin, end: shares of the training between which both rise.

    Paper: Sanh, Wolf, Rush 2020, arXiv 2005.07683, which writes the penalty as a sum over all scores.
    The mean, τ = 0.1 and strengths of a hundred and more are those of the official code, as is that both
    rise together.
    """

    threshold: float = Field(default=0.1, gt=0, lt=0.5)
    strength: float = Field(default=100.0, gt=0, allow_inf_nan=False)
    begin: float = Field(default=0.1, ge=0, lt=1)
    end: float = Field(default=0.8, gt=0, le=1)

    @model_validator(mode="after")
    def _sane(self) -> SoftMovement:
        if self.end <= self.begin:
            raise PlanError(
                f"gate 'soft-movement': end={self.end:g} is not after begin={self.begin:g}; both are "
                "shares of the training"
            )
        return self

    def rise(self, progress: float) -> float:
        """τ_t / τ."""
        done = min(1.0, max(0.0, (progress - self.begin) / (self.end - self.begin)))
        return 1 - (1 - done) ** 3

    def scores(self, learned: Learned, target: Target, progress: float) -> Tensor:
        """σ(s) - τ_t."""
        return learned[value(target.name)].sigmoid() - self.threshold * self.rise(progress)

    def pull(self, score: Tensor, progress: float, layers: int) -> Tensor:
        """λ_t σ'(s) / (n · layers), n the scores of the layer."""
        open_ = score.sigmoid()
        slope = open_ * (1 - open_) / (score.numel() * layers)
        return self.strength * self.rise(progress) * slope
