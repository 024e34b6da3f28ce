"""Batch norms' statistics taken anew."""

import copy

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.core.errors import DataError, PlanError
from secateur.engine.recalibrate import recalibrate
from secateur.recover import BnRecalibration

X = torch.zeros(2, 3, 5, 5)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5),
        nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3),
    ).eval()  # fmt: skip


def batches():
    torch.manual_seed(1)
    return [(torch.randn(n, 3, 5, 5) * 2 + 1, torch.zeros(n, dtype=torch.long)) for n in (8, 4)]


def test_the_statistics_are_the_means_over_the_batches():
    net, data = network(), batches()
    weights = {n: p.clone() for n, p in net.named_parameters()}
    state = torch.get_rng_state()
    recalibrate(net, data)
    first = [net[0](x) for x, _ in data]
    assert torch.allclose(
        net[1].running_mean, torch.stack([h.mean((0, 2, 3)) for h in first]).mean(0), atol=1e-6
    )
    assert torch.allclose(
        net[1].running_var, torch.stack([h.var((0, 2, 3)) for h in first]).mean(0), atol=1e-5
    )
    assert net[1].momentum == 0.1
    assert not any(m.training for m in net.modules())
    assert all(torch.equal(weights[n], p) for n, p in net.named_parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_ends_with_statistics_of_the_pruned_network():
    made = sc.recipe("l1-filters", density=0.5)
    made = made.model_copy(update={"recovery": BnRecalibration()})
    dense, data = network(), batches()
    result = sc.prune(dense, made, data=data, example=X)
    expected = copy.deepcopy(result.model)
    recalibrate(expected, data)
    assert torch.equal(result.model[5].running_mean, expected[5].running_mean)
    assert not torch.allclose(result.model[5].running_mean, dense[5].running_mean, atol=1e-3)
    small = sc.shrink(result, X).model
    x = torch.randn(4, 3, 5, 5)
    assert torch.allclose(small(x), result.model.eval()(x), atol=1e-6)


def test_what_cannot_be_recalibrated_is_said():
    with pytest.raises(PlanError, match="no batch norm"):
        recalibrate(nn.Linear(2, 2), batches())
    with pytest.raises(PlanError, match="needs data"):
        recalibrate(network(), None)
    with pytest.raises(DataError, match="no batches"):
        recalibrate(network(), [])
