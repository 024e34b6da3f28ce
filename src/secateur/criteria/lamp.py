"""LAMP: each score relative to all that are at least as large in the same target."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.errors import PlanError
from ..core.types import Target
from .magnitude import Magnitude


@register("lamp")
class Lamp(Criterion):
    r"""s_u = a_u² / Σ_{v: a_v ≥ a_u} a_v², over the surviving units u, v of one target.

    a: the scores of `inner` (|w| by default), non-negative. The largest unit of every target gets
    1, so that model-wide pruning takes the same share of the squared norm everywhere and leaves
    each target its best unit. Units that are pruned already have no part in the sums and get 0. Of
    equal units the one with the lower index counts as larger, as everywhere in `select`.

    Shapes: [target.shape], float64 where the device has it (sums over millions of weights).

    Paper: Lee, Park, Mo, Ahn, Shin 2021, arXiv 2010.07611. The official code uses the scores to
    count how many weights each layer keeps and leaves the choice to magnitudes, which is the same
    choice; it orders equal weights as its sort happens to.
    """

    inner: Criterion = Magnitude()

    def required(self) -> frozenset[str]:
        """What the inner criterion needs."""
        return self.needs | self.inner.required()

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the share of each unit in the tail it heads."""
        raw = self.inner.score(view, target)
        if bool((raw < 0).any()):
            raise PlanError(
                f"lamp needs scores that are not negative, but criterion '{self.inner.name}' is "
                "signed; use magnitude, taylor, snip or synflow inside it"
            )
        dtype = torch.float32 if raw.device.type == "mps" else torch.float64
        square = (raw.to(dtype).square() * view.masks[target.name].to(raw.device)).flatten()
        order = square.argsort(descending=True, stable=True)
        tail = torch.empty_like(square)
        tail[order] = square[order].cumsum(0)  # Σ over units at least as large
        return torch.where(square > 0, square / tail, 0.0).view(target.shape)
