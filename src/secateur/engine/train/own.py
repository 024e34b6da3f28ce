"""Weights that something else stands in for during a step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def put_back(weights: Iterable[Tensor]) -> Iterator[None]:
    """Afterwards these tensors hold what they hold now, to the last bit, whatever was written inside.

    >>> w = torch.tensor([0.1])
    >>> with put_back([w]):
    ...     _ = w.zero_()
    >>> w
    tensor([0.1000])
    """
    own = [(weight, weight.detach().clone()) for weight in weights]
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in own:
                weight.copy_(value)
