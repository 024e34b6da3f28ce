"""Which layers read the units of a target, and as which of their inputs."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .axes import View
from .errors import PlanError
from .layout import Layout
from .types import Target


def inputs(layout: Layout, shape: tuple[int, ...], dim: int = 1) -> Tensor | None:
    """[units, features] the inputs of a weight that each unit owns whole; `dim` numbers its inputs.

    None where the units are no inputs.

    >>> from secateur.core.layout import along
    >>> inputs(along((3, 2), 1), (3, 2)), inputs(along((3, 2), 0), (3, 2))
    (tensor([[0],
            [1]]), None)
    """
    if len(shape) < 2:
        return None
    places = [1] * len(shape)
    places[dim] = shape[dim]
    number = torch.arange(shape[dim]).view(places).expand(shape)
    view = layout.view(number)  # [lead..., rest...], stride 0 along what the number does not name
    elements = 1
    for rest in range(view.dim() - 1, layout.lead - 1, -1):
        if view.stride(rest) == 0 or view.shape[rest] == 1:
            elements *= view.shape[rest]
            view = view.select(rest, 0)
    if elements * shape[dim] != math.prod(shape):
        return None
    return view.reshape(layout.units, -1)


class Reader(NamedTuple):
    """A weight that reads units: its name, [units, features] which inputs are whose, its input side."""

    param: str
    features: Tensor
    dim: int

    def weight(self, view: View) -> Tensor:
        """[out, in, kernel] the weight in float64, whichever way round the layer stores it."""
        found = view.weight(self.param).double().movedim(self.dim, 1)
        return found.reshape(*found.shape[:2], -1)


def readers(view: View, target: Target) -> list[Reader]:
    """Every weight that reads the target's units as its inputs.

    Tracing tells them (`Member.reads`): the shape of a square weight alone does not say which of its
    sides is the input.
    """
    found: dict[tuple[str, int], list[Tensor]] = {}
    for member in target.members:
        if member.reads is not None:
            shape = tuple(view.weight(member.param).shape)
            features = inputs(member.layout, shape, member.reads)
            if features is not None:
                found.setdefault((member.param, member.reads), []).append(features)
    if not found:
        raise PlanError(
            f"no layer reads the units of '{target.name}' ({target.kind}) as its inputs, so what "
            "flows into them cannot be judged; use a coupled structure, such as `coupled` with "
            "kinds neurons or heads"
        )
    return [Reader(param, torch.cat(parts, 1), dim) for (param, dim), parts in found.items()]


def read(view: View, target: Target, statistic: str) -> Tensor:
    """[units, values a unit] a statistic of the inputs, by unit, over all layers that read the target.

    Of a convolution every place of the kernel has a value, as in a flattened filter.
    """
    parts = []
    for param, features, _ in readers(view, target):
        values, shape = view.stat(statistic, param), view.weight(param).shape
        places = math.prod(shape[2:])  # of the kernel
        if values.numel() not in (shape[0] * places, shape[1] * places):
            raise PlanError(
                f"the {values.numel():,} values of '{param}' {list(shape)} cannot be told by unit: its "
                "layer works in groups or holds experts; leave it out"
            )
        rows = values.view(-1, places)  # [inputs, kernel]
        parts.append(rows[features.to(rows.device)].flatten(1))
    return torch.cat(parts, 1)
