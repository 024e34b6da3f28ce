"""One measured state of a network: densities, parameters, MACs, bytes, collapse."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from ..core.errors import PlanError
from ..core.types import Health
from ..measure import collapse
from ..measure.macs import count_macs
from ..measure.params import count_parameters
from ..measure.size import measure_size


def measure_point(
    model: nn.Module, example: Any, masks: Mapping[str, Tensor], meant: Collection[str] = ()
) -> dict[str, Any]:
    """Everything that is counted rather than evaluated, as plain data.

    Args:
        model: its pruned weights are zero.
        example: an input; without one MACs are None and paths are not followed.
        masks: parameter name -> bool of its shape.
        meant: layers that were removed as a whole because that was asked for.
    """
    count = count_parameters(model, masks)
    size = measure_size(model, masks)
    macs = count_macs(model, example, masks) if example is not None else None
    health = health_of(model, example, masks, meant)
    return {
        "sparsity": count.sparsity,
        "density_all": 1 - count.sparsity_of_all,
        "params": count.total,
        "nonzero": count.nonzero,
        "macs": macs.total if macs else None,
        "macs_nonzero": macs.nonzero if macs else None,
        "bytes_dense": size.dense,
        "bytes_stored": size.stored,
        "layers": {name: float(mask.double().mean()) for name, mask in masks.items()},
        "empty": health.empty,
        "unreachable": health.unreachable,
        "severed": health.severed,
        "untraced": health.untraced,
    }


def health_of(
    model: nn.Module, example: Any, masks: Mapping[str, Tensor], meant: Collection[str] = ()
) -> Health:
    """Collapsed layers; where paths cannot be followed, those without a kept weight, and why.

    Layers in `meant` are gone because a unit was all of them: no collapse.
    """
    found = _health_of(model, example, masks)
    empty = [layer for layer in found.empty if layer not in meant]
    unreachable = [layer for layer in found.unreachable if layer not in meant]
    return Health(empty, unreachable, found.severed, found.untraced)


def _health_of(model: nn.Module, example: Any, masks: Mapping[str, Tensor]) -> Health:
    if not masks:  # nothing is out
        return Health()
    if example is None:
        return _empty_layers(masks, "no example input was given")
    try:
        return collapse.check(model, example, masks)
    except (PlanError, RuntimeError) as error:  # an operator that paths cannot be followed through
        return _empty_layers(masks, " ".join(str(error).split())[:300])


def _empty_layers(masks: Mapping[str, Tensor], reason: str) -> Health:
    empty = [name.rpartition(".")[0] for name, mask in masks.items() if not bool(mask.any())]
    return Health(empty=empty, untraced=reason)
