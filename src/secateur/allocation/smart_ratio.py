"""Smart ratios: densities that fall with depth, whatever the weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.axes import Allocator, View
from ..core.component import register
from ..core.density import share
from ..core.types import Groups, Scores
from .budget import alive, total


@register("smart-ratio")
class SmartRatio(Allocator):
    """density_l = min(1, c ((L − l + 1)² + (L − l + 1))) of layer l of L, total exact.

    Layers are counted from 1 in the order of the model; c is such that the total is
    round(density * n), so layers that would exceed 1 stay dense and the others make up for it.

    Paper: Su, Chen, Cai, Wu, Gao, Wang, Lee 2020, arXiv 2009.11094, for random masks before training;
    the last, linear layer keeps 30 % there. Here it is not pruned unless asked for, and then counts as
    any other.
    """

    @property
    def across_targets(self) -> bool:
        """A layer's share depends on how many there are."""
        return True

    @property
    def scopes(self) -> frozenset[str]:
        """A density per layer."""
        return frozenset({"tensor"})

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep, one group per target."""
        assert density is not None
        scale = torch.zeros(len(groups.size), dtype=torch.float64)
        for place, target in enumerate(view.targets):
            left = len(view.targets) - place  # L − l + 1
            scale[groups.first[target.name]] = left**2 + left
        return share(scale * groups.size, total(groups, density), alive(scores, groups))
