"""Learning rates as pure functions of the step: nothing to save, nothing to rewind."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, PlainSerializer

from ...core.component import Component, Registry, encode, register
from ...core.time import Time, TimeField


class LearningRate(Component, ABC):
    """The factor on the base learning rate at each step."""

    registry: ClassVar[Registry] = Registry("learning-rate schedule")

    @abstractmethod
    def factor(self, step: int, total: int, steps_per_epoch: int) -> float:
        """The factor at optimiser step `step` (from 0) of a training of `total` steps."""

    def scaled(self, factor: float) -> Self:
        """The same shape, its epochs and iterations `factor` times as long."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return self.model_copy(update={k: _scaled(v, factor) for k, v in fields.items()})


def _scaled(value: Any, factor: float) -> Any:
    """Times in proportion, not rounded: milestones must keep their place in the training."""
    if isinstance(value, LearningRate):
        return value.scaled(factor)
    if isinstance(value, tuple):
        return tuple(_scaled(v, factor) for v in value)
    if isinstance(value, Time) and value.unit != "%":
        return Time(value.value * factor, value.unit)
    return value


LearningRateField = Annotated[LearningRate, PlainSerializer(encode)]


@register("constant")
class Constant(LearningRate):
    """factor = 1."""

    def factor(self, step: int, total: int, steps_per_epoch: int) -> float:
        """One."""
        return 1.0


@register("steps")
class Steps(LearningRate):
    """factor = by^(number of milestones passed): 1, 0.2, 0.04, 0.008 by default.

    Attributes:
        at: milestones; the step at a milestone already has the smaller rate.
        by: the factor at each.
    """

    at: tuple[TimeField, ...] = (Time(60, "ep"), Time(120, "ep"), Time(160, "ep"))
    by: float = Field(default=0.2, gt=0)

    def factor(self, step: int, total: int, steps_per_epoch: int) -> float:
        """`by` to the number of milestones at or before `step`."""
        passed = sum(step >= milestone.steps(steps_per_epoch, total) for milestone in self.at)
        return float(self.by**passed)


@register("cosine")
class Cosine(LearningRate):
    """factor = final + (1 - final) (1 + cos(pi · step / total)) / 2, at every step.

    Paper: Loshchilov & Hutter 2017, arXiv 1608.03983 (one period, without restarts).
    """

    final: float = Field(default=0.0, ge=0)

    def factor(self, step: int, total: int, steps_per_epoch: int) -> float:
        """From 1 at step 0 towards `final` at `total`."""
        return _anneal(1.0, self.final, step / total)


@register("one-cycle")
class OneCycle(LearningRate):
    """Cosine up from 1/div_factor to 1 over `pct_start` of the training, then down to almost none.

    The last step has the factor 1 / (div_factor · final_div_factor). The momentum stays as it is.

    Paper: Smith & Topin 2018, arXiv 1708.07120; the two cosine phases and the names of the options
    are those of `torch.optim.lr_scheduler.OneCycleLR` (with `cycle_momentum=False`).
    """

    pct_start: float = Field(default=0.3, gt=0, lt=1)
    div_factor: float = Field(default=25.0, gt=0)
    final_div_factor: float = Field(default=1e4, gt=0)

    def factor(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Rises until step pct_start · total - 1, falls until step total - 1."""
        low, last = 1 / self.div_factor, total - 1
        peak = self.pct_start * total - 1
        if step <= peak:
            return _anneal(low, 1.0, step / peak if peak else 1.0)
        return _anneal(1.0, low / self.final_div_factor, (step - peak) / (last - peak))


@register("warmup")
class Warmup(LearningRate):
    """Linear warm-up before another schedule: factor = ramp(step) · then(step).

    ramp(step) = start + (1 - start) · step / length until `length`, 1 from there on; `then` counts
    its steps from the beginning of training, not from the end of the warm-up.

    Attributes:
        then: the schedule that is warmed up.
        length: how long.
        start: the factor at step 0.

    Paper: Goyal et al. 2017, arXiv 1706.02677.
    """

    then: LearningRateField = Steps()
    length: TimeField = Time(5, "ep")
    start: float = Field(default=0.1, ge=0, le=1)

    def factor(self, step: int, total: int, steps_per_epoch: int) -> float:
        """The warmed-up factor of `then`."""
        length = self.length.steps(steps_per_epoch, total)
        ramp = self.start + (1 - self.start) * step / length if step < length else 1.0
        return ramp * self.then.factor(step, total, steps_per_epoch)


def _anneal(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
