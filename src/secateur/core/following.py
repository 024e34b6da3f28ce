"""Criteria that look on while the network trains, and score by what they have seen."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from .axes import Criterion, View
from .errors import PlanError
from .types import Target

SEEN = frozenset({"gradient", "gradient_squared", "gradient_abs"})
"""Statistics that one step of training has: those of its own batch's mean loss."""


class Following(Criterion):
    """A criterion that is shown every step of training, and remembers one number per unit.

    Gradients are those the optimiser gets, summed over parts and processes and clipped. Where adapters train
    beside frozen weights, a weight is W + s B A and its gradient an estimate from those of A and B.
    """

    of_training: ClassVar[bool] = True

    @abstractmethod
    def observe(self, view: View, target: Target, before: Tensor | None) -> Tensor:
        """[target.shape] what is known of the units after a step of training.

        Args:
            view: weights, and the statistics `SEEN` of the step's batch.
            target: the units.
            before: what was known before the step; None at the first.
        """

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] what is known by now."""
        if target.name not in view.learned:
            raise PlanError(
                f"criterion '{self.name}' has seen no step of training yet, and cannot judge "
                f"'{target.name}'; let the schedule begin later, and use `secateur.prune` with a training"
            )
        return view.learned[target.name]
