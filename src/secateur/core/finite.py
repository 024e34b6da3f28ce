"""Whether all values are finite, in one pass over them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .errors import NumberError


def finite(values: Tensor) -> bool:
    """No NaN, no infinity: the least and the largest value tell (a NaN is both of them).

    >>> finite(torch.tensor([1.0, -2.0])), finite(torch.tensor([1.0, torch.nan, 2.0]))
    (True, False)
    """
    if not values.numel():
        return True
    values = torch.view_as_real(values.detach().resolve_conj()) if values.is_complex() else values
    values = values.detach()  # turned to the order in which it lies: ten times as fast
    values = values.permute(sorted(range(values.ndim), key=values.stride, reverse=True))
    return all(math.isfinite(float(edge)) for edge in values.aminmax())


def check_weight(name: str, value: Tensor) -> None:
    """Refuse a weight that holds NaN or infinite values."""
    if not finite(value):
        raise NumberError(
            f"weight '{name}' holds NaN or infinite values; repair or retrain the model first"
        )
