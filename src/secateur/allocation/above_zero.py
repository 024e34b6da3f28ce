"""As many as score above zero."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.axes import Allocator, View
from ..core.component import register
from ..core.kth import count_rows
from ..core.types import Groups, Scores, Target
from .budget import Floor, alive, least


@register("above-zero")
class AboveZero(Allocator):
    """keep_g = number of units of group g with s > 0: the scores themselves say how much stays.

    For scores with a meaning of their own, such as gates that are open or closed. The density is found,
    not asked for; use schedule `repeat`.

    Attributes:
        floor: the least to keep of each group, a fraction below 1 or a number of units.

    Paper: Louizos, Welling, Kingma 2018, arXiv 1712.01312 (gates above zero stay); Sanh, Wolf, Rush 2020,
    arXiv 2005.07683 (scores above a threshold), whose official code has a floor of half a percent.
    """

    floor: Floor = 0.0

    @property
    def uses_density(self) -> bool:
        """The scores decide."""
        return False

    def held(self, groups: Groups, left: Tensor, every: tuple[Target, ...]) -> Tensor:
        """[G] what the floor leaves."""
        return least(self.floor, 1.0, groups.size, left)

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units above zero, the floor at least."""
        keep = torch.zeros(len(groups.size), dtype=torch.long)
        for name, layout in groups.layouts.items():
            above = count_rows(layout.matrix(scores[name] > 0)).cpu()
            keep[groups.first[name] : groups.first[name] + layout.units] += above
        return keep.maximum(self.held(groups, alive(scores, groups), view.every))
