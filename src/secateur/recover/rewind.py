"""Go back in training: the weights and the learning rate, or the learning rate alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator

from ..core.axes import Recovery
from ..core.component import register
from ..core.errors import PlanError
from ..core.time import START, Time, TimeField
from ..core.types import RecoveryPlan


def _before_end(time: Time) -> Time:
    if time.unit == "%" and time.value >= 100:
        raise PlanError(
            f"a rewind to {time} leaves nothing to train; give an earlier time, e.g. 0it or 5%"
        )
    return time


Back = Annotated[TimeField, AfterValidator(_before_end)]
"""A time before the end of training."""


@register("rewind-weights")
class RewindWeights(Recovery):
    """Set the survivors back to their values at `to` and train again from there to the end.

    Attributes:
        to: `0it` = the initial weights (the lottery ticket), later = weight rewinding.

    Paper: Frankle & Carbin 2019, arXiv 1803.03635; Frankle et al. 2019, arXiv 1903.01611.
    """

    to: Back = START

    def plan(self) -> RecoveryPlan:
        """Weights of `to`, the schedule from there."""
        return RecoveryPlan(weights="rewind", rewind_to=self.to, schedule="restart")


@register("rewind-lr")
class RewindLR(Recovery):
    """Keep the trained weights and run the learning-rate schedule again from `to` to the end.

    Attributes:
        to: where in the schedule to go back to.

    Paper: Renda et al. 2020, arXiv 2003.02389.
    """

    to: Back = START

    def plan(self) -> RecoveryPlan:
        """Weights kept, the schedule from `to`."""
        return RecoveryPlan(rewind_to=self.to, schedule="restart")


@register("random-ticket")
class RandomTicket(Recovery):
    """Shuffle each layer's mask, set the weights back to their values at `to` and train again.

    On a schedule of several rounds the rounds before the last find the winning ticket, whose mask
    is then shuffled. The layers keep their densities, so that what is left of a ticket's advantage
    comes from which weights stay and not from how many of each layer.

    Attributes:
        to: as for weight rewinding.

    Paper: Frankle & Carbin 2019, arXiv 1803.03635 (randomly sparsified networks).
    """

    to: Back = START

    def plan(self) -> RecoveryPlan:
        """Shuffled masks, weights of `to`, the schedule from there."""
        winning = RecoveryPlan(weights="rewind", rewind_to=self.to, schedule="restart")
        return replace(winning, shuffle_masks=True, rounds=winning)
