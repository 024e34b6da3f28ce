"""Low-rank adapters: train a few weights beside the frozen ones, and merge them in at the end."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from ..core.axes import Recovery
from ..core.component import register
from ..core.errors import PlanError
from ..core.time import TimeField
from ..core.training import Adapting
from ..core.types import RecoveryPlan


@register("lora")
class Lora(Adapting, Recovery):
    """W ← W + (alpha / rank) B A with A [rank, in] and B [out, rank] trained, W frozen.

    Adapters sit beside linear layers for `length` at a constant rate, then are merged: the network
    ends as it was, without a trace of them. What the masks remove gets no adapter weights, so that
    removed structures stay removed; masks of single weights cannot hold in a merged product and
    are refused. Of the rest of the network nothing is trained.

    Attributes:
        length: how long to train, e.g. `2ep`.
        lr_scale: factor on the training's peak learning rate.

    Paper: Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen 2021, arXiv 2106.09685; after structured
    pruning as in Ma et al. 2023, arXiv 2305.11627, whose rank is 8 with alpha 16.
    """

    length: TimeField
    lr_scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _trains(self) -> Any:
        if self.length.value == 0:
            raise PlanError(
                "recovery 'lora': a length of 0 trains nothing; give a length, e.g. 2ep, or leave "
                "the recovery out"
            )
        return self

    def plan(self) -> RecoveryPlan:
        """Weights kept, a constant rate, adapters."""
        return RecoveryPlan(
            schedule="constant", length=self.length, lr_scale=self.lr_scale, adapter=self.adapter
        )
