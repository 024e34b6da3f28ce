"""Zero-cost proxies, held against loops over layers, channels and samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import secateur as sc
from secateur.core.errors import DataError


def network(norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3) if norm else nn.Identity(), nn.Tanh(),
              nn.Flatten(), nn.Linear(12, 4)]  # fmt: skip
    return nn.Sequential(*layers).double()


def batch(n: int = 6) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, 4, 4, generator=rng).double(), torch.randint(4, (n,), generator=rng)


def weights(net: nn.Module) -> list[Tensor]:
    return [net[0].weight, net[4].weight]  # type: ignore[index]


def gradient_scores(net: nn.Module) -> dict[str, float]:
    """By autograd of the loss, and of half the squared gradient for the Hessian's product."""
    x, y = batch()
    first = torch.autograd.grad(F.cross_entropy(net(x), y), weights(net), create_graph=True)
    fixed = [g.detach() for g in first]
    product = torch.autograd.grad(
        sum((g * f).sum() for g, f in zip(first, fixed, strict=True)), weights(net)
    )
    return {
        "grad_norm": sum(float(g.pow(2).sum()) ** 0.5 for g in fixed),
        "snip": sum(
            float((w.detach() * g).abs().sum()) for w, g in zip(weights(net), fixed, strict=True)
        ),
        "grasp": -sum(
            float((w.detach() * h).sum()) for w, h in zip(weights(net), product, strict=True)
        ),
    }


def fisher_by_samples(net: nn.Module) -> float:
    """½ mean (Σ a ∂ℓ/∂a)², one sample at a time and one channel at a time."""
    total, (xs, ys) = 0.0, batch()
    for x, y in zip(xs, ys, strict=True):
        a = net[0](x[None])  # type: ignore[index]
        b = net[4](torch.tanh(a).flatten(1))  # type: ignore[index]
        ga, gb = torch.autograd.grad(F.cross_entropy(b, y[None]), [a, b])
        for channel in range(3):
            total += float((a[0, channel] * ga[0, channel]).sum()) ** 2
        for unit in range(4):
            total += float(b[0, unit] * gb[0, unit]) ** 2
    return total / 2 / len(xs)


def jacobian_by_numpy(net: nn.Module) -> float:
    rows = [
        torch.autograd.functional.jacobian(lambda v: net(v[None]).sum(), x).flatten().numpy()
        for x in batch()[0]
    ]
    v = np.linalg.eigvals(np.corrcoef(np.stack(rows))).real
    return float(-np.sum(np.log(v + 1e-5) + 1 / (v + 1e-5)))


def test_every_proxy_by_its_formula() -> None:
    net = network()
    found = sc.proxies(net, batch())
    expected = gradient_scores(net)
    first, second = (w.detach().abs() for w in weights(net))
    image = F.conv2d(torch.ones(1, 1, 4, 4).double(), first)
    flow = float((image.flatten(1) @ second.T).sum())
    expected |= {"synflow": 2 * flow, "fisher": fisher_by_samples(net)}  # R once for each layer
    expected["jacob_cov"] = jacobian_by_numpy(net)
    assert found == {name: pytest.approx(value, rel=1e-6) for name, value in expected.items()}


def test_the_network_stays_as_it_was() -> None:
    net = network(norm=True)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    assert sc.proxies(net, batch()) == sc.proxies(net, batch())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_one_sample_and_words_are_refused() -> None:
    with pytest.raises(DataError, match="two samples"):
        sc.proxies(network(), batch(1))
    with pytest.raises(DataError, match="floats"):
        sc.proxies(network(), (torch.zeros(4, 3).long(), torch.zeros(4).long()))
