"""`trace`: the structures of a network that can go, and what cannot, with the reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from secateur.structure.graph.axes import Axis, Frozen, axes_of, frozen_of, macs_of
from secateur.structure.graph.capture import SECONDS, capture
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
        untraced: module -> why it could not be traced; its traced submodules stand for it.
    """

    axes: tuple[Axis, ...]
    frozen: tuple[Frozen, ...]
    unknown: Mapping[str, Sequence[str]]
    events: tuple[Event, ...]
    inference: Inference
    untraced: Mapping[str, str]

    def macs(self, kept: Kept | None = None) -> int:
        """Multiplications of all contractions at the example when only `kept` units stay."""
        return macs_of(self.inference.costs, kept)


def trace(
    model: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    dynamic: bool = True,
    limits: Limits | None = None,
    outputs: Sequence[str] | None = None,
    seconds: float = SECONDS,
) -> Trace:
    """Find every axis of `model`, traced on an example.

    Args:
        model: it is left as it was.
        args: positional arguments of the example.
        kwargs: its keywords.
        dynamic: leave the batch size free where the network permits it.
        limits: what the analysis may cost.
        outputs: selectors of the outputs that keep their sizes (`outputs.outputs_of`).
        seconds: after this time the capture is an error, and the analysis freezes what is left.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> [(a.name, a.kind, a.units, a.parameters) for a in trace(net, (torch.zeros(2, 3),)).axes]
    [('0', 'neurons', 8, 6)]
    """
    captured = capture(model, args, kwargs, dynamic, outputs, seconds)
    found = infer(captured, limits or Limits(seconds=seconds))
    found.inexact += inexact_by_value(found)
    events = tuple(dict.fromkeys(found.solver.events))
    untraced = captured.parts.why if captured.parts is not None else {}
    return Trace(
        tuple(axes_of(found)), tuple(frozen_of(found)), found.unknown, events, found, untraced
    )
