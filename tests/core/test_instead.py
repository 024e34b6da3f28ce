"""A module called with other tensors is as before afterwards, whatever it shares."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.core.instead import call_with


class Temporal(nn.Module):
    """A block that names its layers and lists them again, as temporal convolutional networks do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.net = nn.Sequential(self.first, nn.ReLU(), self.second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Temporal(6), Temporal(6), nn.Linear(6, 3))


def test_a_layer_with_two_names_is_called_once_with_the_values(network: nn.Module) -> None:
    block, x = network[0], torch.randn(2, 6)
    values = {"net.2.weight": torch.zeros(6, 6), "second.bias": torch.full((6,), 2.0)}
    assert torch.equal(call_with(block, values, (x,)), x + 2)


def test_tied_parameters_are_replaced_together() -> None:
    tied = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    tied[1].weight = tied[0].weight
    x = torch.randn(2, 3)
    assert torch.allclose(call_with(tied, {"1.weight": 2 * torch.eye(3)}, (x,)), 4 * x)
    assert tied[0].weight is tied[1].weight


@pytest.mark.parametrize("what", ["trace", "measure", "score", "shrink"])
def test_nothing_takes_the_weights_of_a_layer_with_two_names(network: nn.Module, what: str) -> None:
    x = torch.randn(2, 6)
    held = {name: (id(p), p.detach().clone()) for name, p in network.named_parameters()}
    if what == "trace":
        sc.trace(network, x)
    elif what == "measure":
        sc.measure(network, x)
    elif what == "score":
        sc.score(network, "synflow", example=x)
    else:
        sc.shrink(network, x, keep={"0.net.0": range(3)})
    after = dict(network.named_parameters())
    assert after.keys() == held.keys()
    for name, (own, before) in held.items():
        assert id(after[name]) == own
        assert isinstance(after[name], nn.Parameter)
        assert torch.equal(after[name], before)


def test_a_block_with_two_names_for_a_layer_is_pruned_and_saved(
    network: nn.Module, tmp_path: Path
) -> None:
    x = torch.randn(2, 6)
    result = sc.prune(network, "group-norm", density=0.5, example=x)
    small = sc.shrink(result, x)
    block = small.model[0]
    assert block.net[0] is block.first
    assert block.first.out_features == 3
    assert torch.allclose(small.model(x), result.model(x), atol=1e-6)
    stock = copy.deepcopy(network)
    again = sc.load(sc.save(small, tmp_path / "small"), model=stock)
    assert again[0].net[0] is again[0].first
    assert torch.equal(again(x), small.model(x))
