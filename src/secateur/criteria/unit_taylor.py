"""Taylor on the weights of a whole filter: the square of the sum, not the sum of the squares."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.types import Target


@register("unit-taylor")
class UnitTaylor(Criterion):
    r"""s_u = (1/B) Σ_b (Σ_i w_i g_bi)² over the elements i that unit u has in its first tensor.

    w: the weight, g_b: the gradient of the loss of batch b. What elements of one filter do to the
    loss may cancel here; in `taylor`, which sums the squares (w g)², it does not.

    Shapes: [target.shape] float64.

    Paper: Molchanov, Mallya, Tyree, Frosio, Kautz 2019, arXiv 1906.10771, the joint importance of a
    set of weights. The official code averages over the batches of an epoch of training, in which the
    weights move; here they stand still and batch norms use their running statistics.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"unit_taylor"})

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the mean squared change."""
        return view.stat("unit_taylor", target.name)
