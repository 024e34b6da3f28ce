"""All that is left."""

from __future__ import annotations

from torch import Tensor

from ..core.axes import Allocator, View
from ..core.component import register
from ..core.types import Groups, Scores
from .budget import alive


@register("left")
class Left(Allocator):
    """keep_g = the units of group g that are there: nothing more goes.

    For networks that come with masks. The density is found, not asked for; use schedule `repeat`.
    """

    @property
    def uses_density(self) -> bool:
        """What is there decides."""
        return False

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] those that are not gone."""
        return alive(scores, groups)
