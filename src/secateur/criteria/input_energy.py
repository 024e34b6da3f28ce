"""Input energy: features that carry little of what a layer reads are worth least."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import Criterion, Speaks, View
from ..core.component import register
from ..core.reads import readers
from ..core.types import Target


@register("input-energy")
class InputEnergy(Criterion):
    r"""s_u = Σ_j (1/n) Σ_t x_tj² over the features j of unit u, as the first layer reads them.

    In the basis of its principal axes the energy of a residual stream along an axis is the
    eigenvalue of its covariance, and what is lost with the least ones is the least that any
    projection of that rank can lose.

    Shapes: [target.shape] float64.

    Paper: Ashkboos, Croci, do Nascimento, Hoefler, Hensman 2024, arXiv 2401.15024.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_square"})
    speaks: ClassVar[Speaks] = "coupled"

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the energy that enters the first reader."""
        first = readers(view, target)[0]
        energy = view.stat("input_square", first.param)
        energy = energy.view(view.weight(first.param).shape[first.dim], -1).sum(1)  # [in]
        return energy[first.features.to(energy.device)].sum(1).view(target.shape)
