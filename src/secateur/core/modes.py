"""Put a network into training or evaluation for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def mode(model: nn.Module, train: bool) -> Iterator[None]:
    """Inside, every module trains (or evaluates); outside, each is as it was: parts may be frozen."""
    before = {module: module.training for module in model.modules()}
    model.train(train)
    try:
        yield
    finally:
        for module, was in before.items():
            module.training = was
