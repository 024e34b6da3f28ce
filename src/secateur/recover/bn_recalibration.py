"""Take the running statistics of batch norms anew."""

from __future__ import annotations

from ..core.axes import Recovery
from ..core.component import register
from ..core.types import RecoveryPlan


@register("bn-recalibration")
class BnRecalibration(Recovery):
    """Mean and variance of every batch norm from the scoring data, in the pruned network; no weight moves.

    Pruning shifts what flows into later layers, and norms go on dividing by what flowed there before.
    Training does the same on its way, so that with fine-tuning it is of no use. Plain means of the
    batches' means and (unbiased) variances; every batch weighs the same.

    Paper: Li, Wu, Su, Wang 2020, arXiv 2007.02491 (EagleEye, adaptive batch normalisation).
    """

    def plan(self) -> RecoveryPlan:
        """Weights kept, statistics anew."""
        return RecoveryPlan(recalibrate=True)
