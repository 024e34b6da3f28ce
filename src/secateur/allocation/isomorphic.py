"""Rankings among structures of one make: channels against channels, heads against heads."""

from __future__ import annotations

from collections.abc import Hashable

from torch import Tensor

from ..core.axes import Allocator, View
from ..core.component import register
from ..core.cost import Costs
from ..core.types import Groups, Scores, Target
from .budget import Cap, Floor, check_possible, least, total
from .model_wide import pooled


@register("isomorphic")
class Isomorphic(Allocator):
    """keep_g = units of group g among the k_c best of its class c, k_c = round(density * n_c).

    Two structures are of one class when they are of one kind and run through the same sequence of
    tensors, whatever their sizes: as many dimensions, the unit written or read along the same one.
    Scores of different makes (a block's inner channels, a residual stream, heads) are never
    compared. The total is exact; within a class layers share as under `model-wide`.

    Attributes:
        floor: the least to keep of each layer, a fraction below 1 or a number of units.
        cap: the largest fraction of a layer that may be removed.

    Paper: Fang, Ma, Mi, Wang 2024, arXiv 2407.04616, which compares whole graphs of operators.
    """

    floor: Floor = 0.0
    cap: Cap = 1.0

    @property
    def scopes(self) -> frozenset[str]:
        """Layers are what it shares out between."""
        return frozenset({"tensor"})

    @property
    def across_targets(self) -> bool:
        """Every ranking is one over several layers."""
        return True

    def check(
        self, groups: Groups, density: float | None, targets: tuple[Target, ...], costs: Costs
    ) -> None:
        """Refuse a density that floor and cap exclude."""
        assert density is not None
        held = least(self.floor, self.cap, groups.size, groups.size)
        wanted = total(groups, density)
        check_possible(wanted, held, groups.size, groups, f"allocator '{self}'")

    def held(self, groups: Groups, left: Tensor, every: tuple[Target, ...]) -> Tensor:
        """[G] what floor and cap leave."""
        return least(self.floor, self.cap, groups.size, left)

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep."""
        assert density is not None
        classes: dict[Hashable, list[str]] = {}
        for target in view.targets:
            classes.setdefault(make_of(target, view), []).append(target.name)
        pools, bounds = list(classes.values()), (self.floor, self.cap)
        return pooled(scores, groups, density, bounds, pools, str(self))


def make_of(target: Target, view: View) -> Hashable:
    """What makes structures comparable: the kind, and the tensors a unit runs through."""
    tensors = ((view.weight(m.param).dim(), m.reads) for m in target.members)
    return target.kind, tuple(tensors)
