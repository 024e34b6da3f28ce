"""Axes whose units may stand in any order: what produces them and what reads them is put in the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from .graph import Axis
from .graph.axes import Slice

KINDS = ("neurons", "head width", "residual width")
"""Kinds of axes along which a network computes the same in any order."""

Moves = Mapping[str, Mapping[int, Tensor]]
"""Tensor -> dimension -> [size] which of its slices comes to each place."""


@dataclass(frozen=True)
class Part:
    """One dimension of one tensor that an axis runs through; tensors int64 [size of the dimension].

    Attributes:
        tensor, dim: which.
        unit: of the axis at each position; −1 where there is none.
        lane: which of the orders holds there.
        stride: how far apart neighbouring units lie.
    """

    tensor: str
    dim: int
    unit: Tensor
    lane: Tensor
    stride: Tensor

    def index(self, orders: Tensor) -> Tensor:
        """[size] which position comes to each when units are put in orders [lanes, units]."""
        here = torch.arange(len(self.unit))
        moved = (orders[self.lane, self.unit] - self.unit) * self.stride
        return torch.where(self.unit < 0, here, here + moved)

    def columns(self, lane: int) -> Tensor:
        """[copies, units] the positions of the units of a lane, once for each time they occur."""
        here = (self.unit >= 0) & (self.lane == lane)
        at, unit = here.nonzero()[:, 0], self.unit[here]
        first = at - unit * self.stride[here]  # where unit 0 of the same copy lies
        copies = first.unique()
        order = (torch.searchsorted(copies, first) * (int(unit.max()) + 1) + unit).argsort()
        return at[order].view(len(copies), -1)

    def aligned(self, m: int) -> bool:
        """Whether runs of m consecutive positions hold m units of one lane and one copy."""
        if self.unit.numel() % m or bool((self.stride != 1).any()):
            return False
        runs, first = self.unit.view(-1, m), self.unit.view(-1, m)[:, :1]
        inside = (runs == first + torch.arange(m)).all(1) & (first[:, 0] % m == 0)
        return bool((inside | (runs < 0).all(1)).all())


@dataclass(frozen=True)
class FreeOrder:
    """An axis whose units may stand in any order.

    Attributes:
        name, kind: the axis.
        units: of one order.
        lanes: how many orders there are: one, or one for every key-value head.
        parts: every tensor and dimension that is put in the new order.
    """

    name: str
    kind: str
    units: int
    lanes: int
    parts: tuple[Part, ...]

    def moves(self, orders: Tensor) -> Moves:
        """What is moved when the units are put in orders [lanes, units]."""
        out: dict[str, dict[int, Tensor]] = {}
        for part in self.parts:
            out.setdefault(part.tensor, {})[part.dim] = part.index(orders)
        return out


@torch.no_grad()
def move(model: nn.Module, moves: Moves) -> None:
    """Put the tensors of a model in another order, in place."""
    named = model.named_parameters(remove_duplicate=False)
    for name, tensor in named:
        for dim, index in moves.get(name, {}).items():
            tensor.copy_(tensor.index_select(dim, index.to(tensor.device)))


def free_orders(axes: Iterable[Axis], shapes: Mapping[str, torch.Size]) -> Iterator[FreeOrder]:
    """Neurons, value channels within each key-value head, and the residual stream.

    `shapes` names the tensors that can be moved; an axis that runs through another has no free order.

    The channels of a head are read through attention, which treats heads apart, so that each
    key-value head, with the query heads that read it, may have an order of its own.
    """
    axes = tuple(axes)
    heads = [axis for axis in axes if axis.kind == "heads"]
    for axis in axes:
        if axis.kind in KINDS and all(part.tensor in shapes for part in axis.members):
            around = next((h for h in heads if _holds(h, axis)), None)
            if axis.kind != "head width":
                around = None
            lanes = around.units if around is not None else 1
            parts = tuple(_part(part, axis.units, around, shapes) for part in axis.members)
            yield FreeOrder(axis.name, axis.kind, axis.units, lanes, parts)


def _holds(heads: Axis, width: Axis) -> bool:
    """Whether all of a head's width lies in heads of that axis."""
    places = {(part.tensor, part.dim) for part in heads.members}
    return all((part.tensor, part.dim) in places for part in width.members)


def _part(part: Slice, units: int, around: Axis | None, shapes: Mapping[str, torch.Size]) -> Part:
    size = shapes[part.tensor][part.dim]
    unit, stride = _numbers(part, units, size)
    lane = torch.zeros(size, dtype=torch.long)
    if around is not None:
        own = next(s for s in around.members if (s.tensor, s.dim) == (part.tensor, part.dim))
        lane = _numbers(own, around.units, size)[0].clamp(min=0)
    return Part(part.tensor, part.dim, unit, lane, stride)


def _numbers(part: Slice, units: int, size: int) -> tuple[Tensor, Tensor]:
    """[size] the unit at each position (−1: none) and the distance to the next one."""
    unit = torch.full((size,), -1, dtype=torch.long)
    stride = torch.ones(size, dtype=torch.long)
    for place in part.places:
        for steps in product(*(range(count) for count, _ in place.repeats)):
            offset = sum(i * s for i, (_, s) in zip(steps, place.repeats, strict=True))
            at = place.offset + offset + place.stride * torch.arange(units)
            unit[at], stride[at] = torch.arange(units), place.stride
    return unit, stride
