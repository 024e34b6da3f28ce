"""SparseGPT against the update of Optimal Brain Surgeon written out with explicit inverses."""

from typing import ClassVar

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.core.axes import ElementCriterion
from secateur.core.errors import NumberError, PlanError
from secateur.core.types import Update
from secateur.criteria import Magnitude
from secateur.engine.collect import collect
from secateur.engine.step import step
from secateur.engine.view import ModelView
from secateur.scope import Model
from secateur.solve.hessian import factorise


def layer(out=6, inputs=16, rows=200, seed=0):
    """A linear layer in float64 with correlated inputs."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(inputs, out, bias=False)).double()
    x = torch.randn(rows, inputs).double() @ torch.randn(inputs, inputs).double()
    return net, x


def solve(net, x, **options):
    """(weight after, mask, note) of the sparsegpt recipe on the layer."""
    recipe = sc.recipe("sparsegpt", walk="whole", **options)
    recipe = recipe.model_copy(
        update={"structure": recipe.structure.model_copy(update={"classifier": True})}
    )
    targets = recipe.structure.targets(net)
    view = ModelView(net, targets, stats=collect(net, recipe.required(), targets, [x]))
    masks = step(recipe, view, Update(density=recipe.schedule.final_density), first=True)
    mask = masks["0.weight"]
    return net[0].weight.detach() * mask, mask, view.notes["0.weight"]


def by_hand(weight, x, damping, block, keep=None, pattern=None):
    """Column by column: w_F ← w_F − (w_j / [H_F⁻¹]_jj) [H_F⁻¹]_j, F the columns not yet passed."""
    n = x.shape[1]
    h = x.T @ x / len(x)
    h += damping * h.diagonal().mean() * torch.eye(n).double()
    w, mask = weight.clone(), torch.ones_like(weight, dtype=torch.bool)
    diag = torch.stack([torch.linalg.inv(h[j:, j:])[0, 0] for j in range(n)])
    for j in range(n):
        if pattern and j % pattern[1] == 0:
            cut = slice(j, j + pattern[1])
            score = w[:, cut] ** 2 / diag[cut]
            worst = score.argsort(1)[:, : pattern[1] - pattern[0]]
            mask[:, cut].scatter_(1, worst, False)
        elif not pattern and j % block == 0:
            cut = slice(j, j + block)
            score = (w[:, cut] ** 2 / diag[cut]).flatten()
            gone = score.argsort()[: round((1 - keep) * score.numel())]
            part = mask[:, cut].flatten()
            part[gone] = False
            mask[:, cut] = part.view(mask[:, cut].shape)
        inv = torch.linalg.inv(h[j:, j:])
        for i in range(len(w)):
            if not mask[i, j]:
                w[i, j:] -= w[i, j] / inv[0, 0] * inv[0]
    return w * mask, mask


@pytest.mark.parametrize("block", [4, 8, 16])
def test_unstructured_is_obs_column_by_column(block):
    net, x = layer()
    expected, mask = by_hand(net[0].weight.detach(), x, 0.01, block, keep=0.5)
    got, chosen, _ = solve(net, x, block=block)
    assert torch.equal(chosen, mask)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("inputs", [48, 40])
def test_halves_inside_a_block_change_nothing(inputs):
    """More columns than a block, and a last block that is cut short."""
    net, x = layer(inputs=inputs, rows=400)
    expected, mask = by_hand(net[0].weight.detach(), x, 0.01, 32, keep=0.5)
    got, chosen, _ = solve(net, x, block=32)
    assert torch.equal(chosen, mask)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("pattern", [None, (2, 4)])
def test_spans_leaves_and_steps_change_nothing(monkeypatch, pattern):
    """Three spans, the last one cut short; in a block several leaves, and costs in several steps."""
    monkeypatch.setattr("secateur.solve.sweep.SPAN", 24)
    monkeypatch.setattr("secateur.solve.sweep.LEAF", 3 if pattern is None else 4)
    monkeypatch.setattr("secateur.solve.sweep.STEP", 5)
    net, x = layer(inputs=56, rows=400)
    how = {"keep": 0.5} if pattern is None else {"pattern": pattern}
    expected, mask = by_hand(net[0].weight.detach(), x, 0.01, 12, **how)
    options = {} if pattern is None else {"pattern": "2:4"}
    got, chosen, _ = solve(net, x, block=12, **options)
    assert torch.equal(chosen, mask)
    torch.testing.assert_close(got, expected)
    assert torch.equal(net[0].weight.detach(), got), "what goes is 0 before any mask"


@pytest.mark.parametrize("pattern", [(2, 4), (1, 4), (4, 8)])
def test_patterns_are_chosen_when_the_sweep_reaches_them(pattern):
    net, x = layer(inputs=32)
    expected, mask = by_hand(net[0].weight.detach(), x, 0.01, 128, pattern=pattern)
    got, chosen, _ = solve(net, x, pattern=f"{pattern[0]}:{pattern[1]}")
    assert torch.equal(chosen, mask)
    torch.testing.assert_close(got, expected)
    runs = chosen.view(6, -1, pattern[1]).sum(2)
    assert bool((runs == pattern[0]).all())


def test_the_count_is_exact_and_the_error_smaller_than_that_of_magnitude():
    net, x = layer(out=7, inputs=30)
    dense = net[0].weight.detach().clone()
    got, chosen, _ = solve(net, x, density=0.37, block=7)
    assert int(chosen.sum()) == round(0.37 * 210)
    kept = dense.abs().flatten().sort(descending=True).values[round(0.37 * 210) - 1]
    magnitude = dense * (dense.abs() >= kept)
    assert ((got - dense) @ x.T).square().sum() < 0.6 * ((magnitude - dense) @ x.T).square().sum()


def test_act_order_takes_large_inputs_first():
    net, x = layer()
    order = x.square().sum(0).argsort(descending=True)
    turned = nn.Sequential(nn.Linear(16, 6, bias=False)).double()
    turned[0].weight.data = net[0].weight.data[:, order].clone()
    expected, mask = by_hand(turned[0].weight.detach(), x[:, order], 0.01, 8, keep=0.5)
    got, chosen, _ = solve(net, x, block=8, act_order=True)
    assert torch.equal(chosen[:, order], mask)
    torch.testing.assert_close(got[:, order], expected)
    with pytest.raises(PlanError, match="tear runs"):
        solve(net, x, pattern="2:4", act_order=True)


def test_dead_inputs_and_few_samples_are_told():
    net, x = layer(rows=5)
    x[:, 3] = 0
    got, _, note = solve(net, x)
    assert bool((got[:, 3] == 0).all())
    assert note == {"damping": 0.01, "dead": 1, "samples": 5, "inputs": 16}
    assert bool(torch.isfinite(got).all())


def test_small_inputs_are_not_dead():
    net, x = layer()
    expected, mask, _ = solve(net, x)
    net, _ = layer()
    got, chosen, note = solve(net, x * 1e-4)
    assert note["dead"] == 0
    assert torch.equal(chosen, mask)
    torch.testing.assert_close(got, expected)


def test_damping_is_raised_where_the_inverse_does_not_exist():
    gram = torch.ones(64, 64) * 1e6  # of rank one: hopeless in float32 at a tiny damping
    gram[0, 1] = gram[1, 0] = 1.2e6  # and not even positive semi-definite
    found = factorise(gram, 1e-3)
    assert found.damping > 1e-3
    assert bool(torch.isfinite(found.upper).all())
    with pytest.raises(NumberError, match="cannot be inverted"):
        factorise(torch.full((4, 4), torch.nan), 0.01)


def test_units_that_are_no_weights_are_refused():
    recipe = sc.recipe("sparsegpt", walk="whole")
    from secateur.structure import Rows

    net, x = layer()
    rows = Rows(classifier=True)
    recipe = recipe.model_copy(update={"structure": rows})
    targets = rows.targets(net)
    view = ModelView(net, targets, stats=collect(net, recipe.required(), targets, [x]))
    with pytest.raises(PlanError, match="speaks of single weights"):
        step(recipe, view, Update(density=0.5))


def test_a_layer_that_nothing_enters_is_judged_by_size():
    found = factorise(torch.zeros(3, 3), 0.01)
    torch.testing.assert_close((found.upper), 1.01**0.5 * torch.eye(3))
    assert not bool(found.dead.any())


class Side(nn.Module):
    """Two layers that read the same, and one that does not."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(12, 5, bias=False), nn.Linear(12, 7, bias=False)
        self.c = nn.Linear(12, 12, bias=False)

    def forward(self, x):
        y = self.c(x).tanh()
        return self.a(y), self.b(y)


