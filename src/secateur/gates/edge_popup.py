"""Edge-popup: find a network inside random weights that never change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..core.component import register
from ..core.training import Draw, Gate, Learned, Moment
from ..core.types import Target
from .rules import sgd, value


@register("edge-popup")
class EdgePopup(Gate):
    """factor = [|s| among the best], ∂L/∂s = sign(s) · w · ∂L/∂(w · factor); the weights stay.

    The selection passes the gradient straight through, to chosen and unchosen alike, so an edge that
    is out comes back where the loss asks for it. Scores begin as U(-b, b), b = 1 / √fan_in, and follow
    SGD with momentum.

    Shapes: one score per unit, [target.shape].

    Attributes:
        lr: of the scores; None = the training's, as in the paper.
        momentum: of the scores.
        weight_decay: of the scores.

    Paper: Ramanujan, Wortsman, Kembhavi, Farhadi, Rastegari 2020, arXiv 1911.13299. The scores' first
    values and their absolute value are those of the official code (Kaiming uniform with a = √5).
    """

    trains: ClassVar[bool] = False

    lr: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0, allow_inf_nan=False)

    @property
    def rate(self) -> float | None:
        """As given."""
        return self.lr

    def start(self, targets: tuple[Target, ...], draw: Draw) -> dict[str, Tensor]:
        """Random scores."""
        out = {}
        for target in targets:
            rand = torch.rand(target.shape, generator=draw("score", target.name))
            out[value(target.name)] = (2 * rand - 1) / math.sqrt(fan_in(target))
        return out

    def scores(self, learned: Learned, target: Target, progress: float) -> Tensor:
        """|s|."""
        return learned[value(target.name)].abs()

    def learn(
        self, learned: Learned, slopes: Mapping[str, Tensor], moment: Moment
    ) -> dict[str, Tensor]:
        """One step of SGD on every score."""
        state = dict(learned)
        for name, slope in slopes.items():
            gradient = slope * learned[value(name)].sign()
            sgd(state, name, gradient, moment.lr, self.momentum, self.weight_decay)
        return state


def fan_in(target: Target) -> int:
    """Units that one output of the target has; all of them where its grid names no outputs."""
    inner = [n for n, dim in zip(target.shape, target.dims, strict=False) if dim not in OUTER]
    return math.prod(inner) if inner else target.units


OUTER = ("out", "expert")
