"""Relative scores: targets of different sizes on one scale."""

from __future__ import annotations

from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.types import Target
from .magnitude import Magnitude


@register("relative")
class Relative(Criterion):
    """s_u = inner_u / mean over the target's units of |inner|.

    Within a target the order stays; between targets, wide layers with many small weights and thin
    ones with few large weights become comparable. A target of zeros scores zero.

    Shapes: [target.shape].

    Attributes:
        inner: the criterion that scores.

    Paper: Fang, Ma, Song, Mi, Wang 2023, arXiv 2301.12900; the official code offers other norms
    (maximum, standardisation), of which the mean is its default.
    """

    inner: Criterion = Magnitude()

    def required(self) -> frozenset[str]:
        """What the inner criterion needs."""
        return self.inner.required()

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the inner scores over their mean size."""
        scores = self.inner.score(view, target).double()
        mean = scores.abs().mean()
        return scores / mean if float(mean) > 0 else scores