@pytest.mark.parametrize("options", [{"density": 0.5, "block": 5}, {"pattern": "2:4"}])
def test_layers_of_the_same_inputs_are_swept_together_as_if_alone(options):
    torch.manual_seed(3)
    net = Side().double()
    x = torch.randn(90, 12).double() @ torch.randn(12, 12).double()
    y = net.c(x).tanh().detach()
    wanted = {}
    for name, inputs in (("a", y), ("b", y), ("c", x)):
        alone = nn.Sequential(nn.Linear(12, 1, bias=False)).double()
        alone[0].weight = nn.Parameter(getattr(net, name).weight.detach().clone())
        wanted[name] = solve(alone, inputs, **options)[0]
    recipe = sc.recipe("sparsegpt", walk="whole", **options)
    weights = recipe.structure.model_copy(update={"classifier": True})
    targets = weights.targets(net)
    view = ModelView(net, targets, stats=collect(net, recipe.required(), targets, [x]))
    masks = step(recipe, view, Update(density=recipe.schedule.final_density), first=True)
    for name, expected in wanted.items():
        got = net.get_parameter(f"{name}.weight").detach() * masks[f"{name}.weight"]
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


class Never(ElementCriterion):
    """Has nothing to say; not in the registry, whose entries other tests go through."""

    name: ClassVar[str] = "test-never"

    def elements(self, view, param):
        raise AssertionError("was asked")


