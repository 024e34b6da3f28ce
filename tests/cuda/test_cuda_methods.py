"""Every method of the catalogue on a GPU: it runs where the network lies and chooses as on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.core.cards import METHODS
from secateur.engine.program import Prune, Train, build
from tests.cuda.place import DEVICE, agreement, apart, kept, placed_on
from tests.engine.test_execute import (
    OF_MASKS,
    OF_NORMS,
    OF_TRANSFORMERS,
    OWN,
    SMALL,
    data,
    network,
    training,
)

UNTRAINED, TRAINED = 0.999, 0.9
"""The least share of units that agree: sums in another order swap near ties; training amplifies them."""

BEGIN = {
    "edge-popup",
    "lottery-ticket",
    "multi-prize",
    "orthogonal-snip",
    "random-reinit",
    "random-ticket",
    "supermask",
}
"""Methods that begin with an untrained network."""


def sure(net: nn.Module) -> nn.Module:
    """Without dropout, which draws other numbers on a GPU."""
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


def normed() -> nn.Module:
    """A batch norm after every convolution."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Flatten(), nn.Linear(8 * 16, 3),
        )  # fmt: skip


def options_of(method: str) -> dict[str, Any]:
    known = {k: v for k, v in SMALL.items() if k in METHODS[method].options}
    return {**known, **OWN.get(method, {})}


def run(method: str, device: str) -> sc.Result:
    """On images that lie on the CPU, whatever the device of the network."""
    net = normed() if method in OF_NORMS else sure(network())
    return sc.prune(
        net.to(device), method, data=data(), val=data(), test=data(), trained=method not in BEGIN,
        training=training(lr=0.01), **options_of(method),
    )  # fmt: skip


def first_trains(method: str) -> bool:
    """Whether anything is trained before the last choice."""
    ops = build(sc.recipe(method, **options_of(method)), 4, 16, trained=method not in BEGIN)
    last = max((i for i, op in enumerate(ops) if isinstance(op, Prune)), default=0)
    return any(isinstance(op, Train) for op in ops[:last])


@pytest.mark.parametrize("method", sorted(METHODS.keys() - OF_TRANSFORMERS - OF_MASKS))
def test_a_method_chooses_as_on_the_cpu(method: str, record_property: Any) -> None:
    here, there = run(method, "cpu"), run(method, DEVICE)
    same = agreement(here.units, there.units) if there.units else 1.0
    trains = first_trains(method)
    record_property("trains", trains)
    record_property("agreement", same)
    record_property("apart", apart(here.model, there.model))
    assert placed_on(there.model, DEVICE)
    if sc.recipe(method, **options_of(method)).schedule.final_density is not None:
        assert kept(here.units) == kept(there.units)
    assert same >= (TRAINED if trains else UNTRAINED)
    if not trains and same == 1:
        assert apart(here.model, there.model) < 0.05  # trained alike afterwards
    parameters = dict(there.model.named_parameters())
    for name, mask in there.masks.items():
        assert not parameters[name].detach()[~mask].any()


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("sparsegpt", {"walk": "whole", "density": 0.5}),
        ("exact-obs", {"density": 0.5}),
        ("channel-lasso", {"density": 0.5}),
        ("thinet", {"density": 0.5}),
        ("taylor-2019", {"density": 0.5}),
        ("ria", {"walk": "whole", "density": 0.5}),
    ],
)
def test_what_a_solver_leaves_is_what_it_leaves_on_the_cpu(
    method: str, options: dict[str, Any]
) -> None:
    known = {k: v for k, v in options.items() if k in METHODS[method].options}
    here, there = (
        sc.prune(sure(network()).to(device), method, data=data(), trained=True, **known)
        for device in ("cpu", DEVICE)
    )
    assert agreement(here.units, there.units) == 1
    assert apart(here.model, there.model) < 5e-3


@pytest.mark.parametrize("name", ["grad_norm", "snip", "grasp", "synflow", "fisher", "jacob_cov"])
def test_zero_cost_proxies(name: str) -> None:
    x, y = data()
    here = sc.proxies(sure(network()), (x, y))[name]
    there = sc.proxies(sure(network()).to(DEVICE), (x.to(DEVICE), y.to(DEVICE)))[name]
    assert there == pytest.approx(here, rel=1e-2)


def test_scores_lie_where_the_network_does() -> None:
    for name in ("magnitude", "snip", "grasp", "synflow"):
        here = sc.score(network(), name, data=data())
        there = sc.score(network().to(DEVICE), name, data=data())
        for target, value in there.items():
            assert value.device.type == torch.device(DEVICE).type
            assert torch.allclose(value.cpu(), here[target], rtol=1e-3, atol=1e-6), name
