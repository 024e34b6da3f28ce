"""What reads a unit: the layers a coupled structure's output enters, and their inputs unit by unit."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from ..core.axes import View
from ..core.errors import PlanError
from ..core.types import Member, Target


def consumers(target: Target, who: str) -> tuple[Member, ...]:
    """The members that read the units: the down projection of an FFN, the output projection of heads.

    Args:
        who: the criterion that asks, for the error where a target has none.
    """
    found = tuple(member for member in target.members if member.reads is not None)
    if not found:
        raise PlanError(
            f"{who} judges units by what enters the layers that read them; no layer is known to "
            f"read '{target.name}'. Use structure 'coupled' and leave this target out"
        )
    return found


def by_unit(view: View, member: Member, values: Tensor) -> Tensor:
    """[inputs of the layer] -> [units, inputs a unit], e.g. one column for each of a head's widths.

    Of a convolution the inputs are channels x kernel, as in a flattened filter.
    """
    assert member.reads is not None
    weight, split = view.weight(member.param), list(member.layout.shape)
    last = weight.dim() == 2 and member.reads == 0  # [in, out] as in GPT-2: the outputs come last
    outputs = -1 if last else 0
    shape = list(weight.shape)
    shape[outputs] = split[outputs] = 1
    if values.numel() != math.prod(shape):
        raise PlanError(
            f"the inputs of '{member.param}' ({values.numel()}) cannot be told by unit: its layer "
            "works in groups; leave it out"
        )
    layout = replace(member.layout, shape=tuple(split))
    return layout.matrix(values.view(shape))
