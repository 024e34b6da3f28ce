"""Batch norms folded away: which ones, and that nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import secateur as sc
from secateur.models import build_seeded
from secateur.structure.graph import ProofError


def lived(model: nn.Module) -> nn.Module:
    """Norms with statistics and factors as training leaves them."""
    rng = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for tensor in (module.weight, module.running_var):
                tensor.data.uniform_(0.5, 2, generator=rng)
            for tensor in (module.bias, module.running_mean):
                tensor.data.normal_(generator=rng)
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


def test_every_norm_of_a_resnet_goes_and_the_output_stays() -> None:
    net = lived(build_seeded("resnet8", 0, num_classes=10, in_channels=3, image_size=16))
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    folded = sc.fold_batch_norms(net, x)
    assert norms(net) == 7
    assert norms(folded) == 0
    with torch.no_grad():
        wanted, got = net.double()(x.double()), folded.double()(x.double())
    assert (wanted - got).abs().max() <= 1e-5 * wanted.abs().max()
    assert all(torch.equal(net.float().state_dict()[n], t) for n, t in before.items())


def test_transposed_and_grouped_convolutions_and_linear_layers_too() -> None:
    layers = (
        nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, groups=6),
        nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6 * 36, 5), nn.BatchNorm1d(5),
    )  # fmt: skip
    net = lived(nn.Sequential(*layers))
    x = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    folded = sc.fold_batch_norms(net, x)
    assert norms(folded) == 0
    with torch.no_grad():  # in float32
        torch.testing.assert_close(folded(x), net(x), rtol=1e-4, atol=1e-4)


class Kept(nn.Module):
    """Norms that cannot go: behind no layer, behind one read elsewhere, called twice, behind groups."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.read, self.twice = (nn.BatchNorm2d(4) for _ in range(3))
        self.conv1, self.conv2, self.conv3 = (nn.Conv2d(4, 4, 1) for _ in range(3))
        self.back, self.last = nn.ConvTranspose2d(4, 4, 1, groups=2), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.first(x))
        y = self.read(y) + y
        return self.last(self.back(self.twice(self.conv2(y)) + self.twice(self.conv3(y))))


def test_a_norm_stays_where_folding_would_change_something_else() -> None:
    net, x = lived(Kept()), torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    folded = sc.fold_batch_norms(net, x)
    assert norms(folded) == 4
    assert torch.equal(folded(x), net(x))


class Peeks(nn.Module):
    """Reads a norm's mean behind the graph's back: as a number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return y * 2 if isinstance(self.norm, nn.BatchNorm2d) else y


def test_a_network_that_looks_at_its_norms_is_an_error() -> None:
    with pytest.raises(ProofError, match="folded differs"):
        sc.fold_batch_norms(lived(Peeks()), torch.randn(2, 4, 3, 3))


def test_a_smaller_network_folds_as_well() -> None:
    net = lived(build_seeded("resnet8", 0, num_classes=10, in_channels=3, image_size=16))
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    small = sc.shrink(net, x, keep={"layer1.0.conv1": range(5)}).model
    assert norms(sc.fold_batch_norms(small, x)) == 0
