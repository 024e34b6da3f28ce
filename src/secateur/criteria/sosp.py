"""SOSP: second order over whole structures, with what all of them do to each other."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.types import Target


@register("sosp")
class Sosp(Criterion):
    r"""s_u = |θ_uᵀ g| + ½ |θ_uᵀ H Σ_v θ_v| (variant `h`) or |θ_uᵀ g| + ½ Σ_v |θ_uᵀ G θ_v| (variant `i`).

    θ_u: the weights that unit u owns, v: all units, g and H: gradient and Hessian of the mean loss,
    G = (1/n) Σ_x φᵀ R φ: its Gauss-Newton part, φ = ∂f/∂θ the Jacobian of the outputs f, R = ∂²ℓ/∂f².
    Correlations within and between layers count: in `h`, where they may cancel, at the price of one
    product with the Hessian; in `i` each by its size, at one backward pass for each output of each sample.

    Shapes: [target.shape] float64.

    Attributes:
        variant: `h`, the exact Hessian in one product, or `i`, the Gauss-Newton matrix pair by pair.

    Paper: Nonnenmacher, Pfeil, Steinwart, Reeb 2022, arXiv 2110.11395. A structure there is a filter,
    here all that goes with a channel, the columns that read it too. Both variants are tested against
    matrices written out; the official code was not compared. Batch norms use their running statistics.
    """

    needs: ClassVar[frozenset[str]] = frozenset(
        {"gradient_inference", "hessian_weight", "gauss_newton_abs"}
    )

    variant: Literal["h", "i"] = "h"

    def required(self) -> frozenset[str]:
        """The gradient, and the curvature of the variant."""
        second = "hessian_weight" if self.variant == "h" else "gauss_newton_abs"
        return frozenset({"gradient_inference", second})

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] first and second order."""
        first = self._along(view, target, "gradient_inference")
        if self.variant == "i":
            return first.abs().view(target.shape) + view.stat("gauss_newton_abs", target.name) / 2
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
