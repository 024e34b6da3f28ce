"""Layers timed alone are run on the very arguments the network gives them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.costing.blocks import seconds_within


class Scaled(nn.Module):
    """A layer that is told a scale by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 3)
        self.seen: list[float] = []

    def forward(self, x: Tensor, *, scale: float) -> Tensor:
        self.seen.append(scale)
        return self.line(x) * scale


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Scaled(), Scaled()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x, scale=2.0), scale=5.0)


def test_keywords_too() -> None:
    net = Net()
    times = iter((3.0, 1.0, 2.0, 4.0, 4.0, 4.0) * 10)

    def timer(run: object) -> float:
        assert callable(run)
        run()
        return next(times)

    found = seconds_within(net, torch.zeros(2, 3), ["first", "second"], timer)
    assert set(net.first.seen) == {2.0}
    assert set(net.second.seen) == {5.0}
    assert found["first"] == 1.0  # the fastest
    assert net.training
