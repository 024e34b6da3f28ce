"""Soft pruning: what is out is set to zero again and again, and trains on in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..core.component import register
from ..core.errors import PlanError
from ..core.types import Update
from .moments import at_step, stride
from .unheld import Unheld


@register("soft")
class Soft(Unheld):
    """At every `every` the weights of what is outside `density` become zero, once; masks hold at the end.

    In between everything trains, so what was zeroed may come back, and each time the choice is made
    anew among all units. Of a unit only the weights of the layers that write it are zeroed: with the
    scale and what reads it gone as well no gradient would ever reach it again. The last update, when
    training ends, takes the units out for good.

    Attributes:
        density: fraction kept, in (0, 1].
        every: the time between two zeroings, an epoch in the paper.

    >>> [(str(u.step), u.soft) for u in Soft(density=0.7, every="2it").updates(1, 6)]
    [('2it', True), ('4it', True), ('6it', False)]

    Paper: He, Kang, Dong, Fu, Yang 2018, arXiv 1808.06866.
    """

    def updates(self, steps_per_epoch: int, total: int) -> Iterator[Update]:
        """Soft updates, and one that holds when training ends."""
        gap = stride(self, self.every, steps_per_epoch, total)
        if gap >= total:
            raise PlanError(
                f"schedule 'soft' would zero nothing before the training's end at step {total}; "
                f"shorten every={self.every} ({gap} steps) or train longer"
            )
        for step in range(gap, total, gap):
            yield replace(at_step(step, self.density), soft=True)
        yield at_step(total, self.density)
