"""Exchanges of units by what they do to the loss together, and tuned masks, by independent formulas."""

import itertools

import pytest
import torch
from torch.nn import functional as F

import secateur as sc
from secateur.core.errors import PlanError
from secateur.engine.collect import collect
from secateur.models.vit import ViT
from secateur.solve import LeastSquares
from secateur.solve.rearranged import exchanged


def by_vectors(gates, gone):
    """The same greedy search with the gradient vectors [samples, units] themselves."""
    order = sorted(range(gates.shape[1]), key=lambda u: (float(gates[:, u].square().sum()), -u))
    out = order[:gone]
    for unit in order[gone:]:
        out.append(unit)
        lengths = [float(gates[:, [v for v in out if v != u]].sum(1).square().sum()) for u in out]
        out.pop(lengths.index(min(lengths)))
    return sorted(out)


def loss(gates, out):
    return float(gates[:, list(out)].sum(1).square().sum())


@pytest.mark.parametrize("seed", range(6))
def test_exchanges_follow_the_gradient_vectors_and_never_raise_the_loss(seed):
    gates = torch.randn(5, 9, generator=torch.Generator().manual_seed(seed)).double()
    for gone in range(1, 9):
        found = exchanged(gates.T @ gates, gone).nonzero()[:, 0].tolist()
        assert found == by_vectors(gates, gone)
        first = gates.square().sum(0).argsort()[:gone]
        every = [loss(gates, out) for out in itertools.combinations(range(9), gone)]
        assert min(every) - 1e-9 <= loss(gates, found) <= loss(gates, first) + 1e-9
    assert not exchanged(gates.T @ gates, 0).any()
    assert exchanged(gates.T @ gates, 9).all()


def vit():
    torch.manual_seed(0)
    net = ViT(5, 3, 8, patch=4, dim=16, depth=2, heads=4)
    return net.double().eval()


def images(n=48):
    rng = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, 8, 8, generator=rng).double(), torch.randint(5, (n,), generator=rng)


def test_products_of_gates_are_outer_products_of_their_gradients_sample_by_sample():
    net, (x, y) = vit(), images(6)
    targets = sc.recipe("fisher-masks").structure.targets(net, x[:2])
    batches = [(part, of) for part, of in zip(x.split(4), y.split(4), strict=True)]
    ce = lambda m, b: F.cross_entropy(m(b[0]), b[1])  # noqa: E731
    found = collect(net, ["gate_products", "gate_squared"], targets, batches, ce)
    for target in (t for t in targets if t.kind == "neurons"):
        layer = next(
            net.get_submodule(m.param.rpartition(".")[0]) for m in target.members if m.reads == 1
        )
        rows = []
        for i in range(6):
            gate = torch.ones(target.units, dtype=torch.double, requires_grad=True)
            hook = layer.register_forward_pre_hook(lambda module, args, g=gate: (args[0] * g,))
            F.cross_entropy(net(x[i : i + 1]), y[i : i + 1]).backward()
            hook.remove()
            rows.append(gate.grad)
        gates = torch.stack(rows)
        products = found["gate_products"][target.name]
        assert torch.allclose(products, gates.T @ gates / 6, rtol=1e-9, atol=1e-14)
        assert torch.allclose(products.diagonal(), found["gate_squared"][target.name])


def distance(net, result, x):
    with torch.no_grad():
        return float((net(x) - result.model(x)).square().mean())


def test_tuning_brings_the_outputs_closer_and_meets_the_budget():
    net, data = vit(), images()
    plain, tuned = (
        sc.prune(net, "fisher-masks", tune=tune, data=data, example=data[0][:2], trained=True)
        for tune in (False, True)
    )
    for result in (plain, tuned):
        small = sc.shrink(result, data[0][:2])
        assert small.record["difference"] < 1e-9
        assert 0.45 < small.record["macs"][1] / small.record["macs"][0] <= 0.5
    assert {n: m.tolist() for n, m in plain.units.items()} == {
        n: m.tolist() for n, m in tuned.units.items()
    }  # masks are those of the dense network, whatever the tuning has done before a layer
    assert distance(net, tuned, data[0]) < distance(net, plain, data[0])


def test_every_kept_input_of_a_tuned_layer_has_one_factor_per_unit():
    net, data = vit(), images()
    result = sc.prune(net, "fisher-masks", data=data, example=data[0][:2], trained=True)
    before, after = net.state_dict(), result.model.state_dict()
    changed = 0
    for target in result.targets:
        reader = next(m for m in target.members if m.reads == 1)
        ratio = (after[reader.param] / before[reader.param]).unflatten(1, (target.units, -1))
        factors = ratio.mean((0, 2))
        assert torch.allclose(ratio, factors.view(1, -1, 1).expand_as(ratio))
        assert bool((factors[~result.units[target.name]] == 0).all())
        changed += int((factors[result.units[target.name]] - 1).abs().max() > 1e-3)
    assert changed


def last_sum(net, x):
    """What the last block adds up: neurons' values, the weight that reads them, the shortcut, the sum."""
    seen = {}
    block = net.blocks[-1]
    hooks = [
        block.fc2.register_forward_pre_hook(lambda m, args: seen.update(h=args[0])),
        block.norm2.register_forward_pre_hook(lambda m, args: seen.update(short=args[0])),
        block.register_forward_hook(lambda m, args, out: seen.update(sum=out)),
    ]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return seen


def test_factors_of_the_last_layer_rebuild_the_dense_sum_by_ridge_regression_around_one():
    net, data = vit(), images()
    result = sc.prune(net, "fisher-masks", data=data, example=data[0][:2], trained=True)
    before, now = last_sum(net, data[0]), last_sum(result.model, data[0])
    target = result.targets[-1]
    assert target.kind == "neurons"
    kept = result.units[target.name].nonzero()[:, 0]
    weight = net.blocks[-1].fc2.weight.detach()  # [out, neurons]
    design = torch.einsum("ntk,ok->ntok", now["h"][..., kept], weight[:, kept]).flatten(0, 2)
    wanted = (before["sum"] - now["short"] - net.blocks[-1].fc2.bias).detach().flatten()
    square = design.T @ design
    ridge = 1e-4 * square.diagonal().mean() * torch.eye(len(kept)).double()
    factors = 1 + torch.linalg.solve(square + ridge, design.T @ (wanted - design.sum(1)))
    tuned = result.model.blocks[-1].fc2.weight.detach()[:, kept] / weight[:, kept]
    assert torch.allclose(tuned, factors.expand_as(tuned), rtol=1e-6)
    assert float((factors - 1).abs().max()) > 0.01


def test_a_factor_beyond_the_bound_leaves_the_layer_as_it_was():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double()
    solver = LeastSquares(fit="scales", within=10, damping=1e-9)
    weight, none = torch.ones(1, 2).double(), torch.zeros(2, dtype=torch.bool)
    owner = torch.arange(2)
    for aim, wanted in ((9.0, 9.0), (11.0, 1.0), (-11.0, 1.0)):
        cross = torch.tensor([[aim, 2.0]]).double()
        new = solver._refit(weight, none, rows, cross, owner)
        other = 2.0 if wanted == aim else 1.0
        assert torch.allclose(new, torch.tensor([[wanted, other]]).double(), atol=1e-6)
    with pytest.raises(PlanError, match="within"):
        LeastSquares(within=10)
