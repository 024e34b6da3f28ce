"""Movement: keep what training moves away from zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..core.component import register
from ..core.training import Draw, Gate, Learned, Moment
from ..core.types import Target
from .rules import adam, sgd, value


@register("movement")
class Movement(Gate):
    """factor = [s among the best], ∂L/∂s = Σ w · ∂L/∂(w · factor), s = 0 at the start.

    With plain gradient descent s = -lr · Σ_t w ∂L/∂w: a weight whose steps lead away from zero gains.
    Masked weights keep their value and get no gradient, but their scores do, so they may come back.
    A unit of several weights (a block) has one score, with the sum of their gradients.

    Shapes: one score per unit, [target.shape].

    Attributes:
        lr: of the scores; 1e-2 in the paper, beside 3e-5 for the weights of BERT.
        rule: how scores follow their gradient, `adam` as in the paper's runs or plain `sgd`.

    Paper: Sanh, Wolf, Rush 2020, arXiv 2005.07683; blocks: Lagunas, Charlaix, Sanh, Rush 2021, arXiv
    2109.04838. The official code trains scores with AdamW without decay, which is Adam.
    """

    lr: float = Field(default=1e-2, gt=0, allow_inf_nan=False)
    rule: Literal["adam", "sgd"] = "adam"

    @property
    def rate(self) -> float | None:
        """As given."""
        return self.lr

    def start(self, targets: tuple[Target, ...], draw: Draw) -> dict[str, Tensor]:
        """Zeros."""
        return {value(t.name): torch.zeros(t.shape) for t in targets}

    def scores(self, learned: Learned, target: Target, progress: float) -> Tensor:
        """s."""
        return learned[value(target.name)]

    def learn(
        self, learned: Learned, slopes: Mapping[str, Tensor], moment: Moment
    ) -> dict[str, Tensor]:
        """One step on every score."""
        state = dict(learned)
        for name, slope in slopes.items():
            gradient = slope + self.pull(learned[value(name)], moment.progress, len(slopes))
            if self.rule == "adam":
                adam(state, name, gradient, moment.lr)
            else:
                sgd(state, name, gradient, moment.lr, momentum=0.0, decay=0.0)
        return state

    def pull(self, score: Tensor, progress: float, layers: int) -> Tensor:
        """What is added to the gradient of the scores: nothing."""
        return torch.zeros_like(score)
