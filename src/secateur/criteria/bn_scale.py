"""The size of a batch norm's scale."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.axes import Criterion, View, wide
from ..core.component import register
from ..core.errors import PlanError
from ..core.types import Target


@register("bn-scale")
class BnScale(Criterion):
    """s_u = Σ |γ_u| over the batch norms that unit u runs through (most run through one).

    Shapes: [target.shape].

    Paper: Liu, Li, Shen, Huang, Yan, Zhang 2017, arXiv 1708.06519.
    """

    speaks = "coupled"

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] absolute scales."""
        scales = [m for m in target.members if m.role == "scale"]
        if not scales:
            raise PlanError(
                f"criterion 'bn-scale' judges units by their batch norm; '{target.name}' "
                f"({target.kind}) runs through none. Leave it out, or use 'magnitude'"
            )
        parts = [m.layout.matrix(view.weight(m.param)).abs().sum(1) for m in scales]
        return torch.stack([p.to(wide(p)) for p in parts]).sum(0).view(target.shape)
