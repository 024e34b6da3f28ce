"""Single weights: every element of every prunable weight is a unit of its own."""

from __future__ import annotations

from torch import nn

from ..core.axes import Structure
from ..core.component import register
from ..core.errors import PlanError
from ..core.layout import whole
from ..core.types import Member, Target
from .prunable import Weight, chosen


@register("weights")
class Weights(Structure):
    """Single weights (unstructured pruning), one target per tensor.

    Attributes:
        include: selectors of parameters (names, globs, `re:` patterns); only these are pruned.
        exclude: selectors of parameters to leave dense.
        classifier: whether the last layer is pruned as well.
        inputs_multiple_of: leave out weights whose input count is no multiple (N:M needs M).
        kernel: leave out all but convolutions with square kernels of this side; None = any weight.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    classifier: bool = False
    inputs_multiple_of: int = 1
    kernel: int | None = None

    def targets(self, model: nn.Module, example: object = None) -> tuple[Target, ...]:
        """One target per weight tensor, shape = the tensor's shape."""
        weights = chosen(model, example, self.include, self.exclude, self.classifier)
        fitting = [w for w in weights if self._fits(w)]
        if not fitting:
            square = f" and a kernel of side {self.kernel}" if self.kernel else ""
            raise PlanError(
                f"no weight has a multiple of {self.inputs_multiple_of} inputs{square}; "
                "such a pattern cannot be pruned in this model"
            )
        return tuple(_target(w) for w in fitting)

    def _fits(self, weight: Weight) -> bool:
        shape = weight.tensor.shape
        sides = {n for n, dim in zip(shape, weight.dims, strict=True) if dim == "k"}
        if self.kernel is not None and (sides != {self.kernel} or len(shape) < 4):
            return False
        return shape[weight.dims.index("in")] % self.inputs_multiple_of == 0


def _target(weight: Weight) -> Target:
    shape = tuple(weight.tensor.shape)
    member = Member(weight.name, whole(shape))
    return Target(weight.name, "weights", shape, (member,), dims=weight.dims, layer=weight.layer)
