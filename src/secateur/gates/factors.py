"""Gates that learn one factor for every unit and multiply it in."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..core.training import Draw, Gate, Learned
from ..core.types import Target
from .rules import value


class Factors(Gate):
    """One factor per unit, [target.shape], 1 at the start, that multiplies what later layers read.

    Attributes:
        lr: of the factors; None = the training's.
    """

    masked: ClassVar[bool] = False
    reads: ClassVar[bool] = True

    lr: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @property
    def rate(self) -> float | None:
        """As given."""
        return self.lr

    def start(self, targets: tuple[Target, ...], draw: Draw) -> dict[str, Tensor]:
        """Ones."""
        return {value(t.name): torch.ones(t.shape) for t in targets}

    def factor(self, learned: Learned, target: Target, draw: Draw) -> Tensor:
        """As it is by now."""
        return learned[value(target.name)]

    def final(self, learned: Learned, target: Target) -> Tensor:
        """As it is at the end."""
        return learned[value(target.name)]
