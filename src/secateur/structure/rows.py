"""Rows and filters: a unit is everything that makes one output of a layer (as masks)."""

from __future__ import annotations

from torch import nn

from ..core.axes import Structure
from ..core.component import register
from ..core.layout import along
from ..core.types import Member, Target
from .prunable import Weight, chosen


@register("rows")
class Rows(Structure):
    """Rows of linear weights and filters of convolutions, masked; the bias goes with its row.

    Masking a row leaves the shapes as they are: consumers of the output see zeros (or what a
    following normalisation makes of them).

    Attributes:
        include, exclude, classifier: as for single weights.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    classifier: bool = False

    def targets(self, model: nn.Module, example: object = None) -> tuple[Target, ...]:
        """One target per layer, shape (outputs,)."""
        weights = chosen(model, example, self.include, self.exclude, self.classifier)
        parameters = dict(model.named_parameters())
        return tuple(_target(w, parameters) for w in weights)


def _target(weight: Weight, parameters: dict[str, nn.Parameter]) -> Target:
    shape = tuple(weight.tensor.shape)
    dim = weight.dims.index("out")
    members = [Member(weight.name, along(shape, dim))]
    own = weight.name.rpartition(".")[2].replace("weight", "bias")  # also in_proj_weight, weight_ih
    bias = f"{weight.layer}.{own}".lstrip(".")
    if bias != weight.name and bias in parameters and parameters[bias].shape == (shape[dim],):
        members.append(Member(bias, along((shape[dim],), 0)))
    return Target(
        f"{weight.name}[rows]",
        "rows",
        (shape[dim],),
        tuple(members),
        dims=("out",),
        layer=weight.layer,
    )
