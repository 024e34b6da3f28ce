"""Fluctuation: features that hardly vary are worth least, for a bias can stand in for them."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..core.axes import Criterion, Speaks, View
from ..core.component import register
from ..core.reads import Reader, readers
from ..core.types import Target


@register("fluctuation")
class Fluctuation(Criterion):
    r"""s_u = mean over the unit's features j of z(a_j), with a_j = v_j Σ_i W_ij² (metric `wifv`).

    W: the weight [out, in] that reads the unit, v_j: the variance of its input j over all tokens.
    `wifn`: a_j = √(mean x_j²) · mean_i |W_ij|; `ifv`: a_j = v_j. z(a) = (a − mean) / std over the
    features of the layer that are still there, unless `standardise` is off. Where units own several
    features (heads with their group) a_j is squared first, unless `square_heads` is off.

    Shapes: [target.shape] float64.

    Paper: An, Zhao, Yu, Tang, Wang 2024, arXiv 2312.11983; square and mean of heads are the code's.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_variance", "input_square"})
    speaks: ClassVar[Speaks] = "coupled"

    metric: Literal["wifv", "wifn", "ifv"] = "wifv"
    standardise: bool = True
    square_heads: bool = True

    def required(self) -> frozenset[str]:
        """The one statistic that the metric asks for."""
        return frozenset({"input_square" if self.metric == "wifn" else "input_variance"})

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the mean of a unit's features, over all layers that read it."""
        found = [(r.features, self._features(view, r)) for r in readers(view, target)]
        parts = [value[features.to(value.device)] for features, value in found]
        return torch.cat(parts, 1).mean(1).view(target.shape)

    def _features(self, view: View, reader: Reader) -> Tensor:
        """[in] the score of every feature that enters a layer."""
        weight, (statistic,) = reader.weight(view), self.required()  # [out, in, kernel]
        flow = view.stat(statistic, reader.param).to(weight).view(weight.shape[1:])  # [in, kernel]
        size = {"wifv": weight.square().sum(0), "wifn": weight.abs().mean(0)}.get(self.metric, 1.0)
        value = (size * (flow.sqrt() if self.metric == "wifn" else flow)).sum(1)  # [in]
        if reader.features.shape[1] > 1 and self.square_heads:
            value = value.square()
        alive = view.alive(reader.param).movedim(reader.dim, 0).flatten(1).any(1).to(value.device)
        there = value[alive] if bool(alive.any()) else value
        std = there.std(correction=min(1, len(there) - 1)).clamp(min=1e-300)
        return (value - there.mean()) / std if self.standardise else value
