"""The network as a positive linear map: closed products, conservation, range, refusals."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from secateur.core.errors import NumberError, PlanError
from secateur.engine.linear import flow


def scores(net, example, masks=None):
    total, leaves = flow(net, example, masks)
    grads = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    return total.detach(), {
        n: (p * g).detach() for (n, p), g in zip(leaves.items(), grads, strict=True)
    }


def test_a_chain_by_the_closed_product():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3))
    total, found = scores(net, torch.zeros(5, 3))
    a, b, c = (net[i].weight.detach().double().abs() for i in (0, 2, 4))
    assert torch.allclose(total, (c @ b @ a).sum())
    into = a @ torch.ones(3).double()  # [4] flow into the second layer
    out = torch.ones(3).double() @ c  # [2] flow out of it
    assert torch.allclose(found["2.weight"], out[:, None] * b * into[None, :])
    assert not found["0.bias"].any()


def test_masks_take_weights_out_of_the_product():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    mask = torch.rand(4, 3) > 0.5
    total, found = scores(net, torch.zeros(1, 3), {"0.weight": mask})
    a, b = (net[i].weight.detach().double().abs() for i in (0, 1))
    assert torch.allclose(total, (b @ (a * mask)).sum())
    assert not found["0.weight"][~mask].any()


def conv_net():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2), nn.GroupNorm(2, 6), nn.GELU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(6), nn.Linear(6, 3),
    )  # fmt: skip
    for p in net.parameters():
        p.data = torch.randn_like(p)
    net[1].running_var.uniform_(0.5, 2)
    net[1].running_mean.normal_()
    return net


@pytest.mark.parametrize("layer", ["0", "1", "4", "5", "9", "10"])
def test_every_layer_of_a_chain_conserves_the_flow(layer):
    """Σ_i θ_i ∂R/∂θ_i = R for each layer that all paths pass, norms too (Tanaka et al., theorem 1)."""
    total, found = scores(conv_net(), torch.zeros(2, 3, 12, 12))
    assert torch.isclose(found[f"{layer}.weight"].sum(), total, rtol=1e-12)


def test_what_flows_into_a_neuron_flows_out():
    net = nn.Sequential(nn.Linear(3, 5, bias=False), nn.ReLU(), nn.Linear(5, 2, bias=False))
    _, found = scores(net, torch.zeros(1, 3))
    assert torch.allclose(found["0.weight"].sum(1), found["2.weight"].sum(0))


def test_residual_branches_share_the_flow():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Linear(3, 3, bias=False)
            self.branch = nn.Linear(3, 3, bias=False)

        def forward(self, x):
            x = F.relu(self.stem(x))
            return x + self.branch(x)

    net = Block()
    total, found = scores(net, torch.zeros(1, 3))
    a, b = net.stem.weight.detach().double().abs(), net.branch.weight.detach().double().abs()
    assert torch.isclose(total, (a + b @ a).sum())
    assert torch.isclose(found["stem.weight"].sum(), total)
    assert torch.isclose(found["branch.weight"].sum(), (b @ a).sum())


def test_batch_norm_is_its_scale_in_evaluation():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2, eps=0.5))
    net[1].weight.data = torch.tensor([-3.0, 2.0])
    net[1].bias.data = torch.tensor([9.0, 9.0])
    net[1].running_mean.fill_(5.0)
    net[1].running_var.copy_(torch.tensor([3.5, 0.5]))
    total, _ = scores(net, torch.zeros(4, 2))
    rows = net[0].weight.detach().double().abs().sum(1)
    assert torch.isclose(total, rows[0] * 3 / 2 + rows[1] * 2 / 1)


def test_batch_norm_without_running_statistics_is_its_weight():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2, track_running_stats=False))
    total, _ = scores(net, torch.zeros(4, 2))
    assert torch.isclose(total, net[0].weight.detach().double().abs().sum())


@pytest.mark.parametrize(
    "activation", [nn.ReLU6, nn.Hardswish, nn.SiLU, nn.Tanh, nn.LeakyReLU, nn.ELU]
)
def test_activations_neither_clip_nor_bend_the_flow(activation):
    net = nn.Sequential(nn.Linear(9, 9, bias=False), activation(), nn.Linear(9, 1, bias=False))
    total, _ = scores(net, torch.zeros(1, 9))
    a, b = net[0].weight.detach().double().abs(), net[2].weight.detach().double().abs()
    assert torch.isclose(total, (b @ a).sum())


class Gated(nn.Module):
    """Squeeze and excitation on a stem."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1, bias=False)
        self.gate = nn.Conv2d(4, 4, 1, bias=False)

    def forward(self, x):
        x = self.stem(x)
        return x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))


def test_a_gate_keeps_the_flow_and_is_worth_what_it_lets_through():
    net = Gated()
    total, found = scores(net, torch.zeros(1, 3, 5, 5))
    assert torch.isclose(total, 25 * net.stem.weight.detach().double().abs().sum())
    assert torch.isclose(found["gate.weight"].sum(), total)


