"""Networks that draw numbers, compute with complex ones, round, or convolve with windows of one position."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import secateur as sc
from secateur.structure.graph import TraceError


class Sampling(nn.Module):
    """A variational autoencoder that samples whether it trains or not, and a hidden layer with noise."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mean, self.spread = nn.Linear(12, 16), nn.Linear(16, 4), nn.Linear(16, 4)
        self.second, self.last = nn.Linear(4, 16), nn.Linear(16, 12)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(x)
        x = F.relu(x + 0.1 * torch.randn_like(x))
        mean, spread = self.mean(x), self.spread(x)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * spread)
        return self.last(F.relu(self.second(z))), mean


class Spectral(nn.Module):
    """A Fourier neural operator: complex weights on the lowest frequencies."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.out = nn.Conv1d(1, 8, 1), nn.Conv1d(8, 2, 1)
        self.weight = nn.Parameter(torch.randn(8, 8, 3, dtype=torch.cfloat) / 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        modes = torch.fft.rfft(x)
        kept = torch.zeros(x.shape[0], 8, modes.shape[-1], dtype=torch.cfloat)
        kept[:, :, :3] = torch.einsum("bix,iox->box", modes[:, :, :3], self.weight)
        return self.out(F.gelu(torch.fft.irfft(kept, n=x.shape[-1]) + x))


class Rounded(nn.Module):
    """Training aware of quantisation: weights rounded channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 8, 3), nn.Linear(8, 2)
        self.register_buffer("scale", torch.full((8,), 0.01))
        self.register_buffer("zero", torch.zeros(8, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.fake_quantize_per_channel_affine(
            self.conv.weight, self.scale, self.zero, 0, -128, 127
        )
        return self.out(F.conv2d(x, weight, self.conv.bias).relu().mean((2, 3)))


class Gated(nn.Module):
    """A spatial gate: a convolution over tokens whose window goes over channels one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.mix, self.down = nn.Linear(6, 16), nn.Conv1d(5, 5, 1), nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.mix(self.up(x).relu()))


def bounded() -> nn.Module:
    bound = torch.nn.utils.parametrizations.spectral_norm
    return nn.Sequential(bound(nn.Linear(4, 12)), nn.ReLU(), bound(nn.Linear(12, 2)))


NETWORKS = {
    "sampling": (Sampling, (3, 12), {"first", "second"}),
    "spectral": (Spectral, (3, 1, 12), {"lift"}),
    "rounded": (Rounded, (3, 3, 6, 6), {"conv.weight"}),
    "gated": (Gated, (3, 5, 6), {"up"}),
    "bounded": (bounded, (3, 4), {"0"}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_half_goes_and_the_smaller_network_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    make, shape, axes = NETWORKS[name]
    net, x = make().eval(), torch.randn(shape)
    found = sc.trace(net, x)
    assert {axis.name for axis in found} == axes
    result = sc.prune(net, "group-norm", density=0.5, example=x)
    small = sc.shrink(result, x)
    assert small.record["exact"]
    assert small.record["proof"]["error"] < 1e-5
    assert small.record["proof"]["effect"] > 1e-3
    before, after = small.record["parameters"]
    assert after < 0.7 * before
    if name == "sampling":
        return  # draws for fewer units
    assert small.record["difference"] < 1e-5


def test_a_random_operator_draws_for_the_units_that_stay_what_it_drew_for_all() -> None:
    x = torch.randn(3, 12)
    small = sc.shrink(Sampling(), x, keep={"first": [0, 3, 5], "second": [1, 2]})
    assert small.record["exact"]
    assert small.record["proof"]["error"] < 1e-9


def test_tracing_leaves_the_global_randomness_alone() -> None:
    net, x = Sampling(), torch.randn(3, 12)
    state = torch.random.get_rng_state()
    sc.shrink(net, x, keep={"first": [0, 3, 5]})
    assert torch.equal(torch.random.get_rng_state(), state)


def test_complex_weights_are_judged_by_their_size() -> None:
    net = Spectral()
    with torch.no_grad():
        net.weight.mul_(torch.tensor([9.0] + [0.1] * 7)[:, None, None] * 1j)
        net.lift.weight.mul_(0.01)
    result = sc.prune(net, "group-norm", density=0.125, example=torch.randn(2, 1, 12))
    assert result.units["lift"].tolist() == [True] + [False] * 7


@pytest.mark.parametrize("name", ["meta", "graph", "class"])
def test_names_that_graphs_have_for_themselves_are_told(name: str) -> None:
    net = nn.Sequential()
    net.add_module(name, nn.Linear(3, 2))
    with pytest.raises(TraceError, match=f"'{name}.* have for themselves.*otherwise"):
        sc.trace(net, torch.randn(2, 3))
