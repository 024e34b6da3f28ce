"""The same density for every group."""

from __future__ import annotations

from torch import Tensor

from ..core.axes import Allocator, View
from ..core.component import register
from ..core.density import share
from ..core.types import Groups, Scores
from .budget import alive, total


@register("uniform")
class Uniform(Allocator):
    """keep_g = density * n_g, rounded so that the total is exactly round(density * n).

    Fractions left by rounding go to the groups that are furthest below their share, the lower
    index first; no group gets more than it still has. With scope `model` there is one group:
    global pruning.
    """

    @property
    def by_sizes(self) -> bool:
        """Yes."""
        return True

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep."""
        assert density is not None
        wanted = groups.size.double() * density
        return share(wanted, total(groups, density), alive(scores, groups))