class Attend(nn.Module):
    """Self-attention, or attention over keys and values of another width."""

    def __init__(self, cross: bool):
        super().__init__()
        self.cross = cross
        self.up = nn.Linear(4, 6, bias=False)
        options = {"kdim": 4, "vdim": 4} if cross else {}
        self.mix = nn.MultiheadAttention(6, 2, batch_first=True, bias=False, **options)

    def forward(self, x):
        y = self.up(x)
        return self.mix(y, x, x)[0] if self.cross else self.mix(y, y, y)[0]


@pytest.mark.parametrize("cross", [False, True])
def test_attention_averages_the_values_and_scores_queries_and_keys(cross):
    torch.manual_seed(0)
    net = Attend(cross)
    total, found = scores(net, torch.zeros(2, 5, 4))
    up = torch.ones(4).double() if cross else net.up.weight.detach().double().abs().sum(1)
    value = net.mix.v_proj_weight if cross else net.mix.in_proj_weight[12:]
    out = net.mix.out_proj.weight.detach().double().abs()
    assert torch.isclose(total, 5 * (out @ value.detach().double().abs() @ up).sum())
    if cross:
        parts = [found[f"mix.{name}_proj_weight"] for name in "qkv"]
    else:
        parts = found["mix.in_proj_weight"].chunk(3)
    for part in parts:
        assert torch.isclose(part.sum(), total)


def test_causal_attention_sees_the_past_only():
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.v, self.place = nn.Linear(2, 2, bias=False), nn.Parameter(torch.rand(4, 2))

        def forward(self, x):
            v = self.v(x + self.place)[:, None]
            return F.scaled_dot_product_attention(v, v, v, is_causal=True)[:, 0, 1]  # second token

    net = Causal()
    total, found = scores(net, torch.zeros(1, 4, 2))
    value = (1 + net.place.detach().double()) @ net.v.weight.detach().double().abs().T
    assert torch.isclose(total, (value[0] + value[1]).sum() / 2)
    assert found["place"].any(1).tolist() == [True, True, False, False]


def deep(layers, gain):
    net = nn.Sequential(*[nn.Linear(4, 4, bias=False) for _ in range(layers)])
    for layer in net:
        nn.init.constant_(layer.weight, gain)
    return net


@pytest.mark.parametrize("gain", [2.0, 0.01])
def test_flows_beyond_the_range_of_float32(gain):
    total, found = scores(deep(60, gain), torch.zeros(1, 4))
    assert not 1e-38 < total < 1e38
    assert torch.isclose(found["30.weight"].sum(), total, rtol=1e-10)


def test_an_overflow_of_float64_is_an_error():
    with pytest.raises(NumberError, match="float64"):
        flow(deep(60, 1e10), torch.zeros(1, 4))


def test_half_precision_models_flow_in_float64():
    total, _found = scores(deep(3, 1.0).half(), torch.zeros(1, 4).half())
    assert total.dtype == torch.float64
    assert total == 256


def test_the_model_is_not_written_to():
    net = conv_net().train()
    net[3].eval()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    flags = [m.training for m in net.modules()]
    flow(net, torch.zeros(2, 3, 12, 12))
    assert all(torch.equal(before[n], t) for n, t in net.state_dict().items())
    assert flags == [m.training for m in net.modules()]
    assert all(p.grad is None and p.dtype == torch.float32 for p in net.parameters())


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (torch.zeros(1, 4, dtype=torch.long), "floating inputs"),
        (
            {"input": torch.zeros(1, 4), "mask": torch.ones(1, 4, dtype=torch.long)},
            "floating inputs",
        ),
        (None, "needs an example"),
        (torch.zeros(1, 5), "cannot be worked out"),
    ],
)
def test_inputs_without_a_flow_are_refused(example, words):
    with pytest.raises(PlanError, match=words) as caught:
        flow(deep(1, 1.0), example)
    assert "\n" not in str(caught.value)


def test_examples_as_tuples_and_dicts():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 1, bias=False), nn.Linear(3, 1, bias=False)

        def forward(self, x, y=None):
            return {"logits": self.a(x) + self.b(y)}

    net = Two()
    whole = net.a.weight.detach().double().abs().sum() + net.b.weight.detach().double().abs().sum()
    x, y = torch.zeros(7, 2), torch.zeros(7, 3)
    assert torch.isclose(flow(net, (x, y))[0], whole)
    assert torch.isclose(flow(net, {"x": x, "y": y})[0], whole)


def test_recurrent_layers_are_unrolled():
    net = nn.GRU(2, 3, bias=False)
    total, found = scores(net, torch.zeros(3, 1, 2))  # [time, batch, features]
    w, u = (
        p.detach().double().abs().view(3, 3, -1).sum(0)
        for p in (net.weight_ih_l0, net.weight_hh_l0)
    )
    one = w @ torch.ones(2).double()
    two, three = one + u @ one, one + u @ (one + u @ one)
    assert torch.isclose(total, (one + two + three + three).sum())  # all outputs and the last state
    assert torch.isclose(found["weight_ih_l0"].sum(), total)


def test_a_norm_of_the_input_is_a_scale_too():
    net = nn.Sequential(nn.LayerNorm(3, elementwise_affine=False), nn.Linear(3, 1, bias=False))
    total, _ = scores(net, torch.zeros(1, 3))
    assert torch.isclose(total, net[1].weight.detach().double().abs().sum())
