"""The mix of two kinds of units that is worth most within a budget."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..core.axes import View
from ..core.component import register
from ..core.cost import Cost, Costs
from ..core.errors import PlanError
from ..core.types import Groups, Scores, Target
from .budget import Floor, alive, least
from .budgeted import Budgeted


@register("knapsack")
class Knapsack(Budgeted):
    r"""keep = argmax Σ of the kept scores with cost(keep) ≤ limit, units ranked within their kind.

    For every number of units of the scarcer kind (heads) its best stay, and of the other kind
    (neurons) as many of the best as still fit; the pair with the largest Σ of scores is taken. Where
    all units of a kind save the same it is the best there is; a kind alone is ranked and cut. So no
    price is put on a head against a neuron. Scores must be comparable, and of one sign, across layers.
    Each layer first gets the units its floor guarantees.

    Of several updates each takes the same share of what is left (`Budgeted.due`).

    Attributes:
        limit, relative: the most that may be left (`Budgeted`).
        what: `macs`, `parameters` or `megabytes` (10^6 bytes of the state).
        floor: the least to keep of each layer, a fraction below 1 or a number of units.

    Paper: Kwon et al. 2022, arXiv 2204.09656, Algorithm 1, which lets a layer lose all its units.
    """

    what: Literal["macs", "parameters", "megabytes"] = "macs"
    floor: Floor = 1.0

    @property
    def scopes(self) -> frozenset[str]:
        """Layers are what it shares out between."""
        return frozenset({"tensor"})

    @property
    def weighs(self) -> frozenset[str]:
        """The cost of the budget."""
        return frozenset({self.what})

    def held(self, groups: Groups, left: Tensor, every: tuple[Target, ...]) -> Tensor:
        """[G] what the floor leaves."""
        return least(self.floor, 1.0, groups.size, left)

    def check(
        self, groups: Groups, density: float | None, targets: tuple[Target, ...], costs: Costs
    ) -> None:
        """Refuse more than two kinds, and a budget that is no restriction or below the floors."""
        kinds = list(dict.fromkeys(target.kind for target in targets))
        if len(kinds) > 2:
            raise PlanError(
                f"allocator 'knapsack' mixes two kinds of units, not {len(kinds)} ({', '.join(kinds)}); "
                "name two, or use allocator 'to-budget'"
            )
        cost = costs[self.what]
        self.check_less(cost)
        held = self.held(groups, groups.size, targets)
        self.check_possible(cost, cost(_counts(held, groups)))

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep."""
        cost, held = view.costs[self.what], self.held(groups, alive(scores, groups), view.every)
        self.check_possible(cost, cost(_counts(held, groups)))
        limit = self.due(cost, view.progress)
        kinds: dict[str, list[str]] = {}
        for target in view.targets:
            kinds.setdefault(target.kind, []).append(target.name)
        pools = [_ranked(scores, groups, names, held) for names in kinds.values()]
        return _best(sorted(pools, key=lambda pool: pool.most), cost, groups, limit)


@dataclass(frozen=True)
class Pool:
    """The units of one kind in the order in which they stay: those held first, then by score.

    Attributes:
        order: [units that are there] the group of each.
        worth: [1 + units] the sum of the scores of so many.
        fewest: how many are held.
    """

    order: Tensor
    worth: Tensor
    fewest: int

    @property
    def most(self) -> int:
        """How many there are."""
        return len(self.order)

    def keep(self, count: int, groups: Groups) -> Tensor:
        """[G] the `count` best, by group."""
        return self.order[:count].bincount(minlength=len(groups.size))


def _ranked(scores: Scores, groups: Groups, names: list[str], held: Tensor) -> Pool:
    """The pool of some targets; equal scores in the order of the network."""
    values, owners, first = [], [], []
    for name in names:
        group = groups.first[name]
        value = scores[name].flatten().double().cpu().sort(descending=True, stable=True).values
        value = value[value != -math.inf]
        values.append(value)
        owners.append(torch.full((len(value),), group))
        first.append(torch.arange(len(value)) < held[group])
    value, owner, safe = torch.cat(values), torch.cat(owners), torch.cat(first)
    order = value.masked_fill(safe, math.inf).argsort(descending=True, stable=True)
    worth = torch.cat([torch.zeros(1).double(), value[order].cumsum(0)])
    return Pool(owner[order], worth, int(safe.sum()))


def _best(pools: list[Pool], cost: Cost, groups: Groups, limit: float) -> Tensor:
    """[G] the numbers worth most; `pools` are one or two, the smaller first."""
    *few, many = pools
    best, worth = torch.zeros_like(groups.size), -math.inf
    for keep, value in _choices(few, groups):
        count = _fitting(keep, many, cost, groups, limit)
        if count is None:
            break  # one more of the first kind leaves no room for the other
        if value + float(many.worth[count]) > worth:
            worth = value + float(many.worth[count])
            best = keep + many.keep(count, groups)
    return best


def _choices(few: list[Pool], groups: Groups) -> Iterator[tuple[Tensor, float]]:
    """Every number of units of the first kind by group, and what it is worth."""
    if not few:
        yield torch.zeros_like(groups.size), 0.0
    for pool in few:
        for count in range(pool.fewest, pool.most + 1):
            yield pool.keep(count, groups), float(pool.worth[count])


def _fitting(keep: Tensor, many: Pool, cost: Cost, groups: Groups, limit: float) -> int | None:
    """The most units of the second kind beside `keep` of the first; None where none fit."""

    def fits(count: int) -> bool:
        return cost(_counts(keep + many.keep(count, groups), groups)) <= limit

    low, high = many.fewest, many.most + 1
    if not fits(low):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _counts(keep: Tensor, groups: Groups) -> dict[str, int]:
    return {name: int(keep[first]) for name, first in groups.first.items()}
