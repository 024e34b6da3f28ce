"""A budget in MACs or parameters: the density found meets it, and no larger one would."""

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.core.errors import PlanError

EXAMPLE = torch.zeros(2, 3, 8, 8)


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


@pytest.mark.parametrize("what", ["macs", "parameters"])
@pytest.mark.parametrize("method", ["l1-filters", "group-norm"])
def test_shrinking_at_the_density_meets_the_budget(what, method):
    model = net()
    density = sc.density_for(model, method, {what: 0.5}, EXAMPLE)
    result = sc.prune(model, method, example=EXAMPLE, density=density)
    small = sc.shrink(result, EXAMPLE)
    dense, left = small.record[what]
    assert 0.47 < left / dense <= 0.5
    if what == "parameters":
        assert left == sum(p.numel() for p in small.model.parameters())


def test_what_cannot_be_met_names_the_closest():
    with pytest.raises(PlanError, match="closest that can be met"):
        sc.density_for(net(), "l1-filters", {"macs": 0.001}, EXAMPLE)


def test_units_that_save_no_work_are_refused():
    with pytest.raises(PlanError, match="structural methods"):
        sc.density_for(net(), "magnitude", {"macs": 0.5}, EXAMPLE)


@pytest.mark.parametrize(
    "budget", [{}, {"macs": 1.5}, {"latency": 0.5}, {"macs": 0.5, "parameters": 0.5}]
)
def test_senseless_budgets_are_refused(budget):
    with pytest.raises(PlanError):
        sc.density_for(net(), "l1-filters", budget, EXAMPLE)
