"""Activity: a unit that is rarely and weakly active is worth least."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..core.axes import Criterion, Speaks, View
from ..core.component import register
from ..core.reads import read
from ..core.types import Target


@register("smart-farm")
class SmartFarm(Criterion):
    r"""s_u = w_mean mean|a_u| / max_v mean|a_v| + w_max max|a_u| / max_v max|a_v| + w_act P(|a_u| > t).

    a_u: what of unit u enters the layer that reads it (an FFN's down projection, after the model's own
    activation function and gate; the output projection of an attention), over all tokens but padding.
    w_mean, w_max, w_act: `mean`, `largest`, `active`; t: `threshold`; v runs over the units of the same
    layer. Heads have several inputs a unit: their mean, largest and mean again. A layer that is never
    active scores zero. Wrap it in `layer-scale` to weigh the layers.

    Shapes: [target.shape].

    Paper: none, the smart-farm study; neurons by mean activation also in Muralidharan 2024, arXiv 2407.14679.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_abs_mean", "input_abs_max", "input_active"})
    speaks: ClassVar[Speaks] = "coupled"

    mean: float = Field(default=0.7, ge=0, allow_inf_nan=False)
    largest: float = Field(default=0.2, ge=0, allow_inf_nan=False)
    active: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    threshold: float = Field(default=0.01, ge=0, allow_inf_nan=False)

    def required(self) -> frozenset[str]:
        """The statistics, the share of active tokens at this threshold."""
        return frozenset({"input_abs_mean", "input_abs_max", f"input_active:{self.threshold:g}"})

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] importances in [0, mean + largest + active]."""
        average = read(view, target, "input_abs_mean").mean(1)
        peak = read(view, target, "input_abs_max").double().amax(1)
        share = read(view, target, f"input_active:{self.threshold:g}").mean(1)
        return self.mean * _of_most(average) + self.largest * _of_most(peak) + self.active * share


def _of_most(values: Tensor) -> Tensor:
    """Relative to the largest; zeros stay zeros."""
    return values / values.amax().clamp(min=torch.finfo(values.dtype).tiny)
