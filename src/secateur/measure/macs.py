"""Multiply-accumulates, counted operator by operator while the model runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .forward import as_call, device_of, evaluating, explained
from .params import kept_masks
from .tally import countable, tally


@dataclass(frozen=True)
class MacCount:
    """The work of one forward pass of the whole example; give a batch of 1 for the usual figure.

    Attributes:
        total: multiply-accumulates of all matrix products and convolutions.
        nonzero: the same without those of removed weights.
        layers: module name → MACs; the innermost module that ran the operator ("" is the model).
        weights: parameter name → MACs it takes part in.
        nonzero_weights: parameter name → those that its kept elements take part in.
        traffic: module name → bytes its operators read and wrote, everything counted as it passes.
        operators: how many operators did work (views do none).
        simulated: counted on tensors without data (True), or on a real run because the model looks
            at values (False).
    """

    total: int
    nonzero: int
    layers: dict[str, int]
    weights: dict[str, int]
    nonzero_weights: dict[str, int]
    traffic: dict[str, int]
    operators: int
    simulated: bool


def count_macs(
    model: nn.Module, example: Any, masks: Mapping[str, Tensor] | None = None
) -> MacCount:
    """Count MACs with the formulas of torch's flop counter (FLOPs / 2), by layer and by weight.

    total = Σ_op MACs(op);  nonzero = total − Σ_w MACs(w) · (1 − density(w))

    where w runs over the prunable weights (`params.kept_masks`): a weight's non-zero MACs are its
    density times the MACs it takes part in. That is exact for linear layers and for convolutions
    as they are counted, padding included. Attention counts its two matrix products. What is not a
    product (norms, activations, pooling, adding a bias) counts nothing.

    Nothing is computed and no memory taken where the model allows it: parameters and example are
    replaced by tensors without data. The model is run in evaluation mode and left as it was.

    Args:
        model: on any one device, the meta device included.
        example: a tensor, a tuple of arguments or a dict of keyword arguments.
        masks: parameter name → boolean tensor, True = kept.

    >>> import torch
    >>> count = count_macs(nn.Conv2d(3, 8, 3, padding=1), torch.ones(1, 3, 10, 10))
    >>> count.total == 10 * 10 * 8 * 3 * 3 * 3
    True
    """
    call = as_call(example)
    device = device_of(model)
    call = call.map(lambda tensor: tensor.to(device))
    with evaluating(model), countable(), explained(call):
        seen, simulated = tally(model, call)
    density = {name: _density(mask) for name, mask in kept_masks(model, masks).items()}
    nonzero = {name: round(macs * density.get(name, 1.0)) for name, macs in seen.weights.items()}
    total = sum(seen.layers.values())
    return MacCount(
        total=total,
        nonzero=total - sum(seen.weights.values()) + sum(nonzero.values()),
        layers=dict(seen.layers),
        weights=dict(seen.weights),
        nonzero_weights=nonzero,
        traffic=dict(seen.traffic),
        operators=seen.operators,
        simulated=simulated,
    )


def _density(mask: Tensor) -> float:
    return int(mask.count_nonzero()) / max(mask.numel(), 1)
