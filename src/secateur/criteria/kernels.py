"""Kernels of convolutions as rows, and the patterns of weights that most of them have."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from ..core.axes import View, wide
from ..core.types import Target


def places(target: Target) -> int:
    """Places in one kernel; 0 where the units are not the weights of convolutions."""
    if "k" not in target.dims or set(target.dims[2:]) != {"k"}:
        return 0
    return math.prod(target.shape[2:])


def squares(view: View, target: Target) -> Tensor:
    """[kernels, places] the squares of the weights of a convolution."""
    weight = view.weight(target.members[0].param)
    return weight.to(wide(weight)).square().reshape(-1, places(target))


def energy(view: View, target: Target) -> Tensor:
    """[target.shape] Σ w² over what each unit owns."""
    parts = [m.layout.matrix(view.weight(m.param)) for m in target.members]
    return torch.stack([p.to(wide(p)).square().sum(1) for p in parts]).sum(0).view(target.shape)


def dictionary(kernels: Iterable[Tensor], entries: int, count: int) -> Tensor:
    """[patterns, places] bool: the natural patterns that most kernels have, these first.

    Kernels of zeros have none; of patterns equally frequent the one whose places come first counts.

    Args:
        kernels: at least one [kernels, places] of squares.
        entries: places in a pattern.
        count: patterns at most.
    """
    found: Counter[tuple[int, ...]] = Counter()
    width = 0
    for own in kernels:
        width = own.shape[1]
        found.update(map(tuple, natural(own[own.sum(1) > 0], entries).tolist()))
    ranked = sorted(found, key=lambda pattern: (-found[pattern], pattern))[:count]
    chosen = torch.tensor(ranked or [tuple(range(entries))])  # of nothing but zeros: any will do
    return torch.zeros(len(chosen), width, dtype=torch.bool).scatter_(1, chosen, value=True)


def natural(own: Tensor, entries: int) -> Tensor:
    """[kernels, entries] ascending places of the centre, where there is one, and the largest others."""
    worth = own.clone()
    if worth.shape[1] % 2:
        worth[:, worth.shape[1] // 2] = torch.inf
    order = worth.argsort(dim=1, descending=True, stable=True)
    return order[:, :entries].sort(1).values
