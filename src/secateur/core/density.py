"""Sparsity is the fraction removed, density the fraction kept; a budget is `round(density * n)`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .errors import PlanError


def as_density(density: float | None = None, sparsity: float | None = None) -> float:
    """One density from either of the two words, refused when both or neither are given.

    >>> as_density(sparsity=0.75)
    0.25
    """
    if (density is None) == (sparsity is None):
        raise PlanError(
            f"give exactly one of density and sparsity; got density={density}, sparsity={sparsity}"
        )
    if sparsity is not None:
        if not 0 <= sparsity < 1:
            raise PlanError(
                f"sparsity {sparsity} is outside [0, 1); it is the fraction removed, e.g. 0.9"
            )
        return round(1 - sparsity, 12)
    assert density is not None
    if not 0 < density <= 1:
        raise PlanError(f"density {density} is outside (0, 1]; it is the fraction kept, e.g. 0.1")
    return density


def describe(density: float) -> str:
    """Both words, because a reader may be used to either: `density 10 % (sparsity 90 %)`."""
    return f"density {100 * density:.6g} % (sparsity {100 * (1 - density):.6g} %)"


def keep_count(density: float, n: int) -> int:
    """How many of `n` units a density keeps, halves rounded up: floor(density * n + 1/2).

    The product is rounded to 9 decimals first, so that 0.29 * 50 = 14.499999999999998 counts as
    the 14.5 that was meant.
    """
    return max(0, min(n, math.floor(round(density * n, 9) + 0.5)))


def share(weights: Tensor, total: int, ceiling: Tensor) -> Tensor:
    """Whole numbers that sum to `total` and follow `weights`, none above `ceiling` (largest remainder).

    Args:
        weights: [G] float64 >= 0, the ideal real-valued counts (their sum may differ from total
            by rounding only).
        total: the exact sum wanted, at most `ceiling.sum()`.
        ceiling: [G] int64, the most a group can hold.

    Ties of the remainder go to the lower index, so that the result is the same everywhere.
    """
    if total > int(ceiling.sum()):
        raise PlanError(f"cannot keep {total} units of {int(ceiling.sum())}; ask for less")
    ideal = weights.double().round(decimals=9)
    counts = torch.minimum(ideal.floor().long(), ceiling)  # [G]
    missing = total - int(counts.sum())
    while missing != 0:
        counts += _one_round(ideal, counts, ceiling, missing)
        missing = total - int(counts.sum())
    return counts


def _one_round(ideal: Tensor, counts: Tensor, ceiling: Tensor, missing: int) -> Tensor:
    """+1 for the `missing` groups furthest below their ideal (-1 for those furthest above)."""
    sign = 1 if missing > 0 else -1
    free = counts < ceiling if sign > 0 else counts > 0
    gap = torch.where(free, sign * (ideal - counts), -math.inf)  # [G]
    order = torch.sort(gap, descending=True, stable=True).indices[: abs(missing)]
    change = torch.zeros_like(counts)
    change[order] = sign
    return torch.where(free, change, 0)
