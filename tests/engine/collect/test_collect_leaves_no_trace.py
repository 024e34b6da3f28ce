"""After a collection the model and the generators are bit for bit what they were."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from secateur.engine.collect import collect

STATISTICS = ["gradient", "gradient_squared", "hessian_gradient:200", "synaptic_flow"]


class Busy(nn.Module):
    """Batch norm in training mode, dropout, one frozen layer, a replaced buffer, a stored gradient."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.head.weight.requires_grad_(False)
        self.head.bias.data[0] = -0.0
        self.conv.weight.grad = torch.full_like(self.conv.weight, 7.0)
        self.drop.eval()

    def forward(self, x):
        self.calls = self.calls + 1
        x = self.drop(F.relu(self.norm(self.conv(x)))).mean((2, 3))
        return self.head(x)


def loss(model, batch):
    random.random()
    np.random.rand()
    torch.rand(1)
    return F.cross_entropy(model(batch[0]), batch[1])


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Busy()


@pytest.fixture
def batches():
    return [(torch.randn(6, 1, 5, 5), torch.randint(0, 3, (6,))) for _ in range(2)]


def picture(model):
    """Everything a collection could disturb, comparable with ==."""
    tensors = {
        **dict(model.named_parameters()),
        **dict(model.named_buffers()),
        **{f"{n}.grad": p.grad for n, p in model.named_parameters() if p.grad is not None},
    }
    return (
        {name: bytes(t.detach().contiguous().flatten().view(torch.uint8)) for name, t in tensors.items()},
        {name: t.data_ptr() for name, t in tensors.items()},
        {name: m.training for name, m in model.named_modules()},
        {name: p.requires_grad for name, p in model.named_parameters()},
        {name: len(m._forward_hooks) for name, m in model.named_modules()},
        bytes(torch.get_rng_state()),
        random.getstate(),
        str(np.random.get_state()),
    )  # fmt: skip


def run(net, batches, asked, loss):
    masks = {"conv.weight": net.conv.weight.detach() > 0}
    collect(
        net,
        asked,
        ["conv.weight", "head.weight"],
        batches,
        loss,
        example=batches[0][0],
        masks=masks,
    )


@pytest.mark.parametrize("asked", [*([s] for s in STATISTICS), STATISTICS], ids=str)
def test_nothing_has_changed(net, batches, asked):
    before = picture(net)
    run(net, batches, asked, loss)
    assert picture(net) == before


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("at", [1, 3])
def test_nothing_has_changed_after_an_error(net, batches, statistic, at):
    if statistic == "synaptic_flow" and at > 1:
        pytest.skip("one forward pass only")
    calls = []

    def failing(*_):
        calls.append(torch.rand(3))
        if len(calls) == at:
            raise ZeroDivisionError

    net.norm.register_forward_hook(failing)
    before = picture(net)
    with pytest.raises(ZeroDivisionError):
        run(net, batches * 2, [statistic], loss)
    assert picture(net) == before


def test_the_same_seed_gives_the_same_statistics(net, batches):
    def noisy(model, batch):
        return loss(model, (batch[0] + torch.randn_like(batch[0]), batch[1]))

    found = [
        collect(net, ["gradient"], ["conv.weight"], batches, noisy, seed=s)["gradient"][
            "conv.weight"
        ]
        for s in (1, 1, 2)
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
