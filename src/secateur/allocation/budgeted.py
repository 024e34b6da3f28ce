"""A limit in work, size or time: what allocators that meet one share."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..core.axes import Allocator
from ..core.cost import Cost
from ..core.errors import PlanError


class Budgeted(Allocator):
    """The most that may be left of a cost; a child says which cost, and how units share it.

    Attributes:
        limit: the most that may be left.
        relative: whether the limit is a fraction of what the network takes as it comes.
    """

    limit: float = Field(gt=0, allow_inf_nan=False)
    relative: bool = True

    def model_post_init(self, _: Any) -> None:
        """A budget of everything is refused."""
        if self.relative and self.limit >= 1:
            what = getattr(self, "what", "cost")
            raise PlanError(
                f"a budget of {self.limit:.0%} of the {what} is what the network takes already; "
                "give less than 100 %"
            )

    @property
    def uses_density(self) -> bool:
        """The budget decides."""
        return False

    @property
    def across_targets(self) -> bool:
        """The budget is the whole network's."""
        return True

    def due(self, cost: Cost, progress: float) -> float:
        """whole · (limit / whole)^p: what may be left where a share p of the updates is done.

        Every update takes the same share of what is left; the last meets the limit, not nearly but to
        the bit: an amount that fits exactly is not lost to rounding.
        """
        most = self.most(cost)
        return most if progress == 1 else cost.whole * (most / cost.whole) ** progress

    def most(self, cost: Cost) -> float:
        """The limit in units of the cost."""
        return self.limit * cost.whole if self.relative else self.limit

    def check_less(self, cost: Cost) -> None:
        """Refuse a limit that is no restriction."""
        most = self.most(cost)
        if most >= cost.whole:
            raise PlanError(
                f"a budget of {said(most, cost)} is no less than the {said(cost.whole, cost)} that "
                "the network takes as it is; there is nothing to prune"
            )

    def check_possible(self, cost: Cost, least: float) -> None:
        """Refuse a limit below what the fewest units there may be take."""
        most = self.most(cost)
        if least > most:
            raise PlanError(
                f"a budget of {said(most, cost)} cannot be met: the fewest units that floors and "
                f"bounds permit leave {said(least, cost)}, the closest possible. Ask for that or "
                "loosen the bounds"
            )


def said(value: float, cost: Cost) -> str:
    """`1,234 MACs (12.3%)`."""
    number = f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
    return f"{number} {cost.unit} ({value / cost.whole:.1%})"
