"""What a training is: a frozen, checked value without model, data or tensors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, model_validator

from ...core.component import Plain, encode
from ...core.errors import PlanError, unknown
from ...core.time import Time, TimeField
from .lr import Constant, LearningRateField, OneCycle, Steps
from .optimiser import SGD, AdamW, Optimiser


class Distil(Plain):
    """Learn from a teacher's outputs as well: see `loss.distilled`.

    Attributes:
        temperature: T, which softens both distributions.
        weight: share of the teacher's term in the loss, the labels have the rest.
    """

    temperature: float = Field(default=4.0, gt=0)
    weight: float = Field(default=0.9, gt=0, le=1)


class Training(Plain):
    """How to train; the defaults are the `cifar-reference` preset.

    Attributes:
        length: in epochs or iterations (optimiser steps).
        batch_size: samples per optimiser step, over all parts and all processes.
        optimiser: sgd, adam or adamw, with options of their own.
        lr: base (or peak) learning rate.
        weight_decay: of weights; of biases and norm scales only with `decay_norms`.
        schedule: how the learning rate changes.
        label_smoothing: share of the target spread over all classes.
        clip: largest norm of the whole gradient, None for any.
        accumulate: parts a batch is cut into to save memory; their gradients add up to the same
            step (batch norms see the parts).
        ema: decay of an average of the weights, None for none; see `ema.Average`.
        precision: `no` for float32, `bf16` or `fp16` for mixed precision.
        distil: learning from the dense network, None for none.

    >>> Training().lr_at(step=391 * 60, steps_per_epoch=391)
    0.020000000000000004
    >>> Training(**Training(lr=0.2).model_dump(exclude_defaults=True)).lr
    0.2
    """

    length: TimeField = Time(200, "ep")
    batch_size: int = Field(default=128, gt=0)
    optimiser: Annotated[Optimiser, PlainSerializer(encode)] = SGD()
    lr: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    decay_norms: bool = True
    schedule: LearningRateField = Steps()
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    clip: float | None = Field(default=None, gt=0)
    accumulate: int = Field(default=1, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    precision: Literal["no", "bf16", "fp16"] = "no"
    distil: Distil | None = None

    @model_validator(mode="after")
    def _sane(self) -> Training:
        if self.length.unit == "%" or not self.length.value:
            raise PlanError(
                f"a training of {self.length} has no length; give epochs or iterations, e.g. 160ep"
            )
        if self.accumulate > self.batch_size:
            raise PlanError(
                f"a batch of {self.batch_size} cannot be cut into {self.accumulate} parts; "
                "lower `accumulate`"
            )
        return self

    def total(self, steps_per_epoch: int) -> int:
        """Optimiser steps of the whole training."""
        return self.length.steps(steps_per_epoch, 0)

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of one optimiser step, counted from 0."""
        total = self.total(steps_per_epoch)
        return self.lr * self.schedule.factor(step, total, steps_per_epoch)

    def scaled(self, factor: float) -> Training:
        """A training `factor` times as long, in whole epochs (or iterations) and at least one.

        Milestones and warm-ups move in proportion to the length that comes out.

        >>> short = Training().scaled(0.05)
        >>> str(short.length), [str(t) for t in short.schedule.at]
        ('10ep', ['3ep', '6ep', '8ep'])
        """
        if not factor > 0:
            raise PlanError(f"scale {factor} is not above 0; it is the fraction of the length left")
        length = Time(max(1.0, float(round(self.length.value * factor))), self.length.unit)
        schedule = self.schedule.scaled(length.value / self.length.value)
        return self.model_copy(update={"length": length, "schedule": schedule})

    def constant(self, length: Time, lr_scale: float = 1.0) -> Training:
        """A training of `length` at one learning rate, `lr_scale` times this one's."""
        changed = {"length": length, "lr": self.lr * lr_scale, "schedule": Constant()}
        return self.model_copy(update=changed)


PRESETS: dict[str, Training] = {
    "cifar-reference": Training(),
    "short": Training(length=Time(15, "ep"), schedule=OneCycle(), optimiser=SGD(nesterov=True)),
    "language": Training(
        length=Time(1, "ep"), optimiser=AdamW(), lr=1e-4, weight_decay=0.0, batch_size=8, clip=1.0
    ),
}


def preset(name: str) -> Training:
    """A training by its name: `cifar-reference`, `short`, or `language` for recoveries of such models."""
    if name not in PRESETS:
        raise unknown("training preset", name, PRESETS)
    return PRESETS[name]
