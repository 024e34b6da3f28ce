"""Group lasso: the norm of what each unit owns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..core.component import register
from ..core.training import Pressure, Weights
from ..core.types import Target
from .gradients import Gradients, Strength, squares, tensors_of


@register("group-lasso")
class GroupLasso(Pressure):
    """strength · Σ_tensors Σ_u ‖w_u‖₂, w_u = unit u's slice of one tensor: strength · w / ‖w_u‖.

    The filters that write a unit and the columns of the layers that read it are groups of their own,
    the paper's filter-wise and channel-wise groups. Biases and norms are not pushed. A slice of zeros
    stays.

    Attributes:
        strength: λ of both kinds of groups.

    Paper: Wen, Wu, Wang, Chen, Li 2016, arXiv 1608.03665, whose shape-wise and depth-wise groups are
    not among these. Groups are not weighted by their size, as in the paper.
    """

    strength: Strength = 1e-4

    def gradient(
        self,
        weights: Weights,
        targets: tuple[Target, ...],
        progress: float,
        decided: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """strength · w / ‖w_u‖; the same at all times."""
        out = Gradients(weights)
        for target in targets:
            for members in tensors_of(weights, target).values():
                norm = squares(weights, members).sqrt()  # [units]
                factor = torch.where(norm > 0, self.strength / norm, 0)
                for member in members:
                    out.add(member, factor)
        return dict(out)
