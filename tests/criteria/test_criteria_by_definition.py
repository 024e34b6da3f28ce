"""Criteria against what they claim to measure, computed in another way."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from secateur.core.layout import whole
from secateur.core.types import Member, Target
from secateur.criteria import Force, Grasp, Snip, Supermask, SynFlow, Taylor
from secateur.engine.collect import collect
from secateur.engine.view import ModelView

PARAMS = ("0.weight", "2.weight")


@pytest.fixture
def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()


@pytest.fixture
def batches():
    torch.manual_seed(2)
    return [(torch.randn(6, 3).double(), torch.randint(0, 3, (6,))) for _ in range(3)]


def loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def targets(net):
    shapes = {n: tuple(net.get_parameter(n).shape) for n in PARAMS}
    return tuple(Target(n, "weights", s, (Member(n, whole(s)),)) for n, s in shapes.items())


def score(criterion, net, batches, masks=None, **given):
    stats = collect(net, criterion.required(), PARAMS, batches, loss, masks=masks, **given)
    view = ModelView(net, targets(net), masks, stats)
    return {t.name: criterion.score(view, t) for t in view.targets}


def mean_loss(net, batches, values, temperature=1.0):
    losses = [F.cross_entropy(functional_call(net, values, x) / temperature, y) for x, y in batches]
    return sum(losses) / len(losses)


def shifted(net, name, index, value):
    """The parameters with one weight replaced."""
    values = {n: p.detach().clone() for n, p in net.named_parameters()}
    values[name][index] = value
    return values


def every_weight(net):
    for name in PARAMS:
        for flat in range(net.get_parameter(name).numel()):
            yield name, np.unravel_index(flat, net.get_parameter(name).shape)


def test_snip_is_the_sensitivity_to_a_multiplicative_mask(net, batches):
    found = score(Snip(), net, batches)
    eps = 1e-6
    for name, i in every_weight(net):
        w = net.get_parameter(name)[i].item()
        up = mean_loss(net, batches, shifted(net, name, i, w * (1 + eps)))
        down = mean_loss(net, batches, shifted(net, name, i, w * (1 - eps)))
        assert abs((up - down) / (2 * eps)).item() == pytest.approx(
            float(found[name][i]), rel=1e-4, abs=1e-9
        )


def test_taylor_averages_per_batch_sensitivities(net, batches):
    squared = score(Taylor(), net, batches)
    absolute = score(Taylor(order="absolute"), net, batches)
    one = [score(Snip(), net, [batch]) for batch in batches]
    for name in PARAMS:
        per_batch = torch.stack([s[name] for s in one])
        assert torch.allclose(squared[name], per_batch.square().mean(0))
        assert torch.allclose(absolute[name], per_batch.mean(0))


def flow(net, batches, values, t):
    """The squared norm of the gradient of the mean loss by the scored weights."""
    leaves = {n: v.requires_grad_(n in PARAMS) for n, v in values.items()}
    gradients = torch.autograd.grad(mean_loss(net, batches, leaves, t), [leaves[n] for n in PARAMS])
    return float(sum(g.square().sum() for g in gradients))


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_grasp_is_half_the_loss_of_gradient_flow_when_a_weight_shrinks(net, batches, temperature):
    """The sign: a positive score means that removing the weight lowers the gradient flow."""
    found = score(Grasp(temperature=temperature), net, batches)
    eps, signs = 1e-5, set()
    for name, i in every_weight(net):
        w = net.get_parameter(name)[i].item()
        less = flow(net, batches, shifted(net, name, i, w * (1 - eps)), temperature)
        more = flow(net, batches, shifted(net, name, i, w * (1 + eps)), temperature)
        lost = (more - less) / (2 * eps)  # what goes with the weight, to first order
        assert lost / 2 == pytest.approx(float(found[name][i]), rel=1e-4, abs=1e-9)
        signs.add(lost > 0)
    assert signs == {True, False}


def test_grasp_keeps_what_the_official_rule_keeps(net, batches):
    """The paper removes the largest of -w ∘ Hg."""
    found = torch.cat([s.flatten() for s in score(Grasp(), net, batches).values()])
    removed = (-found).topk(len(found) // 2).indices
    kept = found.topk(len(found) - len(found) // 2).indices
    assert set(removed.tolist()).isdisjoint(kept.tolist())


def test_force_scores_removed_weights_by_their_original_value(net, batches):
    initial = {n: p.detach().clone() for n, p in net.named_parameters()}
    masks = {n: torch.rand(net.get_parameter(n).shape) > 0.5 for n in PARAMS}
    found = score(Force(), net, batches, masks, initial=initial)
    sparse = {n: v * masks[n] if n in masks else v for n, v in initial.items()}
    eps = 1e-6
    for name, i in every_weight(net):
        values = {n: v.clone() for n, v in sparse.items()}
        values[name][i] += eps
        gradient = (mean_loss(net, batches, values) - mean_loss(net, batches, sparse)) / eps
        expected = abs(float(gradient * initial[name][i]))
        assert float(found[name][i]) == pytest.approx(expected, rel=1e-3, abs=1e-7)
    gone = torch.cat([found[n][~masks[n]] for n in PARAMS])
    assert (gone > 0).sum() > len(gone) // 2


def test_force_is_snip_before_anything_is_pruned(net, batches):
    initial = {n: p.detach().clone() for n, p in net.named_parameters()}
    force, snip = score(Force(), net, batches, initial=initial), score(Snip(), net, batches)
    assert all(torch.allclose(force[n], snip[n]) for n in PARAMS)


def test_synflow_sums_paths(net, batches):
    """The score of a weight is the sum of the products over all paths through it."""
    found = score(SynFlow(), net, batches, example=torch.zeros(1, 3).double())
    a, b = (net.get_parameter(n).detach().abs() for n in PARAMS)
    paths = torch.einsum("oh,hi->ohi", b, a)  # [out, hidden, in]
    assert torch.allclose(found["0.weight"], paths.sum(0))
    assert torch.allclose(found["2.weight"], paths.sum(2))


def official_quadrant(w0, wk, keep_count):
    """The official joint rule: the lowest common percentile above which at most k weights lie."""
    best = None
    for share in np.linspace(0, 1, 4001):
        low0, lowk = np.quantile(w0, share), np.quantile(wk, share)
        kept = (w0 >= low0) & (wk >= lowk)
        if kept.sum() <= keep_count:
            best = kept
            break
    return best


@pytest.mark.parametrize("keep", ["large_init_large_final", "small_init_small_final"])
@pytest.mark.parametrize("count", [5, 20, 60])
def test_joint_supermasks_find_the_common_percentile(keep, count):
    torch.manual_seed(count)
    net = nn.Linear(50, 4, bias=False)
    initial = net.weight.detach() + 0.1 * torch.randn(4, 50)
    target = Target("w", "weights", (4, 50), (Member("weight", whole((4, 50))),))
    view = ModelView(net, (target,), None, {"initial": {"weight": initial}})
    found = Supermask(keep=keep).score(view, target).flatten()
    sign = 1 if keep.startswith("large") else -1
    now = sign * net.weight.detach().abs().flatten().numpy()
    expected = official_quadrant(sign * initial.abs().flatten().numpy(), now, count)
    kept = np.zeros(200, dtype=bool)
    kept[found.topk(int(expected.sum())).indices] = True
    assert expected.sum() >= count - 1
    assert (kept == expected).all()
