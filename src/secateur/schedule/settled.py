"""Early: draw masks while the network trains, and prune as soon as they no longer change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from ..core.component import register
from ..core.errors import PlanError
from ..core.types import Settling, Update
from .moments import at_step, stride
from .unheld import Unheld


@register("settled")
class Settled(Unheld):
    """Masks of `density` are drawn at every `every`; the first that has settled is taken, for good.

    Settled: max over the `memory` − 1 masks before of d(m, m_i) <= `within`, with the mask distance
    d(m, m_i) = share of all units in which the two differ. Until then nothing is pruned. Masks that
    never settle are taken when training ends.

    With a recovery that trains, the training stops there and the recovery takes over; else it goes on
    to its end with what is left.

    Attributes:
        density: fraction kept, in (0, 1].
        every: the time between two masks, an epoch in the paper.
        memory: how many masks are compared, 5 in the paper.
        within: ε of the paper, 0.1.

    >>> [str(u.step) for u in Settled(density=0.7, every="2it", memory=2).updates(1, 6)]
    ['2it', '4it', '6it']

    Paper: You, Li, Xu, Fu, Wang, Chen, Baraniuk, Wang, Lin 2020, arXiv 1909.11957.
    """

    waits: ClassVar[bool] = True

    memory: int = Field(default=5, ge=2)
    within: float = Field(default=0.1, ge=0, lt=1)

    def updates(self, steps_per_epoch: int, total: int) -> Iterator[Update]:
        """Every moment at which masks are drawn; the last when training ends."""
        gap = stride(self, self.every, steps_per_epoch, total)
        moments = range(gap, total, gap)
        if len(moments) < self.memory:
            raise PlanError(
                f"schedule 'settled' compares {self.memory} masks, but every={self.every} draws "
                f"{len(moments)} before the training's end at step {total}; shorten `every`, lower "
                "`memory` or train longer"
            )
        settling = Settling(self.memory, self.within)
        for step in (*moments, total):
            yield replace(at_step(step, self.density), settling=settling)
