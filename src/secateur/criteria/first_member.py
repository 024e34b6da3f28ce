"""The first member alone: judge a structure by the weights that write it."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.types import Target
from .magnitude import Magnitude


@register("first-member")
class FirstMember(Criterion):
    """s_u = inner(slice of unit u in the first tensor it runs through).

    A channel counts by its own filter, not by the norm's scale nor by what later layers read of it.

    Shapes: [target.shape].

    Attributes:
        inner: the criterion that scores.

    Paper: Li, Kadav, Durdanovic, Samet, Graf 2017, arXiv 1608.08710, for filters. Where a residual
    sum ties several layers, the paper follows the shortcut's; here it is the layer that runs first.
    """

    inner: Criterion = Magnitude()

    def required(self) -> frozenset[str]:
        """What the inner criterion needs."""
        return self.inner.required()

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the inner criterion's scores of the first tensor's slices."""
        first = target.members[0].param
        own = tuple(member for member in target.members if member.param == first)
        return self.inner.score(view, replace(target, members=own))
