"""A tiny problem for training tests, and a network with everything that could go wrong in it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from secateur.core.layout import along
from secateur.core.random import generator
from secateur.core.types import Member, Target
from secateur.engine.train import Training


class Points:
    """Three clouds of points in four dimensions; a pure function of epoch and place."""

    def __init__(self, steps_per_epoch: int = 4, batch: int = 6) -> None:
        self.steps_per_epoch, self.batch = steps_per_epoch, batch

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(start, self.steps_per_epoch):
            rng = generator(7, "points", number, step)
            y = torch.randint(3, (self.batch,), generator=rng)
            x = torch.randn(self.batch, 4, generator=rng) / 2
            yield x + 2 * torch.eye(3, 4)[y], y


def net(dropout: float = 0.3, norm: bool = True) -> nn.Sequential:
    """Linear, batch norm, dropout, linear: [n, 4] -> [n, 3]."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        middle = nn.BatchNorm1d(8) if norm else nn.Identity()
        return nn.Sequential(
            nn.Linear(4, 8), middle, nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3)
        )


def keep(density: float = 0.5) -> dict[str, Tensor]:
    """Masks of the network's two weights."""
    rng = generator(3, "keep")
    shapes = {"0.weight": (8, 4), "4.weight": (3, 8)}
    return {name: torch.rand(shape, generator=rng) < density for name, shape in shapes.items()}


def hidden(norm: bool = True) -> Target:
    """The hidden neurons of the network, for pressures."""
    scale = (Member("1.weight", along((8,), 0), role="scale"),) if norm else ()
    members = (
        Member("0.weight", along((8, 4), 0)), Member("0.bias", along((8,), 0)), *scale,
        Member("4.weight", along((3, 8), 1), reads=1),
    )  # fmt: skip
    return Target("0", "neurons", (8,), members)


def training(**changes: object) -> Training:
    """Three epochs of the tiny problem, unless `changes` say otherwise."""
    plain = {"length": "3ep", "batch_size": 6, "schedule": {"name": "cosine"}, **changes}
    return Training(**plain)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two states agree in every name and to the last bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
