"""Small networks with an input each, and what they compute."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from secateur.models import build_seeded
from secateur.structure.graph.capture import as_traced


def resnet() -> tuple[nn.Module, Tensor]:
    model = build_seeded("resnet8", 0, num_classes=10, in_channels=3, image_size=16)
    rng = torch.Generator().manual_seed(1)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=rng) + 0.5)
    return model.eval(), torch.randn(2, 3, 16, 16, generator=rng)


def mlp() -> nn.Module:
    """Made by hand: nothing remembers how."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)
        )


class Baked(nn.Module):
    """A size stands in its code, so that no attribute can follow a removal."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.inner = nn.Linear(3, width)
        self.outer = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x).relu().reshape(-1, 2, 4).flatten(1))


class Nested(nn.Module):
    """Such a module inside an ordinary one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.part = Baked()

    def forward(self, x: Tensor) -> Tensor:
        return self.part(self.first(x).relu())


def outputs(model: nn.Module, example: Any) -> Tensor:
    with torch.no_grad(), as_traced(model):
        found = model(**example) if isinstance(example, dict) else model(example)
    return found if isinstance(found, Tensor) else found[0]


def same_bits(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(
        a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a
    )


def without_bias() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4, bias=False))
