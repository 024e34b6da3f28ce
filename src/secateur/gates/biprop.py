"""Binarise and prune: edge-popup whose network computes with signs and one number per layer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..core.component import register
from ..core.types import Target
from .checks import single_weights
from .edge_popup import EdgePopup


@register("biprop")
class Biprop(EdgePopup):
    """The network computes with α · sign(w) · m, where `edge-popup` has w · m:

        α = Σ m |w| / Σ m

    over the group of the recipe's scope, or the part of it that lies in one layer: of all numbers the one
    that brings α · sign(w) · m nearest to w · m. Scores follow ∂L/∂s = sign(s) · w · ∂L/∂(α sign(w) m), as
    there. At the end the weights are ± α and zero, to the bit.

    Shapes: one score per weight, [target.shape].

    Attributes:
        lr, momentum, weight_decay: of the scores, as in `edge-popup`.

    Paper: Diffenderfer & Kailkhura 2021, arXiv 2103.09377. That the slope of a score has |w|, not α, in it
    is the official code's; its α divides by the number that should stay, which may differ by one from
    the number that does.
    """

    graded: ClassVar[bool] = True
    rewrites: ClassVar[bool] = True

    def check(self, targets: tuple[Target, ...]) -> None:
        """A sign is that of a single weight."""
        super().check(targets)
        single_weights(self.name, targets, "gate 'edge-popup'")

    def grade(self, kept: Tensor, square: Tensor) -> Tensor:
        """m · α / |w|, zero where w is."""
        size = square.sqrt()
        return torch.where(kept & (size > 0), gain(kept, size) / size, 0)

    def rewrite(self, kept: Tensor, weight: Tensor) -> Tensor:
        """α · sign(w) · m."""
        return torch.where(kept, gain(kept, weight.abs()) * weight.sign(), 0)


def gain(kept: Tensor, size: Tensor) -> Tensor:
    """[groups, 1] α: the mean size of what each group keeps; 0 where it keeps nothing."""
    return (size * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp(min=1)
