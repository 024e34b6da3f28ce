"""Set the survivors back to early values and leave them there: no training at all."""

from __future__ import annotations

from ..core.axes import Recovery
from ..core.component import register
from ..core.time import START, TimeField
from ..core.types import RecoveryPlan


@register("reset")
class Reset(Recovery):
    """Set the survivors back to their values at `to` and do not train them again.

    What is measured then is the mask itself: a good one makes an untrained network useful.

    Attributes:
        to: `0it` = the initial weights.

    Paper: Zhou et al. 2019, arXiv 1905.01067 (supermasks).
    """

    to: TimeField = START

    def plan(self) -> RecoveryPlan:
        """Weights of `to`, no training."""
        return RecoveryPlan(weights="rewind", rewind_to=self.to)
