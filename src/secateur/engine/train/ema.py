"""An average of the weights over the last steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    r"""a <- d · a + (1 - d) · w after every step, d = min(decay, (1 + step) / (10 + step)).

    The smaller d of the first steps lets the average forget where the weights started. Floating
    buffers (the statistics of batch norms) are averaged too; whole numbers are copied. What is
    zero in both stays exactly zero.

    Args:
        model: whose state is averaged; the average starts as a copy.
        decay: of the average, e.g. 0.999.

    Paper: Polyak & Juditsky 1992; the warm-up is that of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors: dict[str, Tensor] = {k: v.clone() for k, v in model.state_dict().items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        state = model.state_dict()
        floats = [name for name, tensor in self.tensors.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self.tensors[n] for n in floats], [state[n] for n in floats], 1 - decay
        )
        for name in self.tensors.keys() - set(floats):
            self.tensors[name].copy_(state[name])

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """Inside, `model` carries the averages; outside, its own weights again."""
        own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(self.tensors)
        try:
            yield
        finally:
            model.load_state_dict(own)
