"""Removal delivers ordinary modules that compute what the edited graph computes."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support_cuts import cut_net
from support_thorough import thorough
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.structure.graph import Axis, ProofError, Trace, TraceError, remove, trace
from secateur.structure.graph.graphnet import GraphNet
from secateur.structure.graph.positions import kept_size
from secateur.structure.graph.remove import Plan, Removal
from tests.structure.graph.choices import half
from tests.structure.graph.zoo.table import make


def planned(traced: Trace, everything: bool = False, seed: int = 0) -> Plan:
    axes = [a for a in traced.axes if everything or a.default]
    kept = half(axes, seed)
    return {a: kept[a.var].tolist() for a in axes}


def removed(name: str, everything: bool = False, **options: Any) -> tuple[nn.Module, Removal, Any]:
    model, (args, kwargs) = make(name)
    traced = trace(model, args, kwargs, dynamic=False)
    return (
        model,
        remove(traced, model, planned(traced, everything), args, kwargs, **options),
        (args, kwargs),
    )


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("vgg", "A"),
        pytest.param("unet", "A", marks=thorough),
        ("yolo", "A"),
        ("recurrent", "A"),
        ("weight_norm", "A"),
        pytest.param("resnext", "A", marks=thorough),
        ("resnet", "A"),
        ("swin", "A"),
        ("bert", "A"),
        ("llama", "A"),
        ("gpt2", "B"),
        ("multihead", "A"),
        ("t5", "B"),
        ("levit", "B"),
        pytest.param("deberta_v2", "B", marks=thorough),
        ("fused_decoder", "B"),
        ("phi3", "B"),
        pytest.param("stablelm", "B", marks=thorough),
        pytest.param("focalnet", "B", marks=thorough),
        pytest.param("swinv2", "B", marks=thorough),
        ("linear_attention", "D"),
    ],
)
def test_the_level_a_network_needs(name: str, level: str) -> None:
    model, made, _ = removed(name)
    assert made.level == level
    assert made.error < 1e-5
    assert count(made.module) < 0.7 * count(model)
    assert type(made.module) is type(model) or level == "D"


def test_the_original_is_left_alone() -> None:
    model, (args, kwargs) = make("resnet")
    before = {name: t.clone() for name, t in model.state_dict().items()}
    traced = trace(model, args, kwargs)
    remove(traced, model, planned(traced), args, kwargs)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_layers_say_their_new_sizes() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)
    )
    x = (torch.randn(2, 3, 8, 8),)
    traced = trace(net.eval(), x)
    small = remove(traced, net, {traced.axes[0]: [1, 4, 6]}, x).module
    assert str(small[0]) == "Conv2d(3, 3, kernel_size=(3, 3), stride=(1, 1))"
    assert small[1].num_features == 3
    assert (small[2].in_channels, small[2].out_channels, small[2].groups) == (3, 3, 3)
    assert torch.equal(small[0].weight, net[0].weight[[1, 4, 6]])
    assert torch.equal(small[1].running_mean, net[1].running_mean[[1, 4, 6]])


def test_removal_equals_zeroing_the_users_own_weights() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2))
    x = torch.randn(4, 3)
    traced = trace(net, (x,))
    small = remove(traced, net, {traced.axes[0]: [0, 5]}, (x,)).module
    zeroed = copy.deepcopy(net)
    with torch.no_grad():
        for tensor in (zeroed[0].weight, zeroed[0].bias, zeroed[2].weight.T):
            tensor[[1, 2, 3, 4, 6, 7]] = 0
    assert torch.allclose(small(x), zeroed(x), atol=1e-6)


def test_tied_weights_stay_tied() -> None:
    _, made, _ = removed("gpt2")
    assert made.module.lm_head.weight is made.module.transformer.wte.weight
    assert made.module.lm_head.weight.shape[1] < 32


def test_gradients_are_cut_too() -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    net(torch.randn(4, 3)).sum().backward()
    traced = trace(net, (torch.randn(2, 3),))
    small = remove(traced, net, {traced.axes[0]: [2, 3]}, (torch.randn(2, 3),)).module
    assert torch.equal(small[0].weight.grad, net[0].weight.grad[[2, 3]])


@pytest.mark.parametrize("name", ["resnet", "llama", "shufflenet"])
def test_two_removals_equal_one(name: str) -> None:
    """Half, traced again and half of that, is the quarter chosen at once."""
    model, (args, kwargs) = make(name)
    first = trace(model, args, kwargs, dynamic=False)
    axes = {a.name: a for a in first.axes if a.default and a.units >= 4}
    once = remove(first, model, {a: range(0, a.units, 2) for a in axes.values()}, args, kwargs)
    again = trace(once.module, args, kwargs, dynamic=False)
    quarter = {a: range(0, a.units, 2) for a in again.axes if a.name in axes}
    twice = remove(again, once.module, quarter, args, kwargs)
    direct = remove(first, model, {a: range(0, a.units, 4) for a in axes.values()}, args, kwargs)
    for (n, p), q in zip(twice.module.named_parameters(), direct.module.parameters(), strict=True):
        assert torch.equal(p, q), n


@pytest.mark.parametrize("name", ["llama", "resnet", "gpt2"])
def test_what_comes_out_trains(name: str) -> None:
    _, made, (args, kwargs) = removed(name)
    out = made.module.train()(*args, **kwargs)
    out.logits.square().mean().backward()
    assert all(p.grad is not None for n, p in made.module.named_parameters())


def test_residual_width_equals_masking_when_norms_keep_the_old_count() -> None:
    model, (args, kwargs) = make("llama")
    traced = trace(model, args, kwargs, dynamic=False)
    width = next(a for a in traced.axes if a.kind == "residual width")
    plan = {width: range(width.units // 2)}
    plain = remove(traced, model, plan, args, kwargs)
    kept = remove(traced, model, plan, args, kwargs, preserve_norms=True)
    assert plain.proof.error > 1e-2
    assert kept.proof.error < 1e-12
    assert kept.level in "AB"
    assert kept.error < 1e-5


def test_only_the_unexplained_modules_become_graphs() -> None:
    """Narrower heads change the scale that attention takes from the size of its queries."""
    model, made, (args, _) = removed("fused_decoder", everything=True)
    assert made.level == "C"
    assert made.replaced == ("blocks.0", "blocks.1")
    assert type(made.module) is type(model)
    assert made.module.out.weight is made.module.embed.weight
    made.module.train()(*args).square().mean().backward()
    assert all(p.grad is not None for p in made.module.parameters())


@pytest.mark.parametrize("named", ["input", "x"])
def test_a_module_that_becomes_a_graph_takes_the_network_s_own_input_by_any_name(
    named: str,
) -> None:
    """`input`, as nn.Sequential calls it, is a builtin's name, which a torch graph does not keep."""
    net: nn.Module = cut_net("chunk")
    net = net if named == "input" else Behind(net)
    traced = trace(net, (torch.randn(2, 3, 8, 8),))
    axis = next(a for a in traced.axes if a.name.endswith("first"))
    made = remove(traced, net, {axis: range(4)}, (torch.randn(2, 3, 8, 8),), {})
    assert made.level == "C"
    assert made.replaced == (axis.name.removesuffix(".first"),)
    assert made.module(torch.randn(3, 3, 5, 5)).shape == (3, 5)


