"""Exact OBS against brute force: every candidate refitted by least squares at every step."""

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.core.errors import PlanError
from secateur.core.types import Update
from secateur.engine.collect import collect
from secateur.engine.step import step
from secateur.engine.view import ModelView
from secateur.solve.exact_obs import eliminate, refit


def layer(out=4, inputs=8, rows=60, seed=0):
    """A linear layer in float64 with correlated inputs."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(inputs, out, bias=False)).double()
    return net, torch.randn(rows, inputs).double() @ torch.randn(inputs, inputs).double()


def solve(net, x, masks=None, method="exact-obs", **options):
    """(weight after, mask) of the recipe on the layer."""
    recipe = sc.recipe(method, walk="whole", **options)
    structure = recipe.structure.model_copy(update={"classifier": True})
    recipe = recipe.model_copy(update={"structure": structure})
    targets = structure.targets(net)
    view = ModelView(net, targets, masks, collect(net, recipe.required(), targets, [x]))
    mask = step(recipe, view, Update(density=recipe.schedule.final_density), first=True)["0.weight"]
    return net[0].weight.detach() * mask, mask


def design(x, damping):
    """[rows + in, in] inputs whose squares are those of the damped Gram matrix."""
    gram = x.T @ x / len(x)
    shift = (damping * gram.diagonal().mean()).sqrt() * torch.eye(x.shape[1]).double()
    return torch.cat([x / len(x) ** 0.5, shift])


def fitted(row, x, support):
    """(least squares on the support, its loss)."""
    new = torch.zeros_like(row)
    if support:
        new[support] = torch.linalg.lstsq(x[:, support], (x @ row)[:, None]).solution[:, 0]
    return new, float((x @ (row - new)).square().sum())


def backward(row, x, allowed=lambda support, p: True):
    """Steps (weight, rise of the loss): the candidate whose refit is best goes, until none may."""
    support, steps, loss = list(range(len(row))), [], 0.0
    while candidates := [p for p in support if allowed(support, p)]:
        losses = [fitted(row, x, [q for q in support if q != p])[1] for p in candidates]
        best = min(range(len(candidates)), key=losses.__getitem__)
        support.remove(candidates[best])
        steps.append((candidates[best], losses[best] - loss))
        loss = losses[best]
    return steps


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("density", [0.75, 0.5, 0.25])
def test_a_tensor_is_backward_elimination_of_all_rows_merged(seed, density):
    net, x = layer(seed=seed)
    dense, rows = net[0].weight.detach().clone(), design(x, 1e-3)
    weight, mask = solve(net, x, density=density, damping=1e-3)
    paths = [backward(row, rows) for row in dense]
    merged = sorted(rise for path in paths for _, rise in path)[: round((1 - density) * 32)]
    for i, path in enumerate(paths):
        count = sum(rise <= merged[-1] + 1e-12 for _, rise in path)
        support = sorted({*range(8)} - {p for p, _ in path[:count]})
        assert mask[i].nonzero()[:, 0].tolist() == support
        assert torch.allclose(weight[i], fitted(dense[i], rows, support)[0], atol=1e-9)
    assert int(mask.sum()) == round(density * 32)


def test_patterns_are_backward_elimination_within_the_room_of_each_run():
    net, x = layer()
    dense, rows = net[0].weight.detach().clone(), design(x, 1e-3)
    weight, mask = solve(net, x, pattern="2:4", damping=1e-3)

    def allowed(support, p):
        return sum(q // 4 == p // 4 for q in support) > 2

    for i, row in enumerate(dense):
        gone = {p for p, _ in backward(row, rows, allowed)}
        support = sorted({*range(8)} - gone)
        assert mask[i].nonzero()[:, 0].tolist() == support
        assert torch.allclose(weight[i], fitted(row, rows, support)[0], atol=1e-9)


def test_the_losses_of_the_steps_are_the_rises_of_the_refitted_loss():
    net, x = layer(inputs=6)
    gram = x.T @ x / len(x)
    weight = net[0].weight.detach()
    there = torch.ones_like(weight, dtype=torch.bool)
    order, losses = eliminate(weight, torch.linalg.inv(gram), there)
    for i, row in enumerate(weight):
        steps = backward(row, x / len(x) ** 0.5)
        assert order[i].tolist() == [p for p, _ in steps]
        assert losses[i].tolist() == pytest.approx([rise for _, rise in steps], abs=1e-9)


def test_what_was_gone_stays_gone_and_is_no_help():
    net, x = layer()
    before = torch.ones(4, 8, dtype=torch.bool)
    before[:, :2] = False
    with torch.no_grad():
        net[0].weight.mul_(before)
    dense, rows = net[0].weight.detach().clone(), design(x, 1e-3)
    weight, mask = solve(net, x, {"0.weight": before}, density=0.5, damping=1e-3)
    assert not bool((mask & ~before).any())
    assert int(mask.sum()) == 16
    for i, row in enumerate(dense):
        support = mask[i].nonzero()[:, 0].tolist()
        assert torch.allclose(weight[i], fitted(row, rows, support)[0], atol=1e-9)


def test_what_was_gone_goes_before_what_costs_nothing():
    net, x = layer()
    x[:, 0] = 0
    before = torch.ones(4, 8, dtype=torch.bool)
    before[:, 6:] = False
    _, mask = solve(net, x, {"0.weight": before}, density=0.75)
    assert torch.equal(mask, before)


def test_inputs_that_never_come_lose_their_weights_first():
    net, x = layer()
    x[:, 3] = 0
    _, mask = solve(net, x, density=0.875)
    assert mask.sum(0).tolist() == [4, 4, 4, 0, 4, 4, 4, 4]


def test_it_loses_less_than_sparsegpt():
    net, x = layer(out=8, inputs=24, rows=200)
    dense = net[0].weight.detach().clone()
    lost = {}
    for method in ("exact-obs", "sparsegpt"):
        with torch.no_grad():
            net[0].weight.copy_(dense)
        weight, _ = solve(net, x, method=method, density=0.5)
        lost[method] = float((x @ (dense - weight).T).square().mean())
    assert lost["exact-obs"] < 0.95 * lost["sparsegpt"]


def test_layers_that_are_too_wide_are_refused():
    net = nn.Sequential(nn.Linear(5000, 1, bias=False))
    with pytest.raises(PlanError, match="sparsegpt"):
        solve(net, torch.randn(4, 5000), density=0.5)


def test_refit_of_nothing_is_nothing():
    assert refit(torch.ones(3), torch.zeros(3, dtype=torch.bool), torch.eye(3)).tolist() == [
        0,
        0,
        0,
    ]


def test_a_layer_that_nothing_enters_is_judged_by_the_size_of_its_weights():
    net, _ = layer()
    before = net[0].weight.detach().clone()
    new, mask = solve(net, torch.zeros(5, 8).double(), sparsity=0.5)
    assert torch.equal(new, before * mask)
    assert float(before[mask].abs().min()) > float(before[~mask].abs().max())
