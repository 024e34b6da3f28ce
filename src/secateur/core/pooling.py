"""One number for a unit out of those of its elements."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Pool = Literal["sum", "mean", "norm", "max"]


def pool(values: Tensor, how: Pool) -> Tensor:
    """[units, elements] -> [units] by `sum`, `mean`, `norm` or `max`."""
    if how == "sum":
        return values.sum(1)
    if how == "mean":
        return values.mean(1)
    if how == "norm":
        return values.square().sum(1).sqrt()
    return values.amax(1)