class Behind(nn.Module):
    """A network called under another name."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Switched(nn.Module):
    """Dropout, batch norm, and a size in `forward` that no attribute holds."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(6, 24), nn.BatchNorm1d(24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.dropout(self.norm(self.a(x)), 0.5, self.training)
        return self.b(y.view(-1, 4, 6).transpose(1, 2).reshape(-1, 24))


def graph_net() -> tuple[GraphNet, Tensor]:
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    net = Switched().eval()
    traced = trace(net, (x,))
    made = remove(traced, net, planned(traced), (x,))
    assert made.level == "D"
    assert isinstance(made.module, GraphNet)
    return made.module, x


def test_a_graph_switches_between_training_and_evaluation() -> None:
    net, x = graph_net()
    torch.manual_seed(0)
    assert torch.equal(net(x), net(x))
    before = net.norm.running_mean.clone()
    net.train()
    assert not torch.equal(net(x), net(x))
    assert not torch.equal(net.norm.running_mean, before)
    net.eval()
    assert torch.equal(net(x), net(x))


def test_a_graph_learns_saves_copies_and_runs_at_any_batch() -> None:
    net, x = graph_net()
    optimiser = torch.optim.SGD(net.train().parameters(), 0.1)
    losses = []
    torch.manual_seed(0)
    for _ in range(30):
        loss = (net(x) - 1).square().mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.5 * losses[0]
    assert set(net.state_dict()) == set(Switched().state_dict())
    twin = copy.deepcopy(net.eval())
    fresh, _ = graph_net()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(twin(x), net(x))
    assert torch.equal(fresh(x), net(x))
    assert net(x[:3]).shape == (3, 3)


