"""A budget in milliseconds: predicted, measured, and set right by what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.allocation import ToBudget, Uniform
from secateur.core.errors import PlanError
from secateur.costing import LatencyCost, latency, latency_cost
from secateur.engine import accounts
from secateur.engine import costs as engine_costs
from secateur.measure.kernel import Kernel
from secateur.measure.statistics import Interval
from secateur.measure.table import LatencyTable
from secateur.models import build_seeded
from secateur.scope import Tensorwise
from tests.contracts.samples import FakeView, targets

EXAMPLE = torch.zeros(2, 3, 8, 8)


class Wrong:
    """Predicts a share of `whole` for every unit; each takes `factor`, and all together 10 more."""

    unit = "ms"

    def __init__(self, whole: float, factor: float, fixed: float = 10.0) -> None:
        self.factor, self.fixed = factor, fixed
        self.whole, self.asked = whole, 0

    def __call__(self, counts: Mapping[str, int]) -> float:
        return self.whole / 22 * sum(counts.values())

    def measured(self, counts: Mapping[str, int]) -> float:
        self.asked += 1
        return self.factor * sum(counts.values()) + self.fixed


def kept(cost: Wrong, limit: float) -> int:
    view = FakeView(targets(dims=1))
    view.costs = {"latency": cost}  # type: ignore[dict-item]
    groups = Tensorwise().groups(view.targets)
    scores = {t.name: torch.rand(t.shape) for t in view.targets}
    allocator = ToBudget(inner=Uniform(), what="latency", limit=limit, relative=False)
    return int(allocator.keep(scores, groups, None, view).sum())


def test_a_prediction_that_is_right_is_measured_once() -> None:
    cost = Wrong(22.0, factor=1.0, fixed=0.0)
    assert kept(cost, 11.0) == 11
    assert cost.asked == 1


def test_what_is_measured_sets_the_limit_right() -> None:
    """1.5 k + 10 = 31 has k = 14 of 22; the prediction alone would keep 15."""
    cost = Wrong(43.0, factor=1.5)
    assert kept(cost, 31.0) == 14
    assert cost.asked > 1


def test_what_cannot_be_reached_is_said_with_the_closest(caplog: pytest.LogCaptureFixture) -> None:
    """With 10 ms that no unit has a part in, 11 are met by one unit, 10.5 by none."""
    assert kept(Wrong(98.0, factor=4.0), 11.0) <= 1
    assert "no closer" in caplog.text


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def convolutions(model: nn.Module) -> float:
    """What the clock of these tests shows: work, and a part that no pruning saves."""
    return sc.measure(model, EXAMPLE).macs.total + 200_000


def by_work(kernel: Kernel) -> float:
    if "conv2d" not in kernel.operator:
        return 1e-9
    x, weight, *_ = kernel.specs()
    return float(x.elements * weight.elements / weight.shape[1]) + 1e-9


@pytest.fixture
def clockwork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that are counts: operators by their work, networks by work and a fixed part."""

    def table(model: Any, example: Any, found: Any, *, dense: float, **_: Any) -> LatencyCost:
        return LatencyCost(found, LatencyTable(stopwatch=by_work), dense)

    def compared(a: nn.Module, b: nn.Module, *_: Any, **__: Any) -> list[Any]:
        ratio = convolutions(a) / convolutions(b)
        return [SimpleNamespace(speedup=Interval(ratio, ratio, ratio, 0.95))]

    monkeypatch.setattr(accounts, "latency_cost", table)
    monkeypatch.setattr(engine_costs, "seconds_of", lambda *_, **__: 1e-2)
    monkeypatch.setattr(engine_costs, "compare_latency", compared)


