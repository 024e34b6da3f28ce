"""A smaller network against the masked one, and against what the stock class computes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.instead import call_with
from ..core.types import Masks, Target, element_masks
from ..core.zeroing import zero
from ..structure.built_anew import built_anew
from ..structure.example import arguments
from ..structure.graph.capture import EXPORT_FAILURES
from ..structure.graph.export import as_traced, said
from ..structure.graph.proof import difference, floats, run

TOLERANCE = 1e-4
"""The largest difference of the outputs, relative to them, with which a network is handed out."""


def from_masked(
    stock: nn.Module,
    targets: tuple[Target, ...],
    masks: Masks,
    example: Any,
    read: Callable[[Any], list[Tensor]],
    small: Any,
) -> float:
    """How far the delivered network is from the masked one, on the example and the network's own weights.

    Args:
        stock: the network before; only what the masks touch is copied.
        targets, masks: what went.
        read: the outputs that count.
        small: the outputs of the delivered network, or the network itself, to compare in float64.
    """
    args, kwargs = arguments(example)
    zeroed = masked_tensors(stock, targets, masks)
    if isinstance(small, nn.Module):
        args, kwargs = (
            _doubled(args),
            dict(zip(kwargs, _doubled(list(kwargs.values())), strict=True)),
        )
        small = run(copy.deepcopy(small).double(), args, kwargs)
        stock = copy.deepcopy(stock).double()
        zeroed = dict(zip(zeroed, _doubled(list(zeroed.values())), strict=True))
    with torch.no_grad(), as_traced(stock):
        wanted = call_with(stock, zeroed, args, kwargs)
    return difference(read(small), read(wanted))


def masked_tensors(
    model: nn.Module, targets: tuple[Target, ...], masks: Masks
) -> dict[str, Tensor]:
    """Copies of the tensors that targets own, with zeros at what the masks drop.

    >>> from ..structure.rows import Rows
    >>> net = nn.Linear(1, 2)
    >>> mask = {"weight[rows]": torch.tensor([True, False])}
    >>> masked_tensors(net, Rows().targets(net), mask)["weight"][1].tolist()
    [0.0]
    """
    tensors = {**dict(model.named_buffers()), **dict(model.named_parameters())}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    out = {}
    for name, keep in element_masks(targets, masks, shapes).items():
        out[name] = tensors[name].detach().clone()
        zero(out[name], keep)
    return out


def unlike_stock(small: nn.Module, outputs: Any, example: Any) -> str:
    """How the stock class computes something else from the same weights; empty where it does not.

    `outputs` are those of `small` on the example.
    """
    try:
        anew = run(built_anew(small), *arguments(example))
        distance = difference(floats(anew), floats(outputs))
    except EXPORT_FAILURES as error:
        return f"the stock architecture does not run with it: {said(error)}"
    if distance <= TOLERANCE:
        return ""
    return (
        f"its outputs would differ by {distance:.1e}: the stock architecture computes a scale or a "
        "table from sizes that have changed"
    )


def _doubled(values: Sequence[Any]) -> tuple[Any, ...]:
    is_float = lambda v: isinstance(v, Tensor) and v.is_floating_point()  # noqa: E731
    return tuple(v.double() if is_float(v) else v for v in values)
