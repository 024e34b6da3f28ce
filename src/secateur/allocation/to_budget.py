"""As many units as a budget in work, size or time permits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.axes import Allocator, View
from ..core.component import register
from ..core.cost import Cost, Costs
from ..core.errors import PlanError
from ..core.select import select
from ..core.types import Groups, Scores, Target
from .amounts import What
from .budget import alive
from .budgeted import Budgeted, said
from .layers import Layers
from .priced import Priced
from .searcher import Searcher
from .uniform import Uniform

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
class ToBudget(Budgeted):
    """keep = inner(k / n) with the largest k such that cost(keep) <= limit, by bisection.

    The scores are taken once; a trial asks the inner allocator for its numbers and counts. A layer
    whose next step is too dear (a channel of the residual stream, eight channels of an early layer)
    stays as it is from there on, and the others go on growing as the inner allocator has them. A
    cost that is a prediction (milliseconds from a table) is measured end to end, and the limit is
    set right by the ratio until it is met within 3 %.

    An inner one that searches begins with equal shares at the budget, and every candidate costs at most
    the limit. Those of `evolution` exchange units at equal cost and could not keep one unit more; an
    episode of `amc` may end below the limit.

    Of several updates each takes the same share of what is left (`Budgeted.due`). Where units of all
    layers compete as one group, or a layer is one unit, as many of the best stay as the budget permits.

    Attributes:
        limit, relative: the most that may be left (`Budgeted`).
        inner: the allocator that shares out, with the bounds it has.
        what: `macs`, `parameters`, `megabytes` (10^6 bytes of the state) or `latency` (milliseconds).
        runtime: under which a latency is measured; nothing to other costs.
    """

    inner: Allocator
    what: What
    runtime: Literal["eager", "compile", "onnxruntime"] = "eager"

    def model_post_init(self, _: Any) -> None:
        """An inner one that has nothing to ask for a number of units is refused, too."""
        super().model_post_init(_)
        if not self.inner.uses_density:
            raise PlanError(
                f"allocator '{self.inner.name}' finds the density itself and cannot meet a budget"
            )
        if self.inner.tries and not self.inner.exact:
            raise PlanError(
                f"allocator '{self.inner}' would round or even out what the search has found, and leave the "
                "budget; with a search give no round_to and no even (floors, caps and protect go with it)"
            )

    def settled(self, multiple: Callable[[], int]) -> Allocator:
        """Around an inner one that is settled."""
        return self.model_copy(update={"inner": self.inner.settled(multiple)})

    @property
    def tries(self) -> bool:
        """Where the inner one does, at the cost of the budget."""
        return self.inner.tries

    @property
    def labelled(self) -> bool:
        """As what it wraps."""
        return self.inner.labelled

    @property
    def by_sizes(self) -> bool:
        """Where the inner one's numbers do."""
        return self.inner.by_sizes

    @property
    def scopes(self) -> frozenset[str]:
        """Units of a layer are counted together."""
        known = frozenset({"tensor", "model"})
        return known & self.inner.scopes if self.inner.scopes else known

    @property
    def cost(self) -> str:
        """The name of the cost."""
        plain = self.what != "latency" or self.runtime == "eager"
        return self.what if plain else f"{self.what} under {self.runtime}"

    @property
    def weighs(self) -> frozenset[str]:
        """The cost of the budget."""
        return frozenset({self.cost})

    def required(self) -> frozenset[str]:
        """What the inner allocator needs."""
        return self.inner.required()

    def held(self, groups: Groups, left: Tensor, every: tuple[Target, ...]) -> Tensor:
        """[G] as the inner one."""
        return self.inner.held(groups, left, every)

    def together(self, groups: Groups, every: tuple[Target, ...]) -> Tensor:
        """[G] as the inner one."""
        return self.inner.together(groups, every)

    def check(
        self, groups: Groups, density: float | None, targets: tuple[Target, ...], costs: Costs
    ) -> None:
        """Refuse a budget that is no restriction, or that the bounds exclude."""
        self.inner.check(groups, 1.0, targets, costs)
        cost = costs[self.cost]
        self.check_less(cost)
        nothing = {t.name: torch.zeros(t.shape) for t in targets}
        bill = Bill(cost, nothing, groups)
        self.check_possible(cost, bill(self.held(groups, groups.size, targets)))

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep."""
        bill = Bill(view.costs[self.cost], scores, groups)
        held = self.held(groups, alive(scores, groups), view.every)
        self.check_possible(bill.cost, bill(held))
        if self.inner.tries:
            return self._searched(bill, view)
        due = self.due(bill.cost, view.progress)
        if view.progress < 1:
            return self._within(due, bill, view)
        return self._measured(due, due, bill, lambda aim: self._within(aim, bill, view))

    def _searched(self, bill: Bill, view: View) -> Tensor:
        """[G] what a search finds from equal shares at the budget, all candidates at their cost.

        A prediction is measured at the start, and what is predicted for that is the limit of all.
        """
        searcher, even = _taken_apart(self.inner)
        begun = self.model_copy(update={"inner": even}).keep(bill.scores, bill.groups, None, view)
        due, last = self.due(bill.cost, view.progress), view.progress == 1
        predicted = last and bill.cost.measured(bill.counts(begun)) is not None
        limit = bill(begun) if predicted else due
        layers = Layers.of(view.targets, bill.scores, bill.groups)
        layers = layers.held(self.held(bill.groups, layers.left, view.every))
        start = layers.counts(begun)
        words = f"{self.cost} {self.limit}" if predicted else f"{self.cost} {limit} {start}"
        space = Priced(layers.bounded(start), bill, limit, words)
        if not space.free(start):
            return begun
        trial = view.trial(bill.scores, bill.groups)
        found = searcher.search(space, space.filled(start, range(len(start))), trial, view)
        if not predicted:
            return space.keep(found)
        return self._measured(due, limit, bill, lambda aim: space.keep(space.scaled(found, aim)))

    def _measured(
        self, limit: float, aim: float, bill: Bill, within: Callable[[float], Tensor]
    ) -> Tensor:
        """[G] the numbers that are measured nearest to the limit, not above it where there are such.

        Args:
            aim: the prediction to begin with.
            within: the numbers for another.
        """
        tried = dict[tuple[int, ...], float]()
        for _ in range(ROUNDS):
            keep = within(aim)
            if tuple(keep.tolist()) in tried:
                break
            counts = bill.counts(keep)
            found = bill.cost.measured(counts)
            if found is None:
                return keep
            tried[tuple(keep.tolist())] = off = found / limit - 1
            if abs(off) <= TOLERANCE / 2:
                break
            aim = bill.cost(counts) * limit / found
        best = min(tried, key=lambda key: (tried[key] > TOLERANCE, abs(tried[key])))
        if abs(tried[best]) > TOLERANCE:
            log.warning(
                "a budget of %s was met within %.1f %%, no closer",
                said(limit, bill.cost),
                100 * abs(tried[best]),
            )
        return torch.tensor(best)

    def _within(self, aim: float, bill: Bill, view: View) -> Tensor:
        """[G] the most units whose cost is at most `aim`, as the inner allocator shares them out."""
        scores, groups = bill.scores, bill.groups
        left, n = alive(scores, groups), int(groups.size.sum())
        best = self.inner.held(groups, left, view.every)
        if bill(left) <= aim:
            return left
        if bill(best) >= aim:
            return best
        low, most, one = int(best.sum()), left, self.inner.together(groups, view.every)
        for _ in range(STEPS):
            trial = partial(self._trial, scores, groups, view, n, most)
            low, best, more = _largest(low, best, trial, int(left.sum()), bill, aim)
            full = aim - bill(best) <= NEAR * bill.cost.whole
            if more is None or full or int(groups.size.max()) == 1:
                break
            most = torch.where(_too_dear(best, more, one, bill, aim), best, most)
        return best

    def _trial(
        self, scores: Scores, groups: Groups, view: View, n: int, most: Tensor, k: int
    ) -> Tensor:
        """[G] the inner allocator's numbers for `k` units, none above `most`."""
        return self.inner.keep(scores, groups, k / n, view).minimum(most)


