"""Averaged: the scores of another criterion over the steps of a training, the latest counting most."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.errors import PlanError
from ..core.following import SEEN, Following
from ..core.types import Target
from .taylor import Taylor


@register("averaged")
class Averaged(Following):
    r"""s_u = decay · s'_u + (1 − decay) · inner_u after every optimiser step, s'_u the one before, first 0.

    inner_u: the inner criterion's score from the weights at that step and the gradient of its batch,
    before the weights move. Costs no pass over data.

    Shapes: [target.shape].

    Attributes:
        inner: what scores a step; it may rest on gradients.
        decay: how much of the past stays.

    Paper: Zhang, Chen, Shen, Yang, Ou, Yu, Zhuang 2023, arXiv 2305.18403 (λ there; 0.9 in the official
    code). With Taylor and plain training near to Molchanov et al. 2019, arXiv 1906.10771, whose code
    averages over the batches between two updates.
    """

    inner: Criterion = Taylor()
    decay: float = Field(default=0.9, ge=0, lt=1)

    @model_validator(mode="after")
    def _sees_what_it_needs(self) -> Self:
        unseen = self.inner.required() - SEEN
        if unseen or self.inner.of_training:
            what = ", ".join(sorted(unseen)) or "a training of its own"
            raise PlanError(
                f"criterion 'averaged' scores by the gradients of single steps; '{self.inner}' needs "
                f"{what}. Use taylor, snip, coupled-taylor, or balanced around one of them"
            )
        return self

    def observe(self, view: View, target: Target, before: Tensor | None) -> Tensor:
        """[target.shape] the average, this step's score in it."""
        new = (1 - self.decay) * self.inner.score(view, target)
        return new if before is None else self.decay * before + new
