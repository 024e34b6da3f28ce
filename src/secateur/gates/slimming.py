"""Slimming coefficients: one factor for every unit, pulled towards zero, that ranks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor

from ..core.component import register
from ..core.training import Learned, Moment
from ..core.types import Target
from .factors import Factors
from .rules import adam, sgd, value


@register("slimming")
class Slimming(Factors):
    """factor = c, 1 at the start, that multiplies what later layers read; loss + strength · Σ |c|.

    ∂/∂c = Σ w ∂L/∂(w · c) + strength · sign(c), 0 at 0. A unit's score is |c|. What is left of c at the end
    is multiplied into the weights.

    Shapes: one factor per unit, [target.shape].

    Attributes:
        lr: of the factors; None = the training's, as in the paper.
        strength: λ, 1e-4 in the paper for heads and neurons alike.
        rule: how factors follow their gradient, by `adam` or plain `sgd`.

    Paper: Chen, Cheng, Wang, Gan, Wang, Liu 2021, arXiv 2101.00063. Its code trains coefficients with the
    weights by AdamW.
    """

    strength: float = Field(default=1e-4, ge=0, allow_inf_nan=False)
    rule: Literal["adam", "sgd"] = "adam"

    def scores(self, learned: Learned, target: Target, progress: float) -> Tensor:
        """|c|."""
        return learned[value(target.name)].abs()

    def learn(
        self, learned: Learned, slopes: Mapping[str, Tensor], moment: Moment
    ) -> dict[str, Tensor]:
        """One step on every factor."""
        state = dict(learned)
        for name, slope in slopes.items():
            gradient = slope + self.strength * learned[value(name)].sign()
            if self.rule == "adam":
                adam(state, name, gradient, moment.lr)
            else:
                sgd(state, name, gradient, moment.lr, momentum=0.0, decay=0.0)
        return state
