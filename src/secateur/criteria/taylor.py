"""Taylor: how much the loss changes, to first order, when a weight goes."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from ..core.axes import ElementCriterion, View, wide
from ..core.component import register


@register("taylor")
class Taylor(ElementCriterion):
    r"""s_i = (1/B) Σ_b (w_i g_bi)² or, with `order="absolute"`, s_i = (1/B) Σ_b |w_i g_bi|.

    w: the weight, g_b: the gradient of the loss of batch b, B: the number of batches. The square
    (or the magnitude) is taken of each batch before averaging, so that batches that pull in
    opposite directions do not cancel; SNIP takes it of the mean. Larger units sum their elements.

    Shapes: elements [shape of the parameter].

    Paper: Molchanov, Mallya, Tyree, Frosio, Kautz 2019, arXiv 1906.10771 (eq. 8, over the weights
    of a filter). The official code accumulates over the batches of an epoch of training, while
    the weights move, and offers the gate (Σ_i w_i g_i)² of a filter beside it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient_squared", "gradient_abs"})

    order: Literal["squared", "absolute"] = "squared"

    def required(self) -> frozenset[str]:
        """The one of the two means that the order asks for."""
        return frozenset({"gradient_squared" if self.order == "squared" else "gradient_abs"})

    def elements(self, view: View, param: str) -> Tensor:
        """w² · mean g², or |w| · mean |g|."""
        weight = view.weight(param)
        weight = weight.to(wide(weight))
        if self.order == "squared":
            return weight.square() * view.stat("gradient_squared", param)
        return weight.abs() * view.stat("gradient_abs", param)
