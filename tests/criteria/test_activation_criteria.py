"""Wanda and RIA against their formulas, written out here."""

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.core.errors import PlanError
from secateur.criteria import Ria, Wanda
from secateur.engine.collect import collect
from secateur.engine.view import ModelView
from secateur.scope import Row
from secateur.structure import Rows, Weights

pytest.importorskip("transformers")
from transformers.pytorch_utils import Conv1D


def view_of(net, x, structure=None):
    targets = (structure or Weights(classifier=True)).targets(net)
    return ModelView(net, targets, stats=collect(net, ["input_square"], targets, [x]))


def test_wanda_is_the_weight_times_the_norm_of_its_input():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(3, 4)), torch.randn(10, 3)
    view = view_of(net, x)
    got = Wanda().score(view, view.targets[0])
    expected = net[0].weight.abs() * x.norm(dim=0) / 10**0.5
    torch.testing.assert_close(got, expected.detach())


def test_ria_is_the_relative_importance_times_a_power():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(3, 4)), torch.randn(10, 3)
    w = net[0].weight.detach().abs()
    rows, columns = w.sum(1), w.sum(0)
    view = view_of(net, x)
    for power in (0.5, 1.0):
        expected = torch.empty_like(w)
        for i in range(4):
            for j in range(3):
                share = w[i, j] / rows[i] + w[i, j] / columns[j]
                expected[i, j] = share * (x[:, j].square().mean() ** 0.5) ** power
        got = Ria(power=power).score(view, view.targets[0])
        torch.testing.assert_close(got, expected)


def test_ria_of_a_column_of_zeros_is_zero_and_no_nan():
    net, x = nn.Sequential(nn.Linear(3, 4)), torch.randn(10, 3)
    net[0].weight.data[:, 1] = 0
    view = view_of(net, x)
    got = Ria().score(view, view.targets[0])
    assert bool((got[:, 1] == 0).all())
    assert bool(torch.isfinite(got).all())


@pytest.mark.parametrize("criterion", [Wanda(), Ria()])
def test_layers_that_store_the_input_first_score_alike(criterion):
    torch.manual_seed(0)
    linear, turned = nn.Linear(5, 3), Conv1D(3, 5)
    turned.weight.data = linear.weight.data.T.clone()
    x = torch.randn(20, 5)
    one, other = view_of(nn.Sequential(linear), x), view_of(nn.Sequential(turned), x)
    assert other.targets[0].dims == ("in", "out")
    a, b = criterion.score(one, one.targets[0]), criterion.score(other, other.targets[0])
    torch.testing.assert_close(a, b.T)
    groups = Row().groups(other.targets)
    assert groups.size.tolist() == [5, 5, 5]
    assert torch.equal(groups.ids("0.weight").view(5, 3)[0], torch.tensor([0, 1, 2]))


def test_convolutions_score_by_the_windows_they_multiply():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Conv2d(2, 3, 3)), torch.randn(4, 2, 6, 6)
    view = view_of(net, x)
    windows = torch.nn.functional.unfold(x, 3)  # [samples, in * kernel, places]
    norm = windows.square().mean((0, 2)).sqrt().view(1, 2, 3, 3)
    torch.testing.assert_close(
        Wanda().score(view, view.targets[0]), (net[0].weight.abs() * norm).detach()
    )


def test_convolutions_in_groups_score_by_the_inputs_of_their_group():
    """As RecurrentGemma's depthwise convolution: a group alone is a convolution of its own."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Conv1d(4, 6, 3, groups=2)), torch.randn(4, 4, 8)
    view, parts = view_of(net, x), []
    for group in range(2):
        alone = nn.Sequential(nn.Conv1d(2, 3, 3))
        alone[0].weight.data = net[0].weight.data[3 * group : 3 * group + 3]
        each = view_of(alone, x[:, 2 * group : 2 * group + 2])
        parts.append(Wanda().score(each, each.targets[0]))
    torch.testing.assert_close(Wanda().score(view, view.targets[0]), torch.cat(parts))
    for method in ("sparsegpt", "exact-obs"):
        with pytest.raises(PlanError, match="read 6 of 12 inputs each"):
            sc.prune(net, method, data=[x], sparsity=0.5, walk="whole")


def test_an_input_that_is_never_active_goes_first_and_silence_leaves_the_weights_to_judge():
    net = nn.Sequential(nn.Linear(3, 2))
    x = torch.randn(10, 3)
    x[:, 1] = 0
    view = view_of(net, x)
    assert bool((Wanda().score(view, view.targets[0])[:, 1] == 0).all())
    view = view_of(net, torch.zeros(4, 3))
    torch.testing.assert_close(Wanda().score(view, view.targets[0]), net[0].weight.detach().abs())


def test_rows_pool_their_weights_and_the_bias_counts_as_an_input_of_one():
    net, x = nn.Sequential(nn.Linear(3, 2)), torch.randn(10, 3)
    view = view_of(net, x, Rows(classifier=True))
    expected = (net[0].weight.abs() * x.square().mean(0).sqrt()).sum(1) + net[0].bias.abs()
    torch.testing.assert_close(Wanda().score(view, view.targets[0]), expected.detach())


def test_every_row_keeps_the_same_number():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
    result = sc.prune(net, "wanda", sparsity=0.5, walk="whole", data=[torch.randn(16, 8)])
    assert (result.model[0].weight != 0).sum(1).tolist() == [4] * 5
