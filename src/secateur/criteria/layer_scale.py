"""Layer scale: early, middle and late layers weigh differently."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.types import Target
from .magnitude import Magnitude


@register("layer-scale")
class LayerScale(Criterion):
    r"""s_u = c_l · inner_u, with c_l `early`, `middle` or `late` by the third of the depth u lies in.

    The i-th of n targets of a kind (FFNs, attentions) lies in third ⌊3 i / n⌋. A small factor makes a
    third go first, a large one protects it. The inner scores must not be negative.

    Shapes: [target.shape].

    Attributes:
        inner: the criterion that scores.
        early, middle, late: the factors.

    Paper: none, the smart-farm study; how unequal layers are by depth was measured by Gromov et al.
    2024, arXiv 2403.17887.
    """

    inner: Criterion = Magnitude()
    early: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    middle: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    late: float = Field(default=1.5, gt=0, allow_inf_nan=False)

    def required(self) -> frozenset[str]:
        """What the inner criterion needs."""
        return self.inner.required()

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the inner scores times the factor of the target's third."""
        alike = [t.name for t in view.every if t.kind == target.kind]
        third = 3 * alike.index(target.name) // len(alike)
        return self.inner.score(view, target) * (self.early, self.middle, self.late)[third]
