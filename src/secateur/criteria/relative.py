"""Relative scores: targets of different sizes on one scale."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.types import Target
from .magnitude import Magnitude

By = Literal["mean", "max", "sum", "range", "gauss"]


@register("relative")
class Relative(Criterion):
    """s_u = inner_u / mean over the target's units of |inner|, or another scale of the target (`by`).

    Within a target the order stays; between targets, wide layers with many small weights and thin
    ones with few large weights become comparable. With s the inner scores of a target:

    - `mean`: s / mean |s|;  `max`: s / max |s|;  `sum`: s / Σ |s|, which favours narrow targets;
    - `range`: (s − min s) / (max s − min s);  `gauss`: (s − mean s) / std s.

    Where the divisor is zero nothing is divided.

    Shapes: [target.shape].

    Attributes:
        inner: the criterion that scores.
        by: the scale.

    Paper: Fang, Ma, Song, Mi, Wang 2023, arXiv 2301.12900; the official code offers the same five
    (`range` as "standarization"), mean by default, and divides by the sample's std where this is the
    population's.
    """

    inner: Criterion = Magnitude()
    by: By = "mean"

    def required(self) -> frozenset[str]:
        """What the inner criterion needs."""
        return self.inner.required()

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the inner scores on the target's own scale."""
        scores = self.inner.score(view, target).double()
        least, most = scores.aminmax()
        if self.by in ("range", "gauss"):
            low = least if self.by == "range" else scores.mean()
            width = most - least if self.by == "range" else scores.std(correction=0)
            return (scores - low) / width if float(width) > 0 else scores - low
        size = scores.abs()
        by = float(size.max() if self.by == "max" else size.sum())
        by = by / len(size.flatten()) if self.by == "mean" else by
        return scores / by if by > 0 else scores
