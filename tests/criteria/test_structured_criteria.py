"""Criteria of channels against their formulas, written out over a small convolutional network."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from secateur.core.errors import PlanError
from secateur.core.layout import along
from secateur.core.types import Member, Target
from secateur.criteria import (
    ActivationTaylor,
    BnSaliency,
    ChannelLasso,
    Fisher,
    Fpgm,
    HRank,
    Sosp,
    ThiNet,
    UnitTaylor,
)
from secateur.criteria.responses import entries, response_gram
from secateur.engine.collect import collect
from secateur.engine.view import ModelView
from secateur.structure import Coupled

UNITS = 4


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm = nn.Conv2d(2, UNITS, 3, bias=False), nn.BatchNorm2d(UNITS)
        self.b = nn.Conv2d(UNITS, 3, 3, padding=1, stride=2)

    def hidden(self, x):
        return F.relu(self.norm(self.a(x)))

    def forward(self, x):
        return self.b(self.hidden(x)).mean((2, 3))


def channels():
    members = [Member("a.weight", along((UNITS, 2, 3, 3), 0))]
    members += [Member(f"norm.{part}", along((UNITS,), 0)) for part in ("weight", "bias")]
    members += [Member("b.weight", along((3, UNITS, 3, 3), 1), reads=1)]
    return Target("a", "channels", (UNITS,), tuple(members), layer="a")


def loss(net, batch):
    return F.cross_entropy(net(batch[0]), batch[1])


@pytest.fixture
def setting():
    torch.manual_seed(0)
    net = Net().double()
    with torch.no_grad():
        for _ in range(20):
            net(torch.randn(16, 2, 7, 7).double())
        net.norm.weight.uniform_(0.5, 2), net.norm.bias.normal_(0, 0.3)
    net.eval()
    data = [(torch.randn(n, 2, 7, 7).double(), torch.randint(0, 3, (n,))) for n in (3, 5)]
    return net, data


def score(criterion, net, data, masks=None):
    target = channels()
    stats = collect(net, criterion.required(), [target], data, loss)
    return criterion.score(ModelView(net, (target,), masks, stats), target)


def gates(net, data):
    """[samples, units] the gradient of each sample's loss by a factor on each channel."""
    found = []
    for x, y in data:
        for i in range(len(x)):
            gate = torch.ones(UNITS, dtype=torch.float64, requires_grad=True)
            out = net.b(net.hidden(x[i : i + 1]) * gate[:, None, None]).mean((2, 3))
            found += torch.autograd.grad(F.cross_entropy(out, y[i : i + 1]), gate)
    return torch.stack(found)


def test_activation_taylor_is_the_gradient_of_a_gate_sample_by_sample(setting):
    size = gates(*setting).abs().mean(0)
    assert torch.allclose(score(ActivationTaylor(normalise=False), *setting), size)
    assert torch.allclose(score(ActivationTaylor(), *setting), size / size.norm())


def test_fisher_is_half_the_mean_square_of_the_gates_gradient(setting):
    assert torch.allclose(score(Fisher(), *setting), gates(*setting).square().mean(0) / 2)


def test_gates_count_heads_of_linear_layers_and_all_their_tokens():
    from secateur.core.layout import Layout

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 2)).double()
    members = (
        Member("0.weight", Layout((3, 2, 3), (0, 1, 2), 1)),
        Member("1.weight", Layout((2, 3, 2), (1, 0, 2), 1), reads=1),
    )
    target = Target("0", "heads", (3,), members, layer="0")
    x = torch.randn(5, 4, 3).double()  # [samples, tokens, in]
    run = lambda m, b: m(b).square().mean()  # noqa: E731
    found = collect(net, ["gate_abs"], [target], [x], run)["gate_abs"]["0"]
    gate = torch.ones(5, 3, dtype=torch.float64, requires_grad=True)  # [samples, heads]
    out = net[1](net[0](x) * gate.repeat_interleave(2, 1)[:, None])
    (gradient,) = torch.autograd.grad(out.square().mean(), gate)
    assert torch.allclose(found, (5 * gradient).abs().mean(0))


