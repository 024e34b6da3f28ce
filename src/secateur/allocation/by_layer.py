"""Densities of layers in fixed proportions, whatever the scores."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ..core.axes import Allocator, View
from ..core.density import share
from ..core.types import Groups, Scores
from .budget import alive, total


class ByLayer(Allocator):
    """density_l = min(1, c · scale_l), c such that the total is round(density * n).

    Layers that would exceed 1 stay dense and the others make up for it.
    """

    @property
    def across_targets(self) -> bool:
        """A layer's share depends on all of them."""
        return True

    @property
    def scopes(self) -> frozenset[str]:
        """A density per layer."""
        return frozenset({"tensor"})

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep, one group per target."""
        assert density is not None
        scale = torch.zeros(len(groups.size), dtype=torch.float64)
        for target, value in zip(view.targets, self.scales(view), strict=True):
            scale[groups.first[target.name]] = value
        return share(scale * groups.size, total(groups, density), alive(scores, groups))

    @abstractmethod
    def scales(self, view: View) -> list[float]:
        """Of each target of the view the density, up to the common factor c."""
