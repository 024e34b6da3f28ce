"""One stretch of neighbours: what goes lies together."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.axes import Allocator, View
from ..core.component import register
from ..core.types import Groups, Scores
from .budget import alive, total


@register("contiguous")
class Contiguous(Allocator):
    """keep_g = units of group g outside the window of r neighbours with the smallest sum of scores.

    r: what has to go for round(density * n) to stay. Neighbours are units that follow each other in
    the order of the network, over all targets; those that are gone already do not count. Of equal
    windows the last one goes. Meant for layers, which are groups of one unit each: a deep model
    loses one stretch of layers, as in Gromov et al. 2024 (arXiv 2403.17887), instead of the least
    ones wherever they are.
    """

    @property
    def scopes(self) -> frozenset[str]:
        """One group for all would say how many go, not which."""
        return frozenset({"tensor"})

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep."""
        assert density is not None
        order = list(groups.layouts)
        flat = torch.cat([scores[name].detach().flatten().double().cpu() for name in order])
        left = (flat != -math.inf).nonzero()[:, 0]
        length = int(alive(scores, groups).sum()) - total(groups, density)
        kept = flat != -math.inf
        if length > 0:
            sums = flat[left].unfold(0, length, 1).sum(1)  # [windows]
            start = len(sums) - 1 - int(sums.flip(0).argmin())
            kept[left[start : start + length]] = False
        parts = kept.split([scores[name].numel() for name in order])
        return groups.count({n: p.view(scores[n].shape) for n, p in zip(order, parts, strict=True)})
