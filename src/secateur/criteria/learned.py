"""What training has learned of each unit."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.errors import PlanError
from ..core.types import Target


@register("learned")
class Learned(Criterion):
    """s_u = what the recipe's gate has learned of unit u; the gate's own card has the equation.

    Without a gate it is 1 where the recipe's pressure has spared unit u, and 0 where it has marked it to go.

    Shapes: [target.shape].

    Paper: those of the gates `edge-popup` (Ramanujan et al. 2020, arXiv 1911.13299), `biprop`
    (Diffenderfer & Kailkhura 2021, arXiv 2103.09377), `movement`,
    `soft-movement` (Sanh et al. 2020, arXiv 2005.07683) and `hard-concrete` (Louizos et al. 2018, arXiv
    1712.01312).
    """

    of_training: ClassVar[bool] = True

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] as learned."""
        if target.name not in view.learned:
            raise PlanError(
                f"nothing has been learned of '{target.name}': scores that a gate learns come from a "
                "training; use `secateur.prune` with a recipe that has a gate"
            )
        return view.learned[target.name]
