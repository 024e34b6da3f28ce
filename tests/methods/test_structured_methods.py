"""Structured methods of convolutional and attention networks, on trained weights and by hand."""

import copy

import pytest
import torch
from support_data import needs_data, weights
from support_thorough import but
from torch.nn import functional as F

import secateur as sc
from secateur.core.errors import PlanError
from secateur.data import load
from secateur.engine.collect import collect
from secateur.models import build_seeded, load_weights
from secateur.models.vit import ViT
from secateur.structure import Layers


@pytest.fixture(scope="module")
def trained():
    """The trained ResNet-20 and normalised images with labels."""
    model = build_seeded("resnet20", 0, num_classes=10, in_channels=3, image_size=32)
    load_weights(model, weights("cifar10-resnet20.safetensors")).eval()
    part = load("cifar10").normalised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).test
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (part.mean, part.std))
    return model, ((part.images[:384] / 255 - mean) / std, part.labels[:384])


def right(model, data):
    with torch.no_grad():
        return float((model(data[0]).argmax(1) == data[1]).double().mean())


@needs_data
@pytest.mark.parametrize(
    "method", but(["sosp", "channel-lasso"], ["taylor-2017", "sosp", "channel-lasso"])
)
def test_on_the_trained_resnet_data_beat_chance_and_smaller_equals_masked(trained, method):
    dense, data = trained
    few = (data[0][:64], data[1][:64])
    result = sc.prune(dense, method, density=0.8, data=few, example=few[0][:2])
    small = sc.shrink(result, few[0][:2])
    assert small.record["difference"] < 1e-5
    assert small.record["macs"][1] < 0.9 * small.record["macs"][0]
    random = sc.prune(dense, "random-channels", density=0.8, example=few[0][:2])
    found = right(small.model.eval(), data)
    assert found > 0.5
    assert found > right(random.model.eval(), data) + 0.1
    assert right(dense, data) > 0.88


@needs_data
def test_optimal_brain_damage_leaves_half_of_the_trained_weights_useful(trained):
    """By the signed estimate of the curvature large weights would go first, and 9 % be right."""
    dense, data = trained
    few = (data[0][:64], data[1][:64])
    result = sc.prune(dense, "obd", density=0.5, draws=1, data=few, trained=True)
    assert right(result.model.eval(), data) > 0.6


HEADS, WIDTH = 4, 6


def vit():
    torch.manual_seed(0)
    net = ViT(
        num_classes=4, in_channels=1, image_size=8, patch=4, dim=HEADS * WIDTH, heads=HEADS, depth=2
    )
    for block in net.blocks:  # weights at initialisation are too small to matter
        for layer in _layers(block):
            torch.nn.init.normal_(layer.weight, std=0.4)
    return net.eval()


def _layers(block):
    return [block.attn.q, block.attn.k, block.attn.v, block.attn.proj]


def silence(net, layer, head):
    """The projection does not read the head."""
    with torch.no_grad():
        _layers(net.blocks[layer])[3].weight[:, head * WIDTH : (head + 1) * WIDTH] = 0


def batch():
    torch.manual_seed(1)
    return torch.randn(6, 1, 8, 8), torch.randint(0, 4, (6,))


def gone(result):
    """{(layer, head)} that were taken out."""
    masks = [mask for name, mask in result.units.items() if "head" in name]
    return {(i, h) for i, mask in enumerate(masks) for h in (~mask).nonzero()[:, 0].tolist()}


def test_heads_that_nothing_reads_have_no_gradient_and_go():
    net, data = vit(), batch()
    silence(net, 0, 1)
    silence(net, 1, 3)
    result = sc.prune(net, "head-pruning", density=0.75, data=data, example=data[0][:2])
    assert gone(result) == {(0, 1), (1, 3)}
    small = sc.shrink(result, data[0][:2]).model.eval()
    assert torch.allclose(small(data[0]), net(data[0]), atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())


def test_heads_by_the_loss_without_them():
    net, (x, y) = vit(), batch()
    losses = {}
    for layer in range(2):
        for head in range(HEADS):
            other = copy.deepcopy(net)
            silence(other, layer, head)
            with torch.no_grad():
                losses[layer, head] = float(F.cross_entropy(other(x), y))
    result = sc.prune(net, "head-pruning", by="loss", density=0.75, data=(x, y), example=x[:2])
    assert gone(result) == set(sorted(losses, key=losses.__getitem__)[:2])


def test_a_network_without_heads_is_refused():
    net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    with pytest.raises(PlanError, match="heads"):
        sc.prune(net, "head-pruning", data=batch(), example=torch.zeros(2, 2))


@needs_data
def test_layers_go_greedily_by_the_loss_without_them(trained):
    dense, data = trained
    few = (data[0][:64], data[1][:64])
    options = {"data": few, "example": few[0][:2], "trained": True}
    result = sc.prune(dense, "layer-dropping", density=5 / 7, rounds=2, **options)
    gone = [name for name, kept in result.units.items() if not bool(kept.any())]
    left, expected = [t.name for t in result.targets], []
    for _ in range(2):
        losses = {name: loss_without([*expected, name], dense, few) for name in left}
        expected.append(min(losses, key=losses.__getitem__))
        left.remove(expected[-1])
    assert set(gone) == set(expected)
    small = sc.shrink(result, few[0][:2]).model.eval()
    assert torch.allclose(small(few[0]), result.model.eval()(few[0]), atol=1e-4)
    assert sum(len(stage) for stage in (small.layer1, small.layer2, small.layer3)) == 7


def loss_without(names, dense, data):
    """The loss when some blocks hand on their input."""
    other = copy.deepcopy(dense)
    for name in names:
        stage, place = name.split(".")
        getattr(other, stage)[int(place)] = torch.nn.Identity()
    with torch.no_grad():
        return float(F.cross_entropy(other(data[0]), data[1]))


def test_the_influence_of_a_block_of_feature_maps_is_by_channels_of_a_place():
    torch.manual_seed(0)
    net, x = build_seeded("resnet8", 0, num_classes=3, in_channels=1, image_size=8), batch()[0]
    seen = {}
    for name in ("layer1.0",):
        block = net.get_submodule(name)
        block.register_forward_hook(lambda m, args, out: seen.update(x=args[0], y=out))
    stats = collect(net, ["block_influence"], Layers().targets(net, x[:2]), [(x, None)])
    place = [seen[side].movedim(1, -1).flatten(0, 2).double() for side in "xy"]
    rows = (place[0] * place[1]).sum(1) / (place[0].norm(dim=1) * place[1].norm(dim=1)).clamp(1e-8)
    assert float(stats["block_influence"]["layer1.0"]) == pytest.approx(
        1 - float(rows.mean()), rel=1e-6
    )
    result = sc.prune(
        net, "layer-dropping", by="influence", density=1.0, data=[(x, None)], example=x
    )
    assert result.sparsity == 0
