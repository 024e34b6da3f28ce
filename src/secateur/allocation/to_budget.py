"""As many units as a budget in work, size or time permits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ..core.axes import Allocator, Cost, Costs, View
from ..core.component import register
from ..core.errors import PlanError
from ..core.types import Groups, Scores, Target
from .amounts import What
from .budget import alive

log = logging.getLogger(__name__)

NEAR = 5e-3
"""A gap smaller than this share of the dense network is left as it is."""

STEPS = 16
"""How often layers whose next step is too dear are set aside."""

TOLERANCE = 0.03
"""How far a measured figure may be from its budget."""

ROUNDS = 6
"""How often a prediction is set right by what was measured."""


@register("to-budget")
class ToBudget(Allocator):
    """keep = inner(k / n) with the largest k such that cost(keep) <= limit, by bisection.

    The scores are taken once; a trial asks the inner allocator for its numbers and counts. A layer
    whose next step is too dear (a channel of the residual stream, eight channels of an early layer)
    stays as it is from there on, and the others go on growing as the inner allocator has them. A
    cost that is a prediction (milliseconds from a table) is measured end to end, and the limit is
    set right by the ratio until it is met within 3 %.

    Attributes:
        inner: the allocator that shares out, with the bounds it has.
        what: `macs`, `parameters`, `megabytes` (10^6 bytes of the state) or `latency` (milliseconds).
        limit: the most that may be left.
        relative: whether the limit is a fraction of what the network takes as it comes.
    """

    inner: Allocator
    what: What
    limit: float = Field(gt=0, allow_inf_nan=False)
    relative: bool = True

    def model_post_init(self, _: Any) -> None:
        """What would keep everything, or has nothing to ask for a number of units, is refused."""
        if self.relative and self.limit >= 1:
            raise PlanError(
                f"a budget of {self.limit:.0%} of the {self.what} is what the network takes already; "
                "give less than 100 %"
            )
        if not self.inner.uses_density:
            raise PlanError(
                f"allocator '{self.inner.name}' finds the density itself and cannot meet a budget"
            )

    @property
    def uses_density(self) -> bool:
        """The budget decides."""
        return False

    @property
    def across_targets(self) -> bool:
        """The budget is the whole network's."""
        return True

    @property
    def scopes(self) -> frozenset[str]:
        """Costs are those of widths."""
        return frozenset({"tensor"})

    @property
    def weighs(self) -> frozenset[str]:
        """The cost of the budget."""
        return frozenset({self.what})

    def required(self) -> frozenset[str]:
        """What the inner allocator needs."""
        return self.inner.required()

    def held(self, groups: Groups, left: Tensor, every: tuple[Target, ...]) -> Tensor:
        """[G] as the inner one."""
        return self.inner.held(groups, left, every)

    def check(
        self, groups: Groups, density: float | None, targets: tuple[Target, ...], costs: Costs
    ) -> None:
        """Refuse a budget that is no restriction, or that the bounds exclude."""
        self.inner.check(groups, 1.0, targets, costs)
        cost = costs[self.what]
        limit = self._limit(cost)
        if limit >= cost.whole:
            raise PlanError(
                f"a budget of {_said(limit, cost)} is no less than the {_said(cost.whole, cost)} that "
                "the network takes as it is; there is nothing to prune"
            )
        self._check_possible(cost, limit, groups, self.held(groups, groups.size, targets))

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep."""
        cost = view.costs[self.what]
        limit = aim = self._limit(cost)
        best, nearest = None, float("inf")
        tried: list[list[int]] = []
        held = self.inner.held(groups, alive(scores, groups), view.every)
        self._check_possible(cost, limit, groups, held)
        for _ in range(ROUNDS):
            keep = self._within(aim, cost, scores, groups, view)
            if keep.tolist() in tried:
                break
            tried.append(keep.tolist())
            found = cost.measured(_counts(groups, keep))
            if found is None:
                return keep
            if abs(found / limit - 1) < nearest:
                best, nearest = keep, abs(found / limit - 1)
            if nearest <= TOLERANCE / 2:
                break
            aim = cost(_counts(groups, keep)) * limit / found
        assert best is not None
        if nearest > TOLERANCE:
            log.warning(
                "a budget of %s was met within %.1f %%, no closer",
                _said(limit, cost),
                100 * nearest,
            )
        return best

    def _limit(self, cost: Cost) -> float:
        return self.limit * cost.whole if self.relative else self.limit

    def _within(self, aim: float, cost: Cost, scores: Scores, groups: Groups, view: View) -> Tensor:
        """[G] the most units whose cost is at most `aim`, as the inner allocator shares them out."""
        left, n = alive(scores, groups), int(groups.size.sum())
        best = self.inner.held(groups, left, view.every)
        if cost(_counts(groups, left)) <= aim:
            return left
        if cost(_counts(groups, best)) >= aim:
            return best
        low, most = int(best.sum()), left
        for _ in range(STEPS):
            trial = partial(self._trial, scores, groups, view, n, most)
            low, best, more = _largest(low, best, trial, int(left.sum()), cost, groups, aim)
            if more is None or aim - cost(_counts(groups, best)) <= NEAR * cost.whole:
                break
            most = torch.where(_too_dear(best, more, cost, groups, aim), best, most)
        return best

    def _trial(
        self, scores: Scores, groups: Groups, view: View, n: int, most: Tensor, k: int
    ) -> Tensor:
        """[G] the inner allocator's numbers for `k` units, none above `most`."""
        return self.inner.keep(scores, groups, k / n, view).minimum(most)

    def _check_possible(self, cost: Cost, limit: float, groups: Groups, held: Tensor) -> None:
        least = cost(_counts(groups, held))
        if least > limit:
            raise PlanError(
                f"a budget of {_said(limit, cost)} cannot be met: the fewest units that floors and "
                f"bounds permit leave {_said(least, cost)}, the closest possible. Ask for that or "
                "loosen the bounds"
            )


def _counts(groups: Groups, keep: Tensor) -> dict[str, int]:
    """Target -> units that stay; every target is one group."""
    return {name: int(keep[first]) for name, first in groups.first.items()}


def _largest(
    low: int,
    best: Tensor,
    trial: Callable[[int], Tensor],
    high: int,
    cost: Cost,
    groups: Groups,
    aim: float,
) -> tuple[int, Tensor, Tensor | None]:
    """(k, numbers that fit, the next ones that do not) by bisection; `best` at `low` fits.

    The last is None where all `high` units fit.
    """
    more: Tensor | None = None
    tried = trial(high)
    if cost(_counts(groups, tried)) <= aim:
        return high, tried, None
    more = tried
    while high - low > 1:
        middle = (low + high) // 2
        tried = trial(middle)
        if cost(_counts(groups, tried)) <= aim:
            low, best = middle, tried
        else:
            high, more = middle, tried
    return low, best, more


def _too_dear(best: Tensor, more: Tensor, cost: Cost, groups: Groups, aim: float) -> Tensor:
    """[G] groups whose step from `best` to `more` does not fit alone; if each fits, the dearest."""
    dear = torch.zeros(len(best), dtype=torch.bool)
    prices = {}
    for g in (more > best).nonzero()[:, 0].tolist():
        raised = torch.where(torch.arange(len(best)) == g, more, best)
        prices[g] = cost(_counts(groups, raised))
        dear[g] = prices[g] > aim
    if prices and not bool(dear.any()):
        dear[max(prices, key=lambda g: prices[g])] = True
    return dear


def _said(value: float, cost: Cost) -> str:
    number = f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
    return f"{number} {cost.unit} ({value / cost.whole:.1%})"
