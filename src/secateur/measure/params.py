"""How many weights there are, how many are kept, how many are not zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import BoolTensor, Tensor, nn

from ..core.errors import PlanError, unknown


@dataclass(frozen=True)
class ParameterCount:
    """Elements of a model's parameters; one that is shared under several names counts once.

    Attributes:
        total: all elements.
        nonzero: elements that are neither zero nor masked.
        prunable: elements of the parameters that pruning is about (see `kept_masks`).
        kept: those of `prunable` that are kept.
        density: parameter name → kept share, for every prunable parameter.
    """

    total: int
    nonzero: int
    prunable: int
    kept: int
    density: dict[str, float]

    @property
    def sparsity(self) -> float:
        """The removed share of the prunable elements: 1 − kept / prunable."""
        return 1 - self.kept / self.prunable if self.prunable else 0.0

    @property
    def sparsity_of_all(self) -> float:
        """The removed share of all elements: (prunable − kept) / total."""
        return (self.prunable - self.kept) / self.total if self.total else 0.0


def count_parameters(model: nn.Module, masks: Mapping[str, Tensor] | None = None) -> ParameterCount:
    """Count a model's parameters; `masks` as in `kept_masks`.

    >>> layer = nn.Linear(4, 2)
    >>> count = count_parameters(layer, {"weight": torch.eye(2, 4).bool()})
    >>> count.total, count.prunable, count.kept, count.sparsity, count.sparsity_of_all
    (10, 8, 2, 0.75, 0.6)
    """
    kept = kept_masks(model, masks)
    parameters = dict(model.named_parameters())
    numbers = {name: int(mask.count_nonzero()) for name, mask in kept.items()}
    return ParameterCount(
        total=sum(parameter.numel() for parameter in parameters.values()),
        nonzero=sum(_nonzero(parameter, kept.get(name)) for name, parameter in parameters.items()),
        prunable=sum(mask.numel() for mask in kept.values()),
        kept=sum(numbers.values()),
        density={name: numbers[name] / max(mask.numel(), 1) for name, mask in kept.items()},
    )


def kept_masks(
    model: nn.Module, masks: Mapping[str, Tensor] | None = None
) -> dict[str, BoolTensor]:
    """The mask (True = kept) of every prunable parameter, under the parameter's first name.

    With `masks`, exactly their parameters are prunable; a shared parameter may go by any of its
    names. Without, every floating-point parameter of two or more dimensions is, and an element
    counts as removed where it is zero.
    """
    if masks is None:
        return {
            name: parameter.detach() != 0  # type: ignore[misc]
            for name, parameter in model.named_parameters()
            if parameter.ndim > 1 and parameter.is_floating_point() and not parameter.is_meta
        }
    every = dict(model.named_parameters(remove_duplicate=False))
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    kept: dict[str, BoolTensor] = {}
    for name, mask in masks.items():
        if name not in every:
            raise unknown("parameter", name, every)
        _check(name, mask, every[name])
        own = first[id(every[name])]
        if not torch.equal(kept.setdefault(own, mask), mask):  # type: ignore[arg-type]
            raise PlanError(f"'{name}' and '{own}' are one parameter with two masks; give one")
    return kept


def _check(name: str, mask: Tensor, parameter: Tensor) -> None:
    if mask.dtype is not torch.bool or mask.shape != parameter.shape:
        raise PlanError(
            f"the mask of '{name}' is {tuple(mask.shape)} {mask.dtype}; "
            f"it must be {tuple(parameter.shape)} torch.bool"
        )


def _nonzero(parameter: Tensor, mask: Tensor | None) -> int:
    if parameter.is_meta:  # no values: all that are kept
        return parameter.numel() if mask is None else int(mask.count_nonzero())
    nonzero = parameter.detach() != 0
    return int((nonzero if mask is None else nonzero & mask.to(nonzero.device)).count_nonzero())