def test_what_comes_out_exports_again() -> None:
    net, x = graph_net()
    program = torch.export.export(net, (x,))
    assert torch.allclose(program.module()(x), net(x), atol=1e-6)


@pytest.mark.parametrize("units", [[], [8], [-1]])
def test_units_that_do_not_exist(units: list[int]) -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))
    traced = trace(net, (torch.randn(2, 3),))
    with pytest.raises(TraceError, match="axis '0' keeps 1 to 8 units"):
        remove(traced, net, {traced.axes[0]: units}, (torch.randn(2, 3),))


class Summed(nn.Module):
    """Removal of its width is not masking."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x).sigmoid().sum(-1)


def test_a_false_claim_of_exactness_is_caught() -> None:
    net, x = Summed(), (torch.randn(2, 3),)
    traced = trace(net, x)
    claimed: Axis = replace(traced.axes[0], exact=True)
    with pytest.raises(ProofError, match="removing is not masking"):
        remove(traced, net, {claimed: [0, 1]}, x)
    honest = remove(traced, net, {traced.axes[0]: [0, 1]}, x)
    assert honest.proof.error > 1e-3


def test_a_wrong_edit_is_not_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every level is compared with the graph: cutting other rows than the graph does is caught."""
    from secateur.structure.graph import standard

    def first_rows(tensor: Tensor, terms: Any, kept: Any) -> Tensor:
        for dim, term in enumerate(terms):
            tensor = tensor.narrow(dim, 0, kept_size(term, kept))
        return nn.Parameter(tensor.detach())

    monkeypatch.setattr(standard, "cut_tensor", first_rows)
    net, x = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), (torch.randn(2, 3),)
    traced = trace(net, x)
    with pytest.raises(ProofError, match="no level delivers"):
        remove(traced, net, {traced.axes[0]: np.arange(4, 8)}, x, levels="A")


class Numbered(nn.Module):
    """Has its width as a number in its code, so that it comes as a graph, and one matrix in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.up, self.down = nn.Linear(6, 4), nn.Linear(4, 8), nn.Linear(8, 4)
        self.leave = nn.Linear(6, 4)
        self.leave.weight = self.enter.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(self.up(self.enter(x)).view(-1, 8))
        return x @ self.leave.weight


def test_a_graph_shares_no_tensor_with_the_network() -> None:
    """Neither what was cut nor what stayed as it was; tied weights are one there too."""
    net, x = Numbered(), torch.randn(4, 6)
    traced = trace(net, (x,))
    axis = next(a for a in traced.axes if a.name == "up")
    made = remove(traced, net, {axis: [0, 3]}, (x,))
    assert made.level == "D"
    mine = {t.untyped_storage().data_ptr() for t in net.parameters()}
    given = {t.untyped_storage().data_ptr() for t in made.module.parameters()}
    assert len(given) == len(mine)
    assert not mine & given
    assert made.module.leave.weight is made.module.enter.weight
