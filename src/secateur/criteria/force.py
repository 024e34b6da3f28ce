"""FORCE: SNIP at the sparse network, which lets removed weights come back."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import ElementCriterion, View, wide
from ..core.component import register


@register("force")
class Force(ElementCriterion):
    r"""s_i = |w_0i · g_i(m ∘ w)|: the weight's original value times its gradient in the sparse net.

    w_0: the weight at step 0, g: the gradient of the mean loss at the masked weights m ∘ w, taken
    of pruned weights too (the hooks of hard masks must be suspended). A pruned weight is zero and
    would score 0 by its present value; by its original one it may win its place back, where the
    schedule regrows. Without pruning this is SNIP.

    Shapes: elements [shape of the parameter], float32 or wider.

    Paper: de Jorge, Sanyal, Behl, Torr, Rogez, Dokania 2021, arXiv 2006.09081. Iterative SNIP of
    the same paper, in which what is gone stays gone, is `snip` on an exponential schedule. The
    official code draws the batches anew for every round.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "initial"})

    def elements(self, view: View, param: str) -> Tensor:
        """|w_0 g|."""
        origin = view.stat("initial", param)
        return (origin.to(wide(origin)) * view.stat("gradient", param)).abs()
