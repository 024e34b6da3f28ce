"""Nothing to compare before the network runs: it judges for every input anew."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.errors import PlanError
from ..core.types import Target


@register("per-input")
class PerInput(Criterion):
    """s_u = what the recipe's run-time layers say of unit u, for every input by itself.

    There is no score of a unit as such; how many stay must follow from sizes alone. The materialiser's own
    card has the equation.

    Shapes: [target.shape] for each input, while the network runs.

    Paper: those of what the recipe makes, `channel-gates` (Gao et al. 2019, arXiv 1810.05331).
    """

    at_run_time: ClassVar[bool] = True

    def score(self, view: View, target: Target) -> Tensor:
        """Refused."""
        raise PlanError(
            f"units of '{target.name}' are judged for every input while the network runs and have no scores "
            "before; use an allocator that goes by sizes (uniform, erk, given), or another criterion"
        )
