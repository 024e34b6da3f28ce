"""SOSP: second order over whole structures, with what all of them do to each other."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.types import Target


@register("sosp")
class Sosp(Criterion):
    r"""s_u = |Σ_i w_i g_i| + ½ |Σ_i w_i (Hθ)_i| over the elements i of unit u.

    w: the weight, g and H: gradient and Hessian of the mean loss, θ: the weights of all units
    together, so that Σ_i w_i (Hθ)_i is the sum of w_uᵀ H w_v over all units v: correlations within
    and between layers count, at the price of one product with the Hessian.

    Shapes: [target.shape] float64.

    Paper: Nonnenmacher, Pfeil, Steinwart, Reeb 2022, arXiv 2110.11395, its variant H; a structure
    there is a filter, here all that goes with a channel. Batch norms use their running statistics.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient_inference", "hessian_weight"})

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] first and second order."""
        first = self._along(view, target, "gradient_inference")
        second = self._along(view, target, "hessian_weight")
        return (first.abs() + second.abs() / 2).view(target.shape)

    def _along(self, view: View, target: Target, statistic: str) -> Tensor:
        """[units] Σ w times the statistic over all that a unit owns."""
        total: Tensor | float = 0.0
        for m in target.members:
            product = view.weight(m.param).double() * view.stat(statistic, m.param).double()
            total = total + m.layout.matrix(product).sum(1)
        assert isinstance(total, Tensor)
        return total
