"""Selections that leave every layer on a path: what a layer would lose last is held back for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..core.types import Target, Update
from .linear import flow
from .point import health_of
from .run import Run
from .step import step
from .view import ModelView

SHARPNESS = 8
"""Power of |w| under which the strongest of all paths outweighs the sum of the others."""


def connected_step(run: Run, view: ModelView, update: Update, first: bool) -> dict[str, Tensor]:
    """The step's masks; of a layer that they would cut off, the strongest path stays instead.

    The budget is the same: what the path needs is taken from the weakest others. A layer whose
    group has no place for its path (budgets by layer) stays cut, and is reported as ever.
    """
    held: dict[str, Tensor] = {}
    before = run.elements()
    masks = step(run.recipe, view, update, first=first)
    for find in (strongest_paths, paths_layer_by_layer):
        if cut := _cut(run, masks):
            paths = find(run.model, run.setting.example, before, cut)
            held = {n: held[n] | m if n in held else m for n, m in {**held, **paths}.items()}
            units = _units(run.targets, held)
            masks = step(run.recipe, view, update, first=first, hold=units)
    return masks


def _cut(run: Run, masks: Mapping[str, Tensor]) -> list[str]:
    """Parameters, one a layer, of the layers that the masks cut off."""
    elements = run.elements_of(masks)
    health = health_of(run.model, run.setting.example, elements)
    if health.untraced:
        return []
    layers = set(health.empty + health.unreachable)
    return [n for n in elements if n.rpartition(".")[0] in layers and elements[n].dim() > 1]


def _units(targets: tuple[Target, ...], held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Target -> bool [target.shape]: units that own a held element."""
    out = {}
    for target in targets:
        parts = [m.layout.matrix(held[m.param]).any(1) for m in target.members if m.param in held]
        if parts:
            out[target.name] = torch.stack(parts).any(0).view(target.shape)
    return out


def strongest_paths(
    model: nn.Module, example: object, masks: Mapping[str, Tensor], params: Sequence[str]
) -> dict[str, Tensor]:
    r"""The strongest path from input to output through each of some layers, as element masks.

    With R(p) the flow of the network of |w|^p, the flow through weight e is R_e = w_e^p ∂R/∂w_e^p;
    the path starts at the e of the layer for which it is largest. Of R_e the part through weight i
    is s_i = w_i^p ∂R_e/∂w_i^p. For large p the largest s_i of all layers lie on one path, the one
    whose product is the largest; only where products tie may they disagree.

    Args:
        model: the network; its weights are read.
        example: an input.
        masks: parameter -> bool, what is still there; only these parameters are held.
        params: the layers' weights.

    Returns:
        Parameter -> bool of its shape, for each of `params` one True in every layer that the path
        may use; nothing for layers that no path leads through.
    """
    total, leaves = flow(model, example, masks, power=SHARPNESS)
    slopes = torch.autograd.grad(total, [leaves[p] for p in params], create_graph=True)
    out: dict[str, Tensor] = {}
    for param, slope in zip(params, slopes, strict=True):
        through = slope * leaves[param]
        if bool((through > 0).any()):
            flows = _parts(through.flatten()[through.argmax()], leaves, masks)
            for name, flow_of in flows.items():
                out[name] = out[name] | _best(flow_of) if name in out else _best(flow_of)
    return out


def _parts(
    part: Tensor, leaves: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """{parameter: how much of `part` passes each element}, of the layers it passes at all."""
    wanted = [leaves[name] for name in masks]
    slopes = torch.autograd.grad(part, wanted, retain_graph=True, materialize_grads=True)
    flows = {n: s * leaves[n].detach() for n, s in zip(masks, slopes, strict=True)}
    return {n: f for n, f in flows.items() if bool((f > 0).any())}


def _best(flow_of: Tensor) -> Tensor:
    out = torch.zeros(flow_of.shape, dtype=torch.bool, device=flow_of.device)
    out.view(-1)[int(flow_of.argmax())] = True
    return out


def paths_layer_by_layer(
    model: nn.Module, example: object, masks: Mapping[str, Tensor], params: Sequence[str]
) -> dict[str, Tensor]:
    """As `strongest_paths`, one layer fixed after the other, so that ties cannot disagree."""
    out: dict[str, Tensor] = {}
    for param in params:
        narrowed = dict(masks)
        for name in [param, *(n for n in masks if n != param)]:
            found = strongest_paths(model, example, narrowed, [param])
            if name in found:
                narrowed[name] = found[name]
                out[name] = out[name] | found[name] if name in out else found[name]
    return out
