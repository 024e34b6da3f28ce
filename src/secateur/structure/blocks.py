"""Blocks: rectangles of a weight matrix that stay or go together (as masks)."""

from __future__ import annotations

from torch import nn

from ..core.axes import Structure
from ..core.component import register
from ..core.errors import PlanError
from ..core.layout import Layout
from ..core.types import Member, Target
from .prunable import Weight, chosen


@register("blocks")
class Blocks(Structure):
    """Blocks of `height` outputs by `width` inputs; a convolution's kernel goes with its block.

    Attributes:
        height, width: block size; a weight whose outputs or inputs are no multiples is refused
            by name (exclude it).
        include, exclude, classifier: as for single weights.
    """

    height: int = 4
    width: int = 4
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    classifier: bool = False

    def targets(self, model: nn.Module, example: object = None) -> tuple[Target, ...]:
        """One target per layer, shape (outputs / height, inputs / width)."""
        weights = chosen(model, example, self.include, self.exclude, self.classifier)
        return tuple(self._target(w) for w in weights)

    def _target(self, weight: Weight) -> Target:
        shape = tuple(weight.tensor.shape)
        size = {"out": self.height, "in": self.width}
        for dim, extent in zip(weight.dims, shape, strict=True):
            if extent % size.get(dim, 1):
                raise PlanError(
                    f"'{weight.name}' has {extent} {dim}puts, no multiple of the block's "
                    f"{size[dim]}; change the block or exclude it"
                )
        member = Member(weight.name, _layout(shape, weight.dims, size))
        grid = member.layout.lead_shape
        return Target(
            f"{weight.name}[blocks]", "blocks", grid, (member,), ("out", "in"), layer=weight.layer
        )


def _layout(shape: tuple[int, ...], dims: tuple[str, ...], size: dict[str, int]) -> Layout:
    """[out/h, in/w | h, w, k...] of a weight, whichever of its dimensions come first."""
    split: list[int] = []
    outer: dict[str, int] = {}
    for dim, extent in zip(dims, shape, strict=True):
        if dim in size:
            outer[dim] = len(split)
            split += [extent // size[dim], size[dim]]
        else:
            split.append(extent)
    lead = (outer["out"], outer["in"])
    rest = tuple(i for i in range(len(split)) if i not in lead)
    return Layout(tuple(split), (*lead, *rest), lead=2)
