"""Networks whose code cuts tensors apart, for several test files."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Cut(nn.Module):
    """As in detectors: a convolution cut in two, one half goes on, both end side by side."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        one, other = (4, 8) if how == "unequal" else (6, 6)
        self.more = nn.Conv2d(other, 8, 3, padding=1)
        self.last = nn.Conv2d(one + other + 8, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu()
        if self.how == "chunk":
            a, b = y.chunk(2, 1)
        elif self.how == "split":
            a, b = y.split(self.first.out_channels // 2, 1)
        else:
            a, b = y.split([4, 8], 1)
        return self.last(torch.cat([a, b, self.more(b).relu()], 1)).relu()


class Split(nn.Module):
    """One half is the network's output."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, 1)
        return a, b.relu().sum(1)


def cut_net(how: str) -> nn.Sequential:
    """A cut and a classifier behind it."""
    return nn.Sequential(Cut(how), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()
