"""`trace`: the structures of a network that can go, and what cannot, with the reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from secateur.structure.graph.axes import Axis, Frozen, axes_of, frozen_of, macs_of
from secateur.structure.graph.capture import capture
from secateur.structure.graph.infer import Inference, infer
from secateur.structure.graph.positions import Kept
from secateur.structure.graph.solver import Event, Limits
from secateur.structure.graph.zeros import inexact_by_value


@dataclass(frozen=True)
class Trace:
    """What was found in a network.

    Attributes:
        axes: every coupled structure with a parameter.
        frozen: dimensions of parameters that keep (part of) their size, with the first reason.
        unknown: operator without a rule -> the layers it was met in.
        events: places where freedom was given up.
        inference: terms and patches, for editing.
    """

    axes: tuple[Axis, ...]
    frozen: tuple[Frozen, ...]
    unknown: Mapping[str, Sequence[str]]
    events: tuple[Event, ...]
    inference: Inference

    def macs(self, kept: Kept | None = None) -> int:
        """Multiplications of all contractions at the example when only `kept` units stay."""
        return macs_of(self.inference.costs, kept)


def trace(
    model: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    dynamic: bool = True,
    limits: Limits | None = None,
) -> Trace:
    """Find every axis of `model`, traced on an example.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> [(a.name, a.kind, a.units, a.parameters) for a in trace(net, (torch.zeros(2, 3),)).axes]
    [('0', 'neurons', 8, 6)]
    """
    found = infer(capture(model, args, kwargs, dynamic), limits)
    found.inexact += inexact_by_value(found)
    events = tuple(dict.fromkeys(found.solver.events))
    return Trace(tuple(axes_of(found)), tuple(frozen_of(found)), found.unknown, events, found)
