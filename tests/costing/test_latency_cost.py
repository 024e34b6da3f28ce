"""The latency of a pruned network from its operators, on a stopwatch that counts instead of timing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.core.errors import PlanError
from secateur.costing import LatencyCost, latency_cost
from secateur.costing.calls import Call, calls_of
from secateur.costing.latency import seconds_of
from secateur.measure.kernel import Kernel
from secateur.measure.latency import clock
from secateur.measure.table import LatencyTable
from secateur.structure.graph import trace
from secateur.structure.graph.positions import kept_size
from tests.structure.graph.zoo.table import make

WHOLE = 16 * 64 + 64 * 48 + 48 * 8
"""Multiplications of `net` for one sample."""


def net() -> nn.Module:
    layers = nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 48), nn.Linear(48, 8)
    return nn.Sequential(*layers).eval()


class Stopwatch:
    """A second for every multiplication of a linear layer, hardly any for all else."""

    def __init__(self) -> None:
        self.widths: set[int] = set()

    def __call__(self, kernel: Kernel) -> float:
        if kernel.operator != "aten.linear.default":
            return 1e-9
        rows, weight, _ = kernel.specs()
        self.widths.add(weight.shape[0])
        return rows.elements * weight.shape[0]


def cost_of(stopwatch: Stopwatch, dense: float = 2.0, step: int = 1) -> tuple[list, LatencyCost]:
    found = sc.trace(net(), torch.zeros(4, 16))
    cost = LatencyCost(found, LatencyTable(stopwatch=stopwatch), dense, step=step)
    return [axis.var for axis in found], cost


def test_the_dense_network_takes_what_was_measured_of_it() -> None:
    _, cost = cost_of(Stopwatch(), dense=30.0)
    assert cost({}) == pytest.approx(30.0)


@pytest.mark.parametrize("step", [1, 8])
def test_it_is_the_sum_of_the_operators_at_the_widths_that_are_left(step: int) -> None:
    """Interpolation follows the work: where time is work, it changes nothing."""
    (first, second), cost = cost_of(Stopwatch(), step=step)
    kept = {first: range(37), second: range(11)}
    work = 16 * 37 + 37 * 11 + 11 * 8
    assert cost(kept) == pytest.approx(2.0 * work / WHOLE, rel=1e-6)
    assert cost.layers(kept)["2"] == pytest.approx(2.0 * 37 * 11 / WHOLE, rel=1e-6)


def test_with_a_step_only_its_multiples_are_measured() -> None:
    stopwatch = Stopwatch()
    (first, second), cost = cost_of(stopwatch, step=8)
    cost({first: range(37), second: range(11)})
    assert stopwatch.widths == {64, 48, 32, 40, 8, 16}


@pytest.mark.parametrize("name", ["resnet", "vit", "swin", "llama", "densenet"])
def test_every_operator_has_the_sizes_of_the_pruned_network(name: str) -> None:
    """With half of every axis gone each operator runs alone and makes what it makes in the graph."""
    model, (args, kwargs) = make(name)
    found = trace(model, args, kwargs, dynamic=False)
    counts = {axis.var: max(1, axis.units // 2) for axis in found.axes}
    calls = calls_of(found.inference)
    assert calls
    for call in calls:
        with torch.no_grad():
            made = call.kernel(counts).runner(torch.device("cpu"))()
        assert shapes(made) == expected(call, counts), call.node


def shapes(made: object) -> list[tuple[int, ...]]:
    outputs = made if isinstance(made, list | tuple) else [made]
    return [tuple(t.shape) for t in outputs if isinstance(t, Tensor)]


def expected(call: Call, counts: dict) -> list[tuple[int, ...]]:
    held = call.found.values[call.node]
    kept = {axis: range(n) for axis, n in counts.items()}
    outputs = held if isinstance(held, list) else [held]
    return [tuple(kept_size(term, kept) for term in dims) for dims in outputs if dims is not None]


def test_a_network_that_is_not_traced_as_a_whole_has_no_latency_per_layer() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) if float(x.sum()) > 0 else self.body(-x)

    found = sc.trace(Looks(), torch.ones(2, 4))
    with pytest.raises(PlanError, match="follows as a whole"):
        LatencyCost(found, LatencyTable(stopwatch=Stopwatch()), 1.0)


def test_the_networks_own_time_is_that_of_the_fastest_pass() -> None:
    seconds = iter([5.0, 3.0, 4.0])
    model = net().train()
    assert seconds_of(model, torch.zeros(1, 16), lambda run: next(seconds), runs=3) == 3.0
    assert model.training


def test_measured_for_real_the_parts_are_scaled_to_the_whole() -> None:
    model, x = net(), torch.zeros(4, 16)
    found = sc.trace(model, x)
    cost = latency_cost(model, x, found.trace, timer=clock)
    assert math.isclose(cost({}), cost.dense)
    assert all(ms > 0 for ms in cost.layers({found[0].var: range(5)}).values())