def test_unit_taylor_squares_the_sum_over_the_filter(setting):
    net, data = setting
    parts = []
    for batch in data:
        (g,) = torch.autograd.grad(loss(net, batch), net.a.weight)
        parts.append((net.a.weight * g).sum((1, 2, 3)).square())
    assert torch.allclose(score(UnitTaylor(), net, data), torch.stack(parts).mean(0).detach())


def hessian(net, data, names):
    """Gradient and Hessian of the mean loss by the flat parameters `names`, and their values."""
    shapes = [net.get_parameter(n).shape for n in names]
    flat = torch.cat([net.get_parameter(n).detach().flatten() for n in names])

    def mean(vector):
        parts = vector.split([s.numel() for s in shapes])
        values = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        losses = [F.cross_entropy(functional_call(net, values, (x,)), y) for x, y in data]
        return torch.stack(losses).mean()

    return torch.func.grad(mean)(flat), torch.func.hessian(mean)(flat), flat


NAMES = ("a.weight", "norm.weight", "norm.bias", "b.weight")


def owners(net):
    """Which unit owns each of the flat parameters."""
    parts = []
    for m in channels().members:
        full = torch.empty(net.get_parameter(m.param).shape)
        own = m.layout.view(full)
        own.copy_(torch.arange(UNITS).view(-1, *[1] * (full.dim() - 1)).expand(own.shape))
        parts.append(full.flatten())
    return torch.cat(parts)


def test_sosp_h_by_the_whole_hessian(setting):
    net, data = setting
    g, h, w = hessian(net, data, NAMES)
    for u, found in enumerate(score(Sosp(), net, data)):
        own = w * (owners(net) == u)
        assert torch.allclose(found, (own @ g).abs() + (own @ (h @ w)).abs() / 2)


def test_sosp_i_by_the_whole_gauss_newton_matrix(setting):
    """G from the Jacobian of the logits and the softmax's own covariance, all pairs written out."""
    net, data = setting
    g, _, flat = hessian(net, data, NAMES)
    shapes = [net.get_parameter(n).shape for n in NAMES]

    def outputs(vector, x):
        parts = vector.split([s.numel() for s in shapes])
        values = {n: p.view(s) for n, p, s in zip(NAMES, parts, shapes, strict=True)}
        return functional_call(net, values, (x,))[0]

    matrix, count = 0, 0
    for x in (one for batch, _ in data for one in batch.split(1)):
        jacobian = torch.func.jacrev(outputs)(flat, x)  # [outputs, weights]
        p = outputs(flat, x).softmax(0)
        matrix = matrix + jacobian.T @ (p.diag() - p[:, None] * p) @ jacobian
        count += 1
    owned = torch.stack([flat * (owners(net) == u) for u in range(UNITS)])  # [units, weights]
    expected = (owned @ g).abs() + (owned @ (matrix / count) @ owned.T).abs().sum(1) / 2
    assert torch.allclose(score(Sosp(variant="i"), net, data), expected)


def test_gauss_and_newton_see_no_curvature_in_a_loss_that_is_linear_in_the_outputs(setting):
    net, data = setting
    flat = lambda m, b: m(b[0]).sum()  # noqa: E731
    found = collect(net, ["gauss_newton_abs"], [channels()], data, flat)["gauss_newton_abs"]["a"]
    assert found.tolist() == [0.0] * UNITS
    wide = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1001))
    member = Member("0.weight", along((2, 2), 0))
    batch = [(torch.randn(1, 2), torch.zeros(1).long())]
    with pytest.raises(PlanError, match=r"up to 1,000.*variant h"):
        collect(wide, ["gauss_newton_abs"], [Target("0", "rows", (2,), (member,))], batch, loss)


