"""Hard masks hold under every training option, in weights, moments and averages."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from train_fakes import Points, keep, net, same, training

from secateur.engine.train import Trainer
from secateur.materialise import HardMasks

OPTIONS = {
    "plain-sgd": {"optimiser": {"name": "sgd", "momentum": 0.0}},
    "momentum-decay": {"weight_decay": 0.1},
    "nesterov-clip": {"optimiser": {"name": "sgd", "nesterov": True}, "clip": 0.1},
    "adam": {"optimiser": "adam", "lr": 0.01, "weight_decay": 0.1},
    "adamw-average": {"optimiser": "adamw", "lr": 0.01, "weight_decay": 0.1, "ema": 0.9},
    "parts": {"accumulate": 3, "label_smoothing": 0.1},
    "bf16-average": {"precision": "bf16", "ema": 0.9, "accumulate": 2},
}


def assert_masked(trainer: Trainer, masks: dict[str, torch.Tensor]) -> None:
    tensors = trainer.state()[0]
    checked = 0
    for full, tensor in tensors.items():
        for name, kept in masks.items():
            if f".{name}" in full and tensor.shape == kept.shape:
                assert torch.all(tensor[~kept] == 0), full
                assert bool((tensor[kept] != 0).any()), full
                checked += 1
    assert checked >= len(masks)


@pytest.mark.parametrize("name", OPTIONS)
def test_masks_hold_and_tighten_in_mid_training(name):
    model = net()
    masks = HardMasks(model, keep(0.8))
    trainer = Trainer(model, training(**OPTIONS[name]), Points(), masks=masks)
    trainer.run(0, 5)
    assert_masked(trainer, keep(0.8))
    masks.update(keep(0.4), optimizer=trainer.optimizer)
    assert_masked(trainer, keep(0.4))
    trainer.run(5, 12)
    assert_masked(trainer, keep(0.4))
    with trainer.averaged():
        assert all(torch.all(model.get_parameter(n)[~k] == 0) for n, k in keep(0.4).items())


def test_a_masked_network_trains_as_one_without_the_pruned_weights():
    """Masking a whole hidden unit gives the numbers of a network that never had it."""
    wide, small = net(0, norm=False), nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 3))
    with torch.no_grad():
        for a, b in ((small[0].weight, wide[0].weight[1:]), (small[0].bias, wide[0].bias[1:]),
                     (small[2].weight, wide[4].weight[:, 1:]), (small[2].bias, wide[4].bias)):  # fmt: skip
            a.copy_(b)
    unit = torch.ones(8, dtype=torch.bool)
    unit[0] = False
    masks = {"0.weight": unit[:, None].expand(8, 4), "0.bias": unit, "4.weight": unit.expand(3, 8)}
    options = training(clip=0.5, weight_decay=0.1)
    Trainer(wide, options, Points(), masks=HardMasks(wide, masks)).run(0, 12)
    Trainer(small, options, Points()).run(0, 12)
    torch.testing.assert_close(wide[0].weight[1:], small[0].weight)
    torch.testing.assert_close(wide[4].weight[:, 1:], small[2].weight)


def test_loading_a_denser_state_masks_weights_moments_and_average():
    options = training(optimiser="adam", lr=0.01, ema=0.9)
    dense = Trainer(net(), options, Points())
    dense.run(0, 6)
    state = dense.state()
    model = net()
    ticket = Trainer(model, options, Points(), masks=HardMasks(model, keep()))
    ticket.load(*state)
    assert_masked(ticket, keep())
    for name, kept in keep().items():
        rewound = state[0][f"model.{name}"] * kept
        assert torch.equal(model.get_parameter(name), rewound)
    ticket.run(6, 12)
    assert_masked(ticket, keep())


def test_the_average_follows_its_formula():
    trainer = Trainer(net(), training(ema=0.3), Points())
    expected = {n: t.clone() for n, t in trainer.model.state_dict().items()}

    def follow(step: int) -> None:
        d = min(0.3, step / (9 + step))
        for n, value in trainer.model.state_dict().items():
            floats = value.is_floating_point()
            expected[n] = d * expected[n] + (1 - d) * value if floats else value.clone()

    trainer.run(0, 6, on_step=follow)
    own = copy.deepcopy(trainer.model.state_dict())
    with trainer.averaged():
        inside = trainer.model.state_dict()
        for n, value in expected.items():
            torch.testing.assert_close(inside[n], value)
        assert inside["1.num_batches_tracked"] == 6
    assert same(trainer.model.state_dict(), own)


def test_parts_of_a_batch_add_up_to_the_same_step():
    ends = []
    for parts in (1, 4):
        trainer = Trainer(net(0, norm=False), training(accumulate=parts), Points(batch=7))
        trainer.run(0, 4)
        ends.append(trainer.state()[0])
    for name in ends[0]:
        torch.testing.assert_close(ends[0][name], ends[1][name])
