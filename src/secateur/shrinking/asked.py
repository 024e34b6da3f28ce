"""What is to go: named, masked by a result, or zero already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import PlanError, unknown
from ..core.result import Result
from ..core.types import Target
from ..structure.coupled import coupled_targets
from ..structure.depth import layers_of
from ..structure.graph import Axis, Trace
from ..structure.residual import residual_blocks

Keep = Mapping[str, Sequence[int]]
Plan = dict[Axis, list[int]]


@dataclass
class Asked:
    """What is to go.

    Attributes:
        layers: layers that go whole, and whether zeros in them would say the same.
        keep: structure -> units that stay, as named; None: those that are not zero.
        zero: whether only what is zero goes.
    """

    layers: dict[str, bool] = field(default_factory=dict)
    keep: dict[str, list[int]] = field(default_factory=dict)
    zero: bool = False

    @property
    def traces(self) -> bool:
        """Whether structures other than layers are asked for, or layers alone were not."""
        return self.zero or bool(self.keep) or not self.layers


def asked_for(what: Result | nn.Module, keep: Keep | None, model: nn.Module, example: Any) -> Asked:
    """What a call of `shrink` wants out.

    Args:
        what, keep, example: as `shrink` got them.
        model: the network without masks.
    """
    if keep is not None:
        return _named(keep, model, example)
    if isinstance(what, Result):
        kinds = {target.kind for target in what.targets}
        units = {n: mask.nonzero()[:, 0].tolist() for n, mask in what.units.items()}
        if kinds == {"layers"}:
            exact = {target.name: target.exact for target in what.targets}
            return Asked({name: exact[name] for name, stay in units.items() if not stay})
        if can_go(what.targets):
            return Asked(keep=units)
    return Asked(_zero_layers(model, example), zero=True)


def can_go(targets: Sequence[Target]) -> bool:
    """Whether what was pruned can leave the network, and not only be zero in it."""
    kinds = {target.kind for target in targets}
    return bool(kinds) and not kinds & {"weights", "rows", "blocks", "inputs", "attention"}


def _named(keep: Keep, model: nn.Module, example: Any) -> Asked:
    """Names of layers and of other structures apart."""
    named = {name: sorted(set(units)) for name, units in keep.items()}
    empty = [name for name in named if not named[name] and name in layers_of(model)]
    blocks = {b.name: b.identity for b in residual_blocks(model, example)} if empty else {}
    gone = {name: blocks[name] for name in empty if name in blocks}
    return Asked(gone, {name: units for name, units in named.items() if name not in gone})


def _zero_layers(model: nn.Module, example: Any) -> dict[str, bool]:
    """Residual blocks whose every parameter is zero, so that they do nothing already."""
    zero = {name for name in layers_of(model) if _is_zero(model.get_submodule(name))}
    if not zero:
        return {}
    return {b.name: True for b in residual_blocks(model, example) if b.identity and b.name in zero}


def _is_zero(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(p.is_meta or bool(p.any()) for p in parameters)


def plan_of(asked: Asked, traced: Trace, model: nn.Module) -> Plan:
    """The units that stay of every axis that loses some; an axis that would lose all is refused."""
    every = {axis.name: axis for axis in traced.axes}
    if asked.zero:
        plan = _by_zeros(traced, model, asked.layers)
    else:
        names = [*every, *layers_of(model)] if asked.layers else list(every)
        for name in asked.keep:
            if name not in every:
                raise unknown("structure", name, names)
        plan = {every[name]: units for name, units in asked.keep.items()}
    for axis, units in plan.items():
        if not units:
            raise PlanError(
                f"'{axis.name}' would lose all of its {axis.units} units; at least one must stay. "
                "Raise the density, set a floor, or use scope 'tensor'"
            )
    return {axis: units for axis, units in plan.items() if len(units) < axis.units}


def _by_zeros(traced: Trace, model: nn.Module, layers: Mapping[str, bool]) -> Plan:
    """Units that own a parameter that is not zero, for the axes on by default that go exactly.

    Axes that lie within layers that go whole go with them.
    """
    axes = [axis for axis in traced.axes if axis.default and axis.exact]
    axes = [axis for axis in axes if not _within(axis, layers)]
    targets = coupled_targets(traced, model, axes)
    parameters = dict(model.named_parameters())
    return {axis: _alive(target, parameters) for axis, target in targets.items()}


def _within(axis: Axis, layers: Mapping[str, bool]) -> bool:
    return all(any(s.tensor.startswith(f"{name}.") for name in layers) for s in axis.members)


def _alive(target: Target, parameters: Mapping[str, Tensor]) -> list[int]:
    parts = [m.layout.matrix(parameters[m.param].detach()) != 0 for m in target.members]
    return torch.stack([part.any(1) for part in parts]).any(0).nonzero()[:, 0].tolist()
