"""Layers pruned one after the other: inputs from the network pruned so far, outputs of the dense one."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.allocation import ModelWide, Uniform
from secateur.core.errors import PlanError
from secateur.core.recipe import Recipe
from secateur.criteria import ChannelLasso, FirstMember
from secateur.criteria.responses import entries
from secateur.schedule import OneShot
from secateur.scope import Model, Tensorwise
from secateur.solve import LeastSquares
from secateur.structure import Coupled


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 3, 3, stride=2),
    ).double()  # fmt: skip


X = torch.randn(40, 2, 7, 7, generator=torch.Generator().manual_seed(1)).double()
DATA = [(part, torch.zeros(len(part))) for part in X.split(15)]


def recipe(criterion=None, **changed):
    return Recipe(**{
        "structure": Coupled(), "criterion": criterion or FirstMember(), "scope": Tensorwise(),
        "allocator": Uniform(), "schedule": OneShot(density=0.5), "walk": "layers",
        "solver": LeastSquares(damping=1e-12), **changed,
    })  # fmt: skip


def rows(model, layer):
    """[rows, in * kernel] the windows that a convolution of the network multiplies."""
    conv = model[layer]
    with torch.no_grad():
        found = F.unfold(model[:layer](X), 3, padding=conv.padding, stride=conv.stride)
    return found.transpose(1, 2).flatten(0, 1)


def refitted(pruned, dense, layer, kept):
    """The layer's kept weights, so that its output comes nearest to that in the dense network."""
    columns = kept.repeat_interleave(9)
    wanted = rows(dense, layer) @ dense[layer].weight.flatten(1).T
    with torch.no_grad():
        flat = torch.zeros_like(pruned[layer].weight).flatten(1)
        flat[:, columns] = torch.linalg.lstsq(rows(pruned, layer)[:, columns], wanted).solution.T
        pruned[layer].weight.copy_(flat.view_as(pruned[layer].weight))


def without(model, layer, kept):
    with torch.no_grad():
        model[layer].weight[~kept], model[layer].bias[~kept] = 0.0, 0.0


def test_each_layer_makes_up_for_what_was_lost_before_it():
    dense, pruned = net(), net()
    result = sc.prune(dense, recipe(), data=DATA, example=X[:2])
    for layer in (0, 2):
        kept = result.units[str(layer)]
        without(pruned, layer, kept)
        refitted(pruned, dense, layer + 2, kept)
    assert torch.allclose(result.model(X), pruned(X), atol=1e-7)
    at_once = sc.prune(dense, recipe(walk="whole"), data=DATA, example=X[:2])
    errors = [F.mse_loss(r.model(X), dense(X)).item() for r in (result, at_once)]
    assert errors[0] < 0.9 * errors[1]


def test_lasso_chooses_by_the_inputs_it_will_have_and_the_outputs_there_were():
    dense = net()
    result = sc.prune(dense, recipe(ChannelLasso()), data=DATA, example=X[:2])
    pruned = net()
    without(pruned, 0, result.units["0"])
    refitted(pruned, dense, 2, result.units["0"])
    weight, x = pruned[4].weight.detach(), rows(pruned, 4)
    parts = [x[:, 9 * u : 9 * u + 9] @ weight[:, u].flatten(1).T for u in range(8)]
    z = torch.stack(parts).flatten(1)  # [units, rows * out]
    y = (rows(dense, 4) @ dense[4].weight.detach().flatten(1).T).flatten()
    order = entries(z @ z.T / len(x), z @ y / len(x)).argsort(descending=True)
    assert set(result.units["2"].nonzero()[:, 0].tolist()) == set(order[:4].tolist())


def test_in_rounds_the_dense_network_is_the_one_before_the_round():
    from secateur.schedule import Iterative

    dense = net()
    result = sc.prune(
        dense, recipe(schedule=Iterative(density=0.5, rounds=2)), data=DATA, example=X[:2]
    )
    assert [int(m.sum()) for m in result.units.values()] == [3, 4]
    plain = sc.prune(dense, recipe(solver=None), data=DATA, example=X[:2])
    found, worse = (F.mse_loss(r.model(X), dense(X)).item() for r in (result, plain))
    assert found < 0.9 * worse


def test_the_catalogue_goes_in_order_unless_told_otherwise():
    for method in ("channel-lasso", "thinet"):
        assert sc.recipe(method).walk == "layers"
        assert sc.recipe(method, in_order=False).walk == "whole"


def test_shares_of_a_ranking_of_all_layers_are_those_of_the_network_before_the_first_is_pruned():
    dense, given = net(), {"data": DATA, "example": X[:2]}
    found, whole = (
        sc.prune(dense, recipe(allocator=ModelWide(floor=1), walk=walk), **given)
        for walk in ("layers", "whole")
    )
    counts = [[int(m.sum()) for m in result.units.values()] for result in (found, whole)]
    assert counts[0] == counts[1] != [3, 4]


@pytest.mark.parametrize("changed", [{"scope": Model()}, {"connected": True}, {"revive": True}])
def test_what_needs_the_whole_network_at_once_is_refused(changed):
    with pytest.raises(PlanError, match="'layers'"):
        recipe(**changed)
