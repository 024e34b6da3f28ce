"""Units in the order they stand in: for networks whose basis put the best first."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..core.axes import Criterion, Speaks, View
from ..core.component import register
from ..core.types import Target


@register("leading")
class Leading(Criterion):
    """s_u = n - u for unit u = 0 … n - 1: the first ones stay.

    For structures whose basis has an order of its own, such as principal axes by their eigenvalues
    at the moment each place was looked at. Units of different targets are not comparable by it.

    Shapes: [target.shape] float64. The value says where a unit stands and nothing else.

    Paper: Ashkboos, Croci, do Nascimento, Hoefler, Hensman 2024, arXiv 2401.15024.
    """

    speaks: ClassVar[Speaks] = "coupled"

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] n, n - 1, … 1."""
        weight = view.weight(target.members[0].param)
        device = "cpu" if weight.is_meta else weight.device  # weights need not be there
        falling = torch.arange(target.units, 0, -1, dtype=torch.float64, device=device)
        return falling.view(target.shape)
