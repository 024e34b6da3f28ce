"""Forget the weights, keep the masks."""

from __future__ import annotations

from ..core.axes import Recovery
from ..core.component import register
from ..core.types import RecoveryPlan


@register("from-scratch")
class FromScratch(Recovery):
    """Draw new initial weights under the same masks and train from the start.

    On a schedule of several rounds the masks are those of the lottery ticket: the rounds before
    the last rewind to the initial weights.

    Paper: Liu et al. 2019, arXiv 1810.05270 (the structure is what matters); the random
    reinitialisation of Frankle & Carbin 2019, arXiv 1803.03635.
    """

    def plan(self) -> RecoveryPlan:
        """New weights, the whole schedule; the ticket's rounds before it."""
        return RecoveryPlan(
            weights="reinit",
            schedule="restart",
            rounds=RecoveryPlan(weights="rewind", schedule="restart"),
        )
