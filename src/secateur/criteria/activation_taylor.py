"""Taylor on activations: the gradient of a gate on what a unit puts out."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import Criterion, Speaks, View
from ..core.component import register
from ..core.types import Target


@register("activation-taylor")
class ActivationTaylor(Criterion):
    r"""s_u = a_u / √(Σ_v a_v²), a_u = (1/n) Σ_x |Σ_j h_j(x) ∂ℓ(x)/∂h_j| over the outputs j of unit u.

    h: what unit u puts out, as the next layer reads it; ℓ(x): the loss of one sample. The sum is
    the gradient of a gate on the unit, for channels and for attention heads alike.

    Shapes: [target.shape] float64.

    Attributes:
        normalise: divide by the norm over the target, so that layers can be compared.

    Paper: Molchanov, Tyree, Karras, Aila, Kautz 2017, arXiv 1611.06440, whose mean over the places
    of a feature map drops out of the quotient; Michel, Levy, Neubig 2019, arXiv 1905.10650, for heads.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gate_abs"})
    speaks: ClassVar[Speaks] = "coupled"

    normalise: bool = True

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the mean size of the gate's gradient."""
        size = view.stat("gate_abs", target.name)
        norm = size.square().sum().sqrt()
        return size / norm if self.normalise and float(norm) > 0 else size
