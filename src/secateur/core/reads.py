"""Which layers read the units of a target, and as which of their inputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .axes import View
from .errors import PlanError
from .layout import Layout
from .types import Target


def inputs(layout: Layout, shape: tuple[int, ...]) -> Tensor | None:
    """[units, features] the inputs of a weight [out, in, ...] that each unit owns whole.

    None where the units are no inputs.

    >>> from secateur.core.layout import along
    >>> inputs(along((3, 2), 1), (3, 2)), inputs(along((3, 2), 0), (3, 2))
    (tensor([[0],
            [1]]), None)
    """
    if len(shape) < 2:
        return None
    number = torch.arange(shape[1]).view(1, -1, *[1] * (len(shape) - 2)).expand(shape)
    view = layout.view(number)  # [lead..., rest...], stride 0 along what the number does not name
    elements = 1
    for dim in range(view.dim() - 1, layout.lead - 1, -1):
        if view.stride(dim) == 0 or view.shape[dim] == 1:
            elements *= view.shape[dim]
            view = view.select(dim, 0)
    if elements * shape[1] != math.prod(shape):
        return None
    return view.reshape(layout.units, -1)


def readers(view: View, target: Target) -> list[tuple[str, Tensor]]:
    """(weight, [units, features]) of every layer that reads the target's units as its inputs.

    Weights are [out, in, ...], as linear layers and convolutions have them.
    """
    found: dict[str, list[Tensor]] = {}
    for member in target.members:
        features = inputs(member.layout, tuple(view.weight(member.param).shape))
        if features is not None:
            found.setdefault(member.param, []).append(features)
    if not found:
        raise PlanError(
            f"no layer reads the units of '{target.name}' ({target.kind}) as its inputs, so what "
            "flows into them cannot be judged; use a coupled structure, such as `coupled` with "
            "kinds neurons or heads"
        )
    return [(param, torch.cat(parts, 1)) for param, parts in found.items()]
