"""Floors and caps around any other allocator."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..core.axes import View
from ..core.component import register
from ..core.cost import Costs
from ..core.density import share
from ..core.errors import PlanError
from ..core.types import Groups, Scores, Target
from .around import Around
from .budget import Cap, Floor, alive, check_possible, least, total


@register("bounded")
class Bounded(Around):
    """keep_g = clamp(c inner_g, least_g, left_g), with c such that the inner's total is kept.

    least_g comes from the floor and the cap, left_g is what group g still has. Groups within their
    bounds give, in proportion to what they hold, what the bounded ones withhold. Around an allocator
    that finds the density by itself there is no total to keep: the bounds only lift its numbers.

    Attributes:
        inner: the allocator whose numbers are bounded.
        floor: the least to keep of each group, a fraction below 1 or a number of units.
        cap: the largest fraction of a group that may be removed.
    """

    floor: Floor = 0.0
    cap: Cap = 1.0

    def model_post_init(self, _: Any) -> None:
        """A wrapper that bounds nothing would be a second name for what it wraps."""
        if self.floor == 0 and self.cap == 1:
            raise PlanError("allocator 'bounded' has no bound; give floor or cap, or drop it")

    @property
    def scopes(self) -> frozenset[str]:
        """As what it wraps; bounds are per layer or row, so one group for all makes no sense."""
        return self.inner.scopes or frozenset({"tensor", "row"})

    def check(
        self, groups: Groups, density: float | None, targets: tuple[Target, ...], costs: Costs
    ) -> None:
        """Refuse a density that floor and cap exclude; what the inner refuses is refused too."""
        self.inner.check(groups, density, targets, costs)
        if density is not None:
            held = least(self.floor, self.cap, groups.size, groups.size)
            wanted = total(groups, density)
            check_possible(wanted, held, groups.size, groups, f"allocator '{self}'")

    @property
    def exact(self) -> bool:
        """As what it wraps."""
        return self.inner.exact

    def held(self, groups: Groups, left: Tensor, every: tuple[Target, ...]) -> Tensor:
        """[G] what floor and cap leave, and what the inner one holds."""
        own = least(self.floor, self.cap, groups.size, left)
        return own.maximum(self.inner.held(groups, left, every))

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep."""
        inner = self.inner.keep(scores, groups, density, view)
        left = alive(scores, groups)
        held = self.held(groups, left, view.every)
        if not self.uses_density:
            return inner.maximum(held)
        wanted = int(inner.sum())
        check_possible(wanted, held, left, groups, f"allocator '{self}'")
        return share(inner.double(), wanted, left, held)
