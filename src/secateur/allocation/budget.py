"""Who is still there, what bounds leave, and the exact total: what allocators share."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from ..core.density import describe, keep_count
from ..core.errors import PlanError
from ..core.types import Groups, LazyScores, Scores


def _floor(value: float) -> float:
    if value >= 1 and value != int(value):
        raise ValueError("a floor is a fraction below 1 or a whole number of units")
    return value


Floor = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_floor)]
"""The least to keep of a group: a fraction below 1, or a whole number of units."""

Cap = Annotated[float, Field(gt=0, le=1)]
"""The largest fraction of a group that may be removed; 1 = no cap."""


def alive(scores: Scores, groups: Groups) -> Tensor:
    """[G] int64 units of each group that are not gone (a score of -inf)."""
    if isinstance(scores, LazyScores):
        return groups.count(scores.alive)
    return groups.count({name: scores[name] != -math.inf for name in groups.layouts})


def total(groups: Groups, density: float) -> int:
    """Units to keep in all: round(density * n)."""
    return keep_count(density, int(groups.size.sum()))


def least(floor: float, cap: float, size: Tensor, left: Tensor) -> Tensor:
    """[G] int64 the fewest units each group may end with.

    Args:
        floor: fraction (below 1) or number of units; a group smaller than that stays whole.
        cap: largest fraction of the group's full size that may be gone.
        size: [G] units of the full group.
        left: [G] units it still has, which nothing can bring back.
    """
    full = size.double()
    wanted = (floor * full).round(decimals=9).ceil() if floor < 1 else torch.full_like(full, floor)
    kept = full - (cap * full).round(decimals=9).floor()
    return wanted.maximum(kept).long().minimum(left)


def check_possible(wanted: int, least: Tensor, left: Tensor, groups: Groups, who: str) -> None:
    """Refuse a total that the bounds exclude, and name the closest one they allow."""
    low, high, n = int(least.sum()), int(left.sum()), int(groups.size.sum())
    if not low <= wanted <= high:
        near = low if wanted < low else high
        raise PlanError(
            f"{who} cannot keep {wanted} of {n} units: its bounds leave {low} to {high}; the "
            f"closest possible is {near}, {describe(near / n)}. Ask for that or loosen the bounds"
        )
