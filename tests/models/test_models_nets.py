"""Shapes and parameter counts of the reference networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.core.errors import PlanError
from secateur.models import build, names
from secateur.models.resnet_cifar import Block, ResNetCIFAR
from secateur.models.vit import Attention

CIFAR = {"num_classes": 10, "in_channels": 3, "image_size": 32}
DIGITS = {"num_classes": 10, "in_channels": 1, "image_size": 8}
MNIST = {"num_classes": 10, "in_channels": 1, "image_size": 28}


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", names())
def test_every_network_gives_logits_on_cifar(name):
    net = build(name, **CIFAR).eval()
    with torch.no_grad():
        out = net(torch.randn(2, 3, 32, 32))
    assert out.shape == (2, 10)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", [n for n in names() if n != "vgg16-bn"])
def test_all_but_vgg_take_digits(name):
    net = build(name, **DIGITS).eval()
    assert net(torch.randn(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", names())
def test_other_numbers_of_classes(name):
    net = build(name, num_classes=7, in_channels=3, image_size=(32, 64)).eval()
    assert net(torch.randn(2, 3, 32, 64)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "data", "count"),
    [
        ("lenet-300-100", MNIST, 266_610),
        ("resnet18", CIFAR, 11_173_962),
        ("vgg16-bn", CIFAR, 14_724_042),
        ("resnet20", CIFAR, 269_722),
        ("resnet32", CIFAR, 464_154),
        ("resnet56", CIFAR, 853_018),
    ],
)
def test_parameter_counts_are_those_of_the_papers(name, data, count):
    assert parameters(build(name, **data)) == count


def test_networks_differ_from_sample_to_sample_and_train_every_parameter():
    for name in names():
        net = build(name, **CIFAR)
        net(torch.randn(4, 3, 32, 32)).square().sum().backward()
        still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
        assert [n for n in still if not n.endswith("k.bias")] == [], name


def test_resnet_parameter_names():
    own = {n for n, _ in ResNetCIFAR(20).named_parameters()}
    parts = {f"layer{i}.{j}.{c}.weight" for i in (1, 2, 3) for j in range(3)
             for c in ("conv1", "bn1", "conv2", "bn2")}  # fmt: skip
    norms = {n.replace("weight", "bias") for n in parts if ".bn" in n}
    ends = {"conv1.weight", "bn1.weight", "bn1.bias", "linear.weight", "linear.bias"}
    assert own == parts | norms | ends


def test_option_a_shortcut_subsamples_and_pads_with_zero_channels():
    x = torch.arange(2.0 * 4 * 4).view(1, 2, 4, 4)
    out = Block(2, 4, stride=2).shortcut(x)
    assert out.shape == (1, 4, 2, 2)
    assert out[0, 1].tolist() == [[0, 2], [8, 10]]
    assert out[0, 2].tolist() == [[16, 18], [24, 26]]
    assert not out[0, [0, 3]].any()


def test_initial_weights_are_he_normal():
    torch.manual_seed(0)
    weight = build("resnet18", **CIFAR).layer4[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert weight.abs().max() > 4 * weight.std()  # no uniform distribution has such tails


def test_attention_is_softmax_of_scaled_products():
    torch.manual_seed(0)
    layer = Attention(6, heads=2, dropout=0.0)
    x = torch.randn(1, 5, 6)
    q, k, v = layer.q(x), layer.k(x), layer.v(x)
    heads = [(q[0, :, s] @ k[0, :, s].T / 3**0.5).softmax(-1) @ v[0, :, s]
             for s in (slice(0, 3), slice(3, 6))]  # fmt: skip
    torch.testing.assert_close(layer(x)[0], layer.proj(torch.cat(heads, 1)))


def test_vit_dropout_is_off_by_default_and_in_evaluation():
    x = torch.randn(2, 3, 32, 32)
    plain = build("vit", **CIFAR, depth=1)
    assert torch.equal(plain(x), plain(x))
    dropped = build("vit", **CIFAR, depth=1, dropout=0.5)
    assert not torch.equal(dropped(x), dropped(x))
    dropped.eval()
    assert torch.equal(dropped(x), dropped(x))


@pytest.mark.parametrize(
    ("name", "data", "options", "words"),
    [
        ("vgg16-bn", DIGITS, {}, "at least 32x32"),
        ("cnn", DIGITS | {"image_size": 3}, {}, "at least 4x4"),
        ("vit", MNIST, {"patch": 5}, "patch=5 does not divide"),
        ("vit", CIFAR, {"heads": 3}, "heads=3 does not divide"),
        ("lenet-300-100", MNIST | {"image_size": 0}, {}, "image size 0"),
    ],
)
def test_impossible_sizes_are_refused_in_words(name, data, options, words):
    with pytest.raises(PlanError, match=words):
        build(name, **data, **options)


def test_depths_other_than_6n_plus_2_are_refused():
    with pytest.raises(PlanError, match="depth 18 is not 6n"):
        ResNetCIFAR(18)


def test_resnet8_learns_in_a_few_steps():
    torch.manual_seed(0)
    net = build("resnet8", **DIGITS, width=8)
    x, y = torch.randn(32, 1, 8, 8), torch.arange(32) % 10
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
