"""SNIP: how strongly the loss reacts to a connection being there."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import ElementCriterion, View, wide
from ..core.component import register


@register("snip")
class Snip(ElementCriterion):
    r"""s_i = |w_i · g_i| = |∂L(c ∘ w)/∂c_i| at c = 1, the connection sensitivity.

    w: the weight, g: the gradient of the mean loss over the batches, c: a multiplier of each
    weight. At pruned weights it is 0. The paper divides by Σ_j |w_j g_j|, which changes no order.

    Shapes: elements [shape of the parameter], float32 or wider.

    Paper: Lee, Ajanthan, Torr 2019, arXiv 1810.02340. The official code scores one batch, biases
    too, and in evaluation mode; re-implementations that others compare with leave batch norms in
    training mode (here: `batch_statistics` of `collect`).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def elements(self, view: View, param: str) -> Tensor:
        """|w g|."""
        weight = view.weight(param)
        return (weight.to(wide(weight)) * view.stat("gradient", param)).abs()
