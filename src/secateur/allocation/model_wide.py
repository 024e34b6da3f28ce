"""Each layer its share of a ranking of the whole model, within bounds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.axes import Allocator, View
from ..core.component import register
from ..core.select import select
from ..core.types import Groups, Scores
from .budget import Cap, Floor, alive, check_possible, least, total


@register("model-wide")
class ModelWide(Allocator):
    """keep_g = units of group g among the k best of all groups together, k = round(density * n).

    With bounds, every group first gets the units its floor and cap guarantee, its best ones; the
    rest of k goes to the best of all others. So the total stays exact: what a bound withholds from
    pruning is pruned elsewhere. Without bounds this is scope `model` with `uniform`, unit for unit.

    Attributes:
        floor: the least to keep of each layer, a fraction below 1 or a number of units; a smaller
            layer stays whole.
        cap: the largest fraction of a layer that may be removed.
    """

    floor: Floor = 0.0
    cap: Cap = 1.0

    @property
    def across_targets(self) -> bool:
        """The ranking is that of the whole model."""
        return True

    @property
    def scopes(self) -> frozenset[str]:
        """Layers are what it shares out between."""
        return frozenset({"tensor"})

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep."""
        assert density is not None
        wanted, left = total(groups, density), alive(scores, groups)
        held = least(self.floor, self.cap, groups.size, left)
        check_possible(wanted, held, left, groups, f"allocator '{self}'")
        best = select(scores, groups, held)
        rest = {n: scores[n].masked_fill(best[n], -math.inf) for n in groups.layouts}
        others = select(rest, groups.merged(), torch.tensor([wanted - int(held.sum())]))
        return groups.count({n: best[n] | others[n] for n in groups.layouts})
