"""Smart ratios: densities that fall with depth, whatever the weights."""

from __future__ import annotations

from ..core.axes import View
from ..core.component import register
from .by_layer import ByLayer


@register("smart-ratio")
class SmartRatio(ByLayer):
    """density_l = min(1, c ((L − l + 1)² + (L − l + 1))) of layer l of L, total exact.

    Layers are counted from 1 in the order of the model; c is such that the total is
    round(density * n), so layers that would exceed 1 stay dense and the others make up for it.

    Paper: Su, Chen, Cai, Wu, Gao, Wang, Lee 2020, arXiv 2009.11094, for random masks before training;
    the last, linear layer keeps 30 % there. Here it is not pruned unless asked for, and then counts as
    any other.
    """

    def scales(self, view: View) -> list[float]:
        """From the first layer to the last."""
        left = range(len(view.targets), 0, -1)  # L − l + 1
        return [n**2 + n for n in left]
