"""Sparse-refined straight-through: dense weights train behind their own mask."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from ..core.component import register
from ..core.training import Gate


@register("sr-ste")
class SrSte(Gate):
    """The gradient of w is ∂L/∂(w · m) + strength · (1 - m) · w, m the mask of this step's weights.

    The first term passes the mask straight through: weights that are out move as if they were in. The
    second shrinks them, which keeps the mask from flapping. There are no scores: the criterion judges
    the weights as they are at each step.

    Attributes:
        strength: λ of the paper, 2e-4.

    Paper: Zhou, Ma, Zhu, Liu, Zhang, Yuan, Sun, Li 2021, arXiv 2102.04010.
    """

    learns: ClassVar[bool] = False

    strength: float = Field(default=2e-4, ge=0, allow_inf_nan=False)

    def passes(self, gradient: Tensor, weight: Tensor, factor: Tensor) -> Tensor:
        """The gradient as it is, and a pull towards zero on what is out."""
        return gradient + self.strength * (1 - factor) * weight