def _taken_apart(allocator: Allocator) -> tuple[Searcher, Allocator]:
    """What searches within bounds, and the same bounds around equal shares."""
    if isinstance(allocator, Searcher):
        return allocator, Uniform()
    searcher, even = _taken_apart(allocator.inner)  # type: ignore[attr-defined]
    return searcher, allocator.model_copy(update={"inner": even})


@dataclass(frozen=True)
class Bill:
    """What numbers of units cost: of each group the best stay."""

    cost: Cost
    scores: Scores
    groups: Groups

    def __call__(self, keep: Tensor) -> float:
        """The cost of [G] units."""
        return self.cost(self.counts(keep))

    def counts(self, keep: Tensor) -> dict[str, int]:
        """Target -> units that stay; where targets share a group, by their scores."""
        if not self.groups.shared:
            return {name: int(keep[first]) for name, first in self.groups.first.items()}
        return {
            name: int(mask.sum()) for name, mask in select(self.scores, self.groups, keep).items()
        }


def _largest(
    low: int, best: Tensor, trial: Callable[[int], Tensor], high: int, bill: Bill, aim: float
) -> tuple[int, Tensor, Tensor | None]:
    """(k, numbers that fit, the next ones that do not) by bisection; `best` at `low` fits.

    The last is None where all `high` units fit.
    """
    more: Tensor | None = None
    tried = trial(high)
    if bill(tried) <= aim:
        return high, tried, None
    more = tried
    while high - low > 1:
        middle = (low + high) // 2
        tried = trial(middle)
        if bill(tried) <= aim:
            low, best = middle, tried
        else:
            high, more = middle, tried
    return low, best, more


def _too_dear(best: Tensor, more: Tensor, one: Tensor, bill: Bill, aim: float) -> Tensor:
    """[G] groups whose step from `best` to `more` does not fit alone; if each fits, the dearest.

    Groups of one id in `one` step together.
    """
    dear = torch.zeros(len(best), dtype=torch.bool)
    prices = {}
    for step in one[more > best].unique().tolist():
        prices[step] = bill(torch.where(one == step, more, best))
        dear |= (one == step) & (prices[step] > aim)
    if prices and not bool(dear.any()):
        dear = one == max(prices, key=lambda step: prices[step])
    return dear
