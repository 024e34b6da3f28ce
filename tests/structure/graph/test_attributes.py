"""Level B: which attribute an integer of the graph came from, and what it has to say since."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.structure.graph import Removal, remove, trace
from secateur.structure.graph.attributes import infer_attributes
from secateur.structure.graph.remove import kept_units
from secateur.structure.graph.replay import replay, written


@dataclass
class Sizes:
    """What the modules of a network share."""

    heads: int = 8
    width: int = 8


class Attention(nn.Module):
    """Heads from the shared sizes; `width` has the same value and stays."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes, self.spread = sizes, [sizes.heads * sizes.width] * 3
        wide = sizes.heads * sizes.width
        self.fused, self.out = nn.Linear(6, 3 * wide), nn.Linear(wide, 6)

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        shape = (n, length, self.sizes.heads, self.sizes.width)
        q, k, v = (
            part.view(shape).transpose(1, 2) for part in self.fused(x).split(self.spread, -1)
        )
        y = (q @ k.transpose(2, 3)).softmax(-1) @ v
        return x + self.out(
            y.transpose(1, 2).reshape(n, length, self.sizes.heads * self.sizes.width)
        )


def stacked() -> nn.Module:
    torch.manual_seed(0)
    sizes = Sizes()
    return nn.Sequential(Attention(sizes), Attention(sizes), nn.Linear(6, 2)).eval()


X = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))


def fewer(model: nn.Module, counts: tuple[int, ...]) -> tuple[Removal, object]:
    found = trace(model, (X,))
    heads = [axis for axis in found.axes if axis.kind == "heads"]
    plan = {axis: list(range(n)) for axis, n in zip(heads, counts, strict=True)}
    made = remove(found, model, plan, (X,))
    return made, written(model, found.inference, plan, kept_units(plan), made.changes)


def test_heads_that_a_shared_object_holds_are_told_to_each_module() -> None:
    model = stacked()
    made, edits = fewer(model, (3, 8))
    first, second = made.module[0], made.module[1]
    assert made.level == "B"
    assert (first.sizes.heads, second.sizes.heads, first.sizes.width) == (3, 8, 8)
    assert (first.spread, second.spread) == ([24, 24, 24], [64, 64, 64])
    assert model[0].sizes.heads == 8
    again = replay(stacked(), edits)
    assert again[0].sizes.heads == 3
    assert torch.equal(again(X), made.module(X))


def test_an_attribute_of_the_same_value_stays() -> None:
    model = stacked()
    found = trace(model, (X,))
    heads = next(axis for axis in found.axes if axis.kind == "heads")
    changes = infer_attributes(model, found.inference, kept_units({heads: [0, 5]})).changes
    told = {(c.module, c.attribute): c.new for c in changes if not c.module.endswith("out")}
    assert told.pop(("0", "spread")) == [16, 16, 16]
    assert told == {("0", "sizes.heads"): 2}


class Inner(nn.Module):
    """Refuses what has another width."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.conv = 8, nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.channels:
            raise ValueError("wrong number of channels")
        return self.conv(x)


def test_a_size_that_is_only_compared_follows() -> None:
    """The image is 8 wide and high too: which dimension was compared decides."""
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), Inner()).eval()
    x = (torch.randn(2, 3, 8, 8),)
    found = trace(model, x)
    made = remove(found, model, {found.axes[0]: [0, 2, 7]}, x)
    assert made.level == "B"
    assert made.module[2].channels == 3


def test_tracing_leaves_plain_integers_behind() -> None:
    model = stacked()
    trace(model, (X,))
    for module in model.modules():
        for value in vars(module).values():
            held = value if isinstance(value, list) else [value]
            assert all(
                type(v) is int for v in held if isinstance(v, int) and not isinstance(v, bool)
            )
    assert type(model[0].sizes.heads) is int
