"""Han's threshold: what lies within a multiple of the layer's standard deviation goes."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.axes import Allocator, View, wide
from ..core.component import register
from ..core.errors import PlanError
from ..core.types import Groups, Scores, Target


@register("std-threshold")
class StdThreshold(Allocator):
    """keep_l = number of surviving weights w of layer l with |w| > quality * std(survivors of l).

    std is the population's, sqrt(mean((w - mean w)²)), over what survives so far, so every round
    prunes again. It names numbers only: with the magnitude criterion exactly the weights above the
    threshold stay. A layer that would lose everything keeps one weight. The density is found, not
    asked for; use schedule `repeat`.

    Attributes:
        quality: the multiple; larger removes more.

    Paper: Han et al. 2015, arXiv 1506.02626 (quality parameter times standard deviation).
    """

    quality: float = Field(default=1.0, ge=0, allow_inf_nan=False)

    @property
    def uses_density(self) -> bool:
        """The threshold decides."""
        return False

    @property
    def scopes(self) -> frozenset[str]:
        """A threshold per layer."""
        return frozenset({"tensor"})

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] weights to keep, one group per target."""
        keep = torch.zeros(len(groups.size), dtype=torch.long)
        for target in view.targets:
            keep[groups.first[target.name]] = self._count(target, view)
        return keep

    def _count(self, target: Target, view: View) -> int:
        """Surviving weights above the threshold, at least one of those that are left."""
        if len(target.members) != 1 or target.members[0].layout.size != 1:
            raise PlanError(
                f"allocator 'std-threshold' speaks of single weights; '{target.name}' has "
                f"{target.kind}. Use structure 'weights'"
            )
        param = target.members[0].param
        weight = view.weight(param)
        left = weight[view.alive(param)]  # [survivors]
        left = left.to(wide(left))
        if not len(left):
            return 0
        return max(1, int((left.abs() > self.quality * left.std(correction=0)).sum()))
