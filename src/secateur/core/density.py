"""Sparsity is the fraction removed, density the fraction kept; a budget is `round(density * n)`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .errors import PlanError

NOTHING = 1e-200
"""Weights that sum to less than this cannot be scaled to whole numbers; they count as zero."""


def as_density(density: float | None = None, sparsity: float | None = None) -> float:
    """One density from either of the two words, refused when both or neither are given.

    >>> as_density(sparsity=0.75)
    0.25
    """
    if (density is None) == (sparsity is None):
        raise PlanError(
            f"give exactly one of density and sparsity; got density={density}, sparsity={sparsity}"
        )
    name, given = ("density", density) if sparsity is None else ("sparsity", sparsity)
    if not isinstance(given, int | float):
        raise PlanError(f"{name} is a number such as 0.5, not {given!r}")
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


def share(weights: Tensor, total: int, ceiling: Tensor, floor: Tensor | None = None) -> Tensor:
    """Whole numbers that sum to `total` and follow `weights` within bounds (largest remainder).

        count_g = clamp(c * weight_g, floor_g, ceiling_g), rounded, with c such that they sum to total

    Args:
        weights: [G] float64 >= 0, in proportion to the wanted counts; where they sum to `total`
            already (up to rounding) and no bound cuts them, c is 1.
        total: the exact sum wanted, between `floor.sum()` and `ceiling.sum()`.
        ceiling: [G] int64, the most a group can hold.
        floor: [G] int64, the least a group must hold; None = 0.

    Ties of the remainder go to the lower index, so that the result is the same everywhere.

    >>> share(torch.tensor([9.0, 3.0, 1.0]), 8, torch.tensor([4, 9, 9])).tolist()
    [4, 3, 1]
    """
    floor = torch.zeros_like(ceiling) if floor is None else floor
    least, most = int(floor.sum()), int(ceiling.sum())
    if not least <= total <= most or bool((floor > ceiling).any()):
        raise PlanError(
            f"cannot keep {total:,} units where {least:,} to {most:,} are possible; what is out already "
            "(masks that the network carries, dead units) and floors and caps are the bounds: ask for "
            "a density within them"
        )
    ideal = fill(weights.double(), total, floor, ceiling).round(decimals=9)  # [G]
    counts = ideal.floor().long().clamp(floor, ceiling)
    missing = total - int(counts.sum())
    while missing != 0:
        counts += _one_round(ideal, counts, floor, ceiling, missing)
        missing = total - int(counts.sum())
    return counts


def _one_round(
    ideal: Tensor, counts: Tensor, floor: Tensor, ceiling: Tensor, missing: int
) -> Tensor:
    """+1 for the `missing` groups furthest below their ideal (-1 for those furthest above)."""
    sign = 1 if missing > 0 else -1
    free = counts < ceiling if sign > 0 else counts > floor
    gap = torch.where(free, sign * (ideal - counts), -math.inf)  # [G]
    order = torch.sort(gap, descending=True, stable=True).indices[: abs(missing)]
    change = torch.zeros_like(counts)
    change[order] = sign
    return torch.where(free, change, 0)


def fill(weights: Tensor, total: int, floor: Tensor, ceiling: Tensor) -> Tensor:
    """[G] float64 clamp(c * weights, floor, ceiling) that sums to `total`; c = 1 where that will do.

    Groups that a bound holds are set aside one side at a time, the side that moves the sum more
    first; the others share what is left. Each pass sets at least one aside.
    """
    out = weights.clamp(floor, ceiling)
    if abs(float(out.sum()) - total) <= 0.5 + 1e-9 * total:
        return out
    free = torch.ones_like(floor, dtype=torch.bool)
    while bool(free.any()):
        scaled = _scaled(weights, free, total - float(out[~free].sum()), ceiling)
        held = scaled.clamp(floor, ceiling)
        out = torch.where(free, held, out)
        moved = torch.where(free, held - scaled, 0.0)  # > 0: held up by a floor
        side = float(moved.sum())
        stuck = moved > 0 if side > 0 else moved < 0 if side < 0 else moved != 0
        if not bool(stuck.any()):
            break
        free &= ~stuck
    return out


def _scaled(weights: Tensor, free: Tensor, rest: float, ceiling: Tensor) -> Tensor:
    """`weights` times the factor that makes the free ones sum to `rest`; all zero = by their room."""
    if float(weights[free].sum()) < NOTHING:
        weights = ceiling.double()
    return weights * (rest / max(float(weights[free].sum()), NOTHING))