def test_the_diagonal_of_the_hessian_exactly_where_it_is_diagonal_and_near_elsewhere(setting):
    net, data = setting
    (line,) = [nn.Linear(3, 1, bias=False)]
    quadratic = lambda m, b: (b * m.weight.square()).sum()  # noqa: E731
    curve = torch.tensor([1.0, -2.0, 5.0])
    found = collect(line, ["hessian_diagonal:1"], ["weight"], [curve], quadratic)
    assert torch.allclose(found["hessian_diagonal:1"]["weight"], 2 * curve[None])
    _, h, _ = hessian(net, data, ("norm.weight",))
    name = "hessian_diagonal:400"
    near = collect(net, [name], ["norm.weight"], data, loss)[name]["norm.weight"]
    assert float((near - h.diagonal()).detach().abs().max()) < 0.2 * float(h.detach().abs().max())
    with pytest.raises(PlanError, match="whole"):
        collect(net, ["hessian_diagonal:1.5"], ["norm.weight"], data, loss)


def test_fpgm_by_hand():
    """Filters 0, 3, 4 on a line: distances 3 + 4, 3 + 1, 4 + 1; without the last 3, 3 (and 5)."""
    net = nn.Sequential(nn.Linear(1, 3, bias=False))
    net[0].weight.data = torch.tensor([[0.0], [3.0], [4.0]])
    target = Target("0", "rows", (3,), (Member("0.weight", along((3, 1), 0)),))
    assert Fpgm().score(ModelView(net, (target,)), target).tolist() == [7, 4, 5]
    masks = {"0": torch.tensor([True, True, False])}
    assert Fpgm().score(ModelView(net, (target,), masks), target).tolist() == [3, 3, 5]


def test_hrank_counts_the_rank_of_maps_through_rounding_noise():
    """Identity filters: maps of rank 1, 2, 5 and 0, with noise below the tolerance on the first."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.Conv2d(4, 1, 1))
    net[0].weight.data = torch.eye(4)[..., None, None]
    maps = torch.zeros(2, 4, 5, 5)
    maps[:, 0] = torch.randn(2, 5, 1) @ torch.randn(2, 1, 5) * (1 + 1e-7 * torch.randn(2, 5, 5))
    maps[:, 1] = torch.randn(2, 5, 2) @ torch.randn(2, 2, 5)
    maps[:, 2] = torch.eye(5)
    maps[1, 2] = 0  # the mean of rank 5 and rank 0
    members = (Member("0.weight", along((4, 4, 1, 1), 0)),
               Member("1.weight", along((1, 4, 1, 1), 1), reads=1))  # fmt: skip
    target = Target("0", "channels", (4,), members)
    stats = collect(net, HRank().required(), [target], [maps])
    view = ModelView(net, (target,), None, stats)
    assert HRank().score(view, target).tolist() == [1, 2, 2.5, 0]


def responses(net, data):
    """[units, samples * places * out] what each channel adds to the next layer's output."""
    with torch.no_grad():
        hidden = torch.cat([net.hidden(x) for x, _ in data])
        parts = [
            F.conv2d(hidden[:, u : u + 1], net.b.weight[:, u : u + 1], padding=1, stride=2)
            for u in range(UNITS)
        ]  # each [samples, out, h, w]
    rows = hidden.shape[0] * parts[0].shape[2] * parts[0].shape[3]
    return torch.stack([p.flatten() for p in parts]), rows


def test_the_gram_matrix_of_the_responses(setting):
    net, data = setting
    stats = collect(net, ["input_gram"], [channels()], data)
    z, rows = responses(net, data)
    view = ModelView(net, (channels(),), None, stats)
    assert torch.allclose(response_gram(view, channels()), z @ z.T / rows)


def test_thinet_removes_greedily_what_the_next_layer_feels_least(setting):
    net, data = setting
    z, _ = responses(net, data)
    gone = []
    while len(gone) < UNITS:
        cost = {
            u: float(z[[*gone, u]].sum(0).square().sum()) for u in range(UNITS) if u not in gone
        }
        gone.append(min(cost, key=cost.get))
    assert score(ThiNet(), net, data).argsort().tolist() == gone
    best = min(
        itertools.combinations(range(UNITS), 1), key=lambda t: float(z[list(t)].square().sum())
    )
    assert gone[0] == best[0]


