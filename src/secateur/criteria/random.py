"""Random scores: the baseline every criterion must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.types import Target


@register("random")
class Random(Criterion):
    """s_u ~ Uniform(0, 1) for every unit, drawn from the run's seed, the round and the name.

    Shapes: [target.shape]. The draw is the same on every device.
    """

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] independent uniform numbers."""
        draw = torch.rand(target.shape, generator=view.generator("random", target.name))
        return draw.to(view.weight(target.members[0].param).device)
