"""Magnitude: small weights are worth least."""

from __future__ import annotations

from torch import Tensor

from ..core.axes import ElementCriterion, View, wide
from ..core.component import register


@register("magnitude")
class Magnitude(ElementCriterion):
    r"""s_i = |w_i|^p of each weight; larger units pool their elements (`sum` of |w|^p by default).

    Shapes: elements [shape of the parameter]. p = 1 and p = 2 order single weights alike and
    differ once units pool (L1 and L2 norms of filters; `pool="norm"` takes the root of the sum of
    squares of the element scores, so use it with p = 1 for the L2 norm).

    Paper: Han et al. 2015, arXiv 1506.02626; Janowsky 1989 used it first.
    """

    p: float = 1.0

    def elements(self, view: View, param: str) -> Tensor:
        """|w|^p, in float32 or wider."""
        weight = view.weight(param)
        size = weight.abs()  # real also of complex weights
        return size.to(wide(size)).pow(self.p) if self.p != 1 else size
