"""Each layer its share of a ranking of the whole model, within bounds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.axes import Allocator, View
from ..core.component import register
from ..core.cost import Costs
from ..core.density import share
from ..core.layout import one_group
from ..core.select import select
from ..core.types import Groups, Scores, Target
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
        by_kind: rank neurons among neurons, heads among heads: every kind of target keeps the same
            share, as far as the bounds let it.
    """

    floor: Floor = 0.0
    cap: Cap = 1.0
    by_kind: bool = False

    @property
    def across_targets(self) -> bool:
        """The ranking is that of the whole model."""
        return True

    @property
    def scopes(self) -> frozenset[str]:
        """Layers are what it shares out between."""
        return frozenset({"tensor"})

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
        pools = _pools(groups, view) if self.by_kind else [list(groups.layouts)]
        return pooled(scores, groups, density, (self.floor, self.cap), pools, str(self))


def pooled(
    scores: Scores,
    groups: Groups,
    density: float,
    bounds: tuple[float, float],
    pools: list[list[str]],
    who: str,
) -> Tensor:
    """[G] units to keep: one ranking for each pool of targets, within the bounds of every layer."""
    wanted, left = total(groups, density), alive(scores, groups)
    held = least(*bounds, groups.size, left)
    check_possible(wanted, held, left, groups, f"allocator '{who}'")
    best = select(scores, groups, held)
    rest = {n: scores[n].masked_fill(best[n], -math.inf) for n in groups.layouts}
    each = _budgets(groups, pools, wanted, held, left)
    for names, count in zip(pools, each.tolist(), strict=True):
        others = select(rest, _joined(groups, names), torch.tensor([count]))
        best |= {n: best[n] | others[n] for n in names}
    return groups.count(best)


def _pools(groups: Groups, view: View) -> list[list[str]]:
    """Names of the targets of each kind."""
    pools: dict[str, list[str]] = {}
    for target in view.targets:
        pools.setdefault(target.kind, []).append(target.name)
    return list(pools.values())


def _joined(groups: Groups, names: list[str]) -> Groups:
    """All units of some targets as one group."""
    layouts = {n: one_group(groups.layouts[n].shape) for n in names}
    size = sum(int(groups.size[groups.first[n]]) for n in names)
    return Groups(layouts, dict.fromkeys(names, 0), torch.tensor([size]))


def _budgets(
    groups: Groups, pools: list[list[str]], wanted: int, held: Tensor, left: Tensor
) -> Tensor:
    """[pools] units to keep beyond those held; in proportion to the pools' sizes."""
    ids = [torch.tensor([groups.first[n] for n in names]) for names in pools]
    size, floor, ceiling = (
        torch.stack([of[i].sum() for i in ids]) for of in (groups.size, held, left)
    )
    return share(size.double() * wanted / int(size.sum()), wanted, ceiling, floor) - floor