@pytest.mark.parametrize("seed", range(6))
def test_the_path_agrees_with_another_implementation(seed):
    """Just below the penalty at which a unit comes in it is there, above it never."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 10)) @ rng.normal(size=(10, 10))
    y = x @ rng.normal(size=10)
    gram, wanted = torch.tensor(x.T @ x / 60), torch.tensor(x.T @ y / 60)
    found = entries(gram, wanted)
    alphas, _, path = linear_model.lars_path(x, y, method="lasso")
    expected = [alphas[np.flatnonzero(row)[0] - 1] for row in path]
    assert torch.allclose(found, torch.tensor(expected), rtol=1e-6)


def test_units_that_are_always_zero_or_copies_of_others_never_come_in():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    x = torch.cat([x, torch.zeros(50, 1), x[:, :1]], 1)  # unit 3 is silent, unit 4 copies unit 0
    found = entries(x.T @ x / 50, x.T @ x.sum(1) / 50)
    assert found[3] == 0
    assert bool((found[:3] > 0).all())
    assert bool(torch.isfinite(found).all())


def test_channel_lasso_ranks_by_the_penalty_at_which_a_channel_comes_in(setting):
    net, data = setting
    z, rows = responses(net, data)
    gram = z @ z.T / rows
    found = score(ChannelLasso(), net, data)
    assert torch.allclose(found, entries(gram, gram.sum(1)) / gram.sum(1).abs().max())
    assert found[gram.sum(1).abs().argmax()] == found.max() == pytest.approx(1)


def test_bn_saliency_is_the_mean_of_what_passes_the_relu():
    scale, shift = torch.tensor([2.0, -0.5, 1e-9, 1.5]), torch.tensor([0.3, -1.0, 0.7, -6.0])
    net = Net()
    net.norm.weight.data, net.norm.bias.data = scale, shift
    roles = {"norm.weight": "scale", "norm.bias": "shift"}
    members = tuple(replace(m, role=roles.get(m.param, "")) for m in channels().members)
    target = replace(channels(), members=members)
    draw = torch.randn(400_000, generator=torch.Generator().manual_seed(0))
    z = draw[:, None] * scale + shift
    found = BnSaliency().score(ModelView(net, (target,)), target)
    assert torch.allclose(found, z.clamp(min=0).mean(0).double(), atol=5e-3)
    plain = BnSaliency(after="nothing").score(ModelView(net, (target,)), target)
    assert torch.allclose(plain, z.square().mean(0).sqrt().double(), atol=1e-2)
    with pytest.raises(PlanError, match="runs through none"):
        BnSaliency().score(ModelView(net, (channels(),)), channels())


def test_tracing_tells_scale_from_shift():
    (target,) = Coupled(include=("a",)).targets(Net().eval(), torch.zeros(2, 2, 7, 7))
    assert {m.param: m.role for m in target.members if m.role} == {
        "norm.weight": "scale", "norm.bias": "shift",
    }  # fmt: skip


def test_thinet_counts_what_cancels_by_hand():
    """Parts 1, -2.2 and 1.05: 1 goes first; then -2.2, with which 1.44 is lost, before 1.05 with 4.2."""
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 1, bias=False)).double()
    net[0].weight.data, net[1].weight.data[:] = torch.eye(3).double(), 1.0
    members = (Member("0.weight", along((3, 3), 0)), Member("1.weight", along((1, 3), 1), reads=1))
    target = Target("0", "neurons", (3,), members)
    stats = collect(net, ["input_gram"], [target], [torch.tensor([[1.0, -2.2, 1.05]]).double()])
    found = ThiNet().score(ModelView(net, (target,), None, stats), target)
    assert torch.allclose(found, torch.tensor([1.0, 2.0, 3.0]).double() / 3)
