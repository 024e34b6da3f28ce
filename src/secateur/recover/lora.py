"""Low-rank adapters: train a few weights beside the frozen ones, and merge them in at the end."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from ..core.axes import Recovery
from ..core.component import register
from ..core.errors import PlanError
from ..core.time import TimeField
from ..core.types import Adapter, RecoveryPlan


@register("lora")
class Lora(Recovery):
    """W ← W + (alpha / rank) B A with A [rank, in] and B [out, rank] trained, W frozen.

    Adapters sit beside linear layers for `length` at a constant rate, then are merged: the network
    ends as it was, without a trace of them. What the masks remove gets no adapter weights, so that
    removed structures stay removed; masks of single weights cannot hold in a merged product and
    are refused. Of the rest of the network nothing is trained.

    Attributes:
        length: how long to train, e.g. `2ep`.
        lr_scale: factor on the training's peak learning rate.
        rank: of B A.
        alpha: scale of B A, over the rank.
        dropout: on what enters A, while training.
        layers: selectors of linear layers by name; empty = all but the classifier.

    Paper: Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen 2021, arXiv 2106.09685; after structured
    pruning as in Ma et al. 2023, arXiv 2305.11627, whose rank is 8 with alpha 16.
    """

    length: TimeField
    lr_scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    rank: int = Field(default=8, gt=0)
    alpha: float = Field(default=16.0, gt=0, allow_inf_nan=False)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    layers: tuple[str, ...] = ()

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
        adapter = Adapter(self.rank, self.alpha, self.dropout, self.layers)
        return RecoveryPlan(
            schedule="constant", length=self.length, lr_scale=self.lr_scale, adapter=adapter
        )
