"""The residual stream where every place has a basis of its own: one axis for each place."""

from __future__ import annotations

from torch import nn

from ..core.axes import Structure
from ..core.component import register
from ..core.errors import PlanError
from ..core.types import Target
from .coupled import coupled_targets, trace_example


@register("rotated-residual")
class RotatedResidual(Structure):
    """Directions of the residual stream before every sublayer, in a network with linear shortcuts.

    With `basis` principal-axes each place of the stream has its own basis, and shortcuts lead from
    one to the next, so each place can lose directions by itself: columns of what reads, rows of what
    writes, and its side of the shortcuts. Norms go on dividing by the full width, so masking equals
    removal.

    Attributes:
        head: whether the last place, which the classifier reads, loses directions too.
    """

    head: bool = False

    @property
    def traces(self) -> bool:
        """Yes."""
        return True

    def targets(self, model: nn.Module, example: object = None) -> tuple[Target, ...]:
        """One target per place, shape (width,), in the order of the network."""
        if not any(name.endswith("_shortcut") for name, _ in model.named_modules()):
            raise PlanError(
                "no place of the residual stream can be pruned by itself: the network has no linear "
                "shortcuts; let the recipe have a basis, e.g. principal-axes"
            )
        traced = trace_example(model, example, f"structure '{self.name}'")
        places = [
            axis
            for axis in traced.axes
            if any(part.tensor.endswith("_shortcut.weight") for part in axis.members)
        ]
        found = tuple(coupled_targets(traced, model, places).values())
        return found if self.head else found[:-1]
