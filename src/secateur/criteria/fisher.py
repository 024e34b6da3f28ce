"""Fisher: the loss to second order when a unit's output goes."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import Criterion, Speaks, View
from ..core.component import register
from ..core.types import Target


@register("fisher")
class Fisher(Criterion):
    r"""s_u = (1/2n) Σ_x (Σ_j h_j(x) ∂ℓ(x)/∂h_j)² over the outputs j of unit u.

    h: what unit u puts out, as the next layer reads it; ℓ(x): the loss of one sample. Half the
    diagonal of the empirical Fisher matrix of gates on the units, which stands for the Hessian.

    Shapes: [target.shape] float64.

    Paper: Theis, Korshunova, Tejani, Huszár 2018, arXiv 1801.05787. It removes one channel at a time
    in between steps of training and divides by the operations a channel costs.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gate_squared"})
    speaks: ClassVar[Speaks] = "coupled"

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] half the mean square of the gate's gradient."""
        return view.stat("gate_squared", target.name) / 2