def test_half_of_the_time_within_three_percent(clockwork: None) -> None:
    model = net()
    result = sc.prune(model, "group-norm", example=EXAMPLE, budget={"latency": "50%"})
    told = result.record["budget"]["latency"]
    assert told["left"] / told["whole"] == pytest.approx(0.5, rel=0.03)
    assert told["predicted"] < 0.97 * told["left"], "without measuring it would have been too slow"
    small = sc.shrink(result, EXAMPLE).model
    assert convolutions(small) / convolutions(model) == pytest.approx(0.5, rel=0.03)


def test_milliseconds_that_no_unit_can_reach_are_refused(clockwork: None) -> None:
    with pytest.raises(PlanError, match="closest possible"):
        sc.prune(net(), "group-norm", example=EXAMPLE, budget={"latency": "1us"})


def test_layers_go_until_the_time_is_met(
    clockwork: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Predicted too cheap, so that the measurement takes one back; no layer more would fit."""
    monkeypatch.setattr(accounts, "seconds_of", lambda *_, **__: 1e-2)
    monkeypatch.setattr(
        accounts, "seconds_within", lambda model, x, names, timer: dict.fromkeys(names, 2e-3)
    )
    model = build_seeded("resnet20", 0, num_classes=10, in_channels=3, image_size=8)
    result = sc.prune(
        model, "layer-dropping", example=EXAMPLE, by="influence", data=(torch.randn(8, 3, 8, 8),) * 2,
        budget={"latency": "75%"},
    )  # fmt: skip
    told = result.record["budget"]["latency"]
    small = sc.shrink(result, EXAMPLE).model
    assert told["left"] / told["whole"] == pytest.approx(convolutions(small) / convolutions(model))
    assert told["left"] <= 0.75 * 1.03 * told["whole"]
    assert told["left"] > 0.6 * told["whole"]


def test_a_runtime_is_told_to_the_measurement(
    clockwork: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    compared = engine_costs.compare_latency
    monkeypatch.setattr(
        engine_costs, "compare_latency",
        lambda *a, runtimes, **k: asked.append(runtimes) or compared(*a),
    )  # fmt: skip
    budget = {"budget": {"latency": "50%"}, "runtime": "onnxruntime"}
    result = sc.prune(net(), "group-norm", example=EXAMPLE, **budget)
    told = result.record["budget"]["latency under onnxruntime"]
    assert told["left"] / told["whole"] == pytest.approx(0.5, rel=0.03)
    assert set(asked) == {("onnxruntime",)}
    with pytest.raises(PlanError, match="eager"):
        sc.recipe("group-norm", budget={"latency": "50%"}, runtime="onnx")


def test_one_process_measures_an_operator_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks of one make share their table; another timer has its own."""
    monkeypatch.setattr(latency, "TABLES", {})
    runs = []

    def timer(run: Any) -> float:
        runs.append(run)
        return 1.0

    costs = [latency_cost(net(), EXAMPLE, sc.trace(net(), EXAMPLE), timer=timer) for _ in range(2)]
    assert costs[0].table is costs[1].table
    before = len(costs[0].table.known)
    assert costs[0]({}) == costs[1]({})
    assert len(costs[0].table.known) == before
    assert latency.shared_table(torch.device("cpu"), None) is not costs[0].table


def test_on_the_clock_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy it is, less than the whole is left, and both figures are told.

    Nearly all of this network's time goes with its units (one channel takes a hundredth of it), so
    that a share of it is in reach of a clock that is wrong by a multiple.
    """
    monkeypatch.setattr(engine_costs, "PAIRS", 5)
    wide = nn.Sequential(
        nn.Conv2d(3, 128, 3, padding=1), nn.ReLU(), nn.Conv2d(128, 3, 3, padding=1)
    )
    example = torch.zeros(2, 3, 24, 24)
    result = sc.prune(wide, "l1-filters", example=example, budget={"latency": "80%"})
    told = result.record["budget"]["latency"]
    assert told["unit"] == "ms"
    assert told["predicted"] > 0
    assert told["left"] > 0
    assert result.sparsity > 0