def test_scores_are_asked_for_only_where_they_decide_how_many_stay():
    net, x = layer()
    recipe = sc.recipe("sparsegpt", walk="whole")
    weights = recipe.structure.model_copy(update={"classifier": True})
    recipe = recipe.model_copy(update={"structure": weights, "criterion": Never()})
    targets = weights.targets(net)
    view = ModelView(net, targets, stats=collect(net, recipe.required(), targets, [x]))
    assert int(step(recipe, view, Update(density=0.5))["0.weight"].sum()) == 48
    together = recipe.model_copy(update={"criterion": Magnitude(), "scope": Model()})
    two = nn.Sequential(nn.Linear(16, 16, bias=False), nn.Linear(16, 6, bias=False)).double()
    two[1].weight.data.sign_()
    targets = weights.targets(two)
    view = ModelView(two, targets, stats=collect(two, recipe.required(), targets, [x]))
    masks = step(together, view, Update(density=0.3))  # all 96 of the second are larger
    assert [int(m.sum()) for m in masks.values()] == [106 - 96, 96]


def test_runs_of_a_convolution_are_refused():
    recipe = sc.recipe("sparsegpt", walk="whole", pattern="2:4")
    weights = recipe.structure.model_copy(update={"classifier": True})
    net = nn.Sequential(nn.Conv2d(4, 3, 2))
    targets = weights.targets(net)
    stats = collect(net, recipe.required(), targets, [torch.randn(5, 4, 6, 6)])
    with pytest.raises(PlanError, match="N of M inputs of linear layers"):
        step(recipe, ModelView(net, targets, stats=stats), Update(density=0.5))


def test_a_factor_of_many_panels_is_one_factor():
    torch.manual_seed(5)
    x = torch.randn(900, 300).double() @ torch.randn(300, 300).double()
    x[:, 7] = 0
    gram = x.T @ x / len(x)
    found = factorise(gram, 0.01)
    mean = gram.diagonal().sum() / 299
    wanted = gram + 0.01 * mean * torch.eye(300)
    wanted[7, 7] = 1.01 * mean
    upper = found.upper
    torch.testing.assert_close(upper @ upper.T, wanted)
    assert bool((upper.tril(-1) == 0).all())
    assert bool((found.diagonal > 0).all())
    assert found.dead.nonzero().tolist() == [[7]]


@pytest.mark.parametrize("act_order", [False, True])
def test_refit_moves_the_weights_before_the_sweep(act_order):
    """Against a layer whose weights have been moved by hand, dead inputs and all."""
    net, x = layer()
    before = x + 0.3 * torch.randn_like(x)
    x[:, 3] = 0  # alive in the dense network
    shift = (before - x).T @ x / len(x)
    gram = x.T @ x / len(x)
    mean = gram.diagonal().sum() / 15
    damped = gram + 0.01 * mean * torch.eye(16)
    damped[3, 3] = 1
    moved = nn.Sequential(nn.Linear(16, 6, bias=False)).double()
    weight = net[0].weight.detach()
    moved[0].weight.data = weight + 0.7 * weight @ shift @ torch.linalg.inv(damped)
    options = {"block": 8, "act_order": act_order}
    expected, mask, _ = solve(moved, x, **options)
    recipe = sc.recipe("sparsegpt", refit=0.7, **options)
    weights = recipe.structure.model_copy(update={"classifier": True})
    targets = weights.targets(net)
    recipe = recipe.model_copy(update={"structure": weights})
    stats = collect(net, recipe.required() - {"input_shift"}, targets, [x])
    view = ModelView(net, targets, stats=stats | {"input_shift": {"0.weight": shift}})
    chosen = step(recipe, view, Update(density=0.5), first=True)["0.weight"]
    assert torch.equal(chosen, mask)
    torch.testing.assert_close(net[0].weight.detach() * chosen, expected)
