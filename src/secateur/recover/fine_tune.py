"""Go on training at a small learning rate."""

from __future__ import annotations

from pydantic import Field, model_validator

from ..core.axes import Recovery
from ..core.component import register
from ..core.errors import PlanError
from ..core.time import TimeField
from ..core.types import RecoveryPlan


@register("fine-tune")
class FineTune(Recovery):
    """Keep the weights and train for `length` at lr_scale times the peak learning rate, constant.

    Attributes:
        length: how long, e.g. `100ep`; `50%` is half of the main training.
        lr_scale: factor on the training's peak learning rate.
        every_update: after every update at the end of training, or after the last one only.

    Paper: Han et al. 2015, arXiv 1506.02626 (a tenth of the rate); Renda et al. 2020, arXiv
    2003.02389, fine-tune at the training's last rate instead: choose lr_scale accordingly.
    """

    length: TimeField
    lr_scale: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    every_update: bool = True

    @model_validator(mode="after")
    def _trains(self) -> FineTune:
        if self.length.value == 0:
            raise PlanError(
                "recovery 'fine-tune': a length of 0 trains nothing; give a length, e.g. 10ep, or "
                "leave the recovery out"
            )
        return self

    def plan(self) -> RecoveryPlan:
        """Weights kept, a constant rate."""
        return RecoveryPlan(
            schedule="constant",
            length=self.length,
            lr_scale=self.lr_scale,
            every_update=self.every_update,
        )
