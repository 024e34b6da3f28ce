"""Lists of modules that are no chain of blocks: nothing is judged by what the network never computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.core.errors import PlanError
from secateur.core.result import Result


def block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 12), nn.ReLU(), nn.Linear(12, outputs))


class Lists(nn.Module):
    """Two lists of blocks, called by `forward`."""

    def __init__(self, rule: Callable[[Lists, Tensor], Tensor]) -> None:
        super().__init__()
        self.rule = rule
        self.first = nn.ModuleList(block(8, 8) for _ in range(3))
        self.second = nn.ModuleList(block(8, 8) for _ in range(2))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rule(self, x))


def chain(net: Lists, x: Tensor) -> Tensor:
    for layer in (*net.first, *net.second):
        x = layer(x)
    return x


def residual(net: Lists, x: Tensor) -> Tensor:
    for layer in (*net.first, *net.second):
        x = x + layer(x)
    return x


def parallel(net: Lists, x: Tensor) -> Tensor:
    x = torch.stack([layer(x) for layer in net.first]).sum(0)
    return net.second[1](net.second[0](x))


def skipping(net: Lists, x: Tensor) -> Tensor:
    a = net.first[0](x)
    b = net.first[1](a)
    return net.second[1](net.second[0](net.first[2](b + a)))


class Pairs(nn.Module):
    """A list of lists, whose entries are never called."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleList([nn.LayerNorm(8), block(8, 8)]) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for norm, layer in self.layers:
            x = x + layer(norm(x))
        return x


def pruned(net: nn.Module, **options: str) -> Result:
    torch.manual_seed(0)
    data = (torch.randn(16, 8), torch.zeros(16, dtype=torch.long))
    return sc.prune(net, "wanda", sparsity=0.5, data=data, **options)


def test_a_chain_goes_block_by_block() -> None:
    assert pruned(Lists(chain)).sparsity == pytest.approx(0.5)


@pytest.mark.parametrize("rule", [parallel, skipping, residual])
def test_what_is_no_chain_is_refused_and_goes_as_a_whole(rule: Callable[..., Tensor]) -> None:
    with pytest.raises(PlanError, match=r"'(second.0|first.2)' reads what other.*walk='whole'"):
        pruned(Lists(rule))
    assert pruned(Lists(rule), walk="whole").sparsity == pytest.approx(0.5)


def test_lists_that_are_not_called_are_no_blocks() -> None:
    with pytest.raises(PlanError, match=r"Pairs has no list of repeated blocks.*walk='whole'"):
        pruned(Pairs())
    assert pruned(Pairs(), walk="whole").sparsity == pytest.approx(0.5)


def test_blocks_that_do_not_run_one_after_another_are_told_as_such() -> None:
    def sized(net: Lists, x: Tensor) -> Tensor:
        return net.first[0](x) + net.first[1](x[:, None]).sum(1) + net.first[2](x)

    with pytest.raises(
        PlanError, match=r"does not run with its blocks taken one after another.*whole"
    ):
        pruned(Lists(sized))
