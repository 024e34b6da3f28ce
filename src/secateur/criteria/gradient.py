"""Gradient magnitude: where a new connection would change the loss most (RigL's growth)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import ElementCriterion, View
from ..core.component import register


@register("gradient")
class Gradient(ElementCriterion):
    r"""s_i = |g_i|, the magnitude of the gradient of the mean loss over the batches.

    g: dL/dw_i, of pruned weights too (they are zero; the hooks of hard masks must be suspended):
    the first-order gain of a new weight there. Meant for `grow`.

    Shapes: elements [shape of the parameter], float32 or wider.

    Paper: Evci, Gale, Menick, Castro, Elsen 2020, arXiv 1911.11134. The official code takes the
    gradient of one training batch with the regulariser in the loss.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def elements(self, view: View, param: str) -> Tensor:
        """|g|."""
        return view.stat("gradient", param).abs()
