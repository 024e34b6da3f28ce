"""Loss difference: how much worse the network gets without the unit, measured, not estimated."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.types import Target


@register("loss-difference")
class LossDifference(Criterion):
    r"""s_u = L(w with the unit's elements zero) − L(w), L the mean loss over the batches.

    One pass over the data for every unit: for layers, heads and other structures of which there are
    few. Negative where the network gets better. Perplexity is exp L, the same order.

    Shapes: [target.shape] float64.

    Paper: Michel, Levy, Neubig 2019, arXiv 1905.10650, for attention heads; Kim et al. 2024, arXiv
    2402.02834, for layers (perplexity with the block removed).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"loss_without"})

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] what the loss gains."""
        return view.stat("loss_without", target.name)
