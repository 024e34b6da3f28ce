"""MorphNet's prices, held against the paper's sum over convolutions, differentiated by autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.core.types import Target
from secateur.engine.costs import Costs
from secateur.engine.train.push import Prices, Push
from secateur.pressure import PricedBn
from secateur.structure import Coupled

EXAMPLE = torch.zeros(1, 3, 8, 8)
DEAD = {"1": [0], "4": [1, 2, 5]}


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
            nn.Conv2d(4, 6, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5),
        )  # fmt: skip
        for norm in (model[1], model[4]):
            norm.weight.data = torch.randn(len(norm.weight)) * 0.5 + 1.2
    for name, units in DEAD.items():
        model.get_submodule(name).weight.data[units] = 0.003
    return model


def regulariser(scales: dict[str, torch.Tensor], there: dict[str, int], macs: bool) -> Any:
    """Σ over convolutions: C (inputs there · Σ |γ| of outputs + outputs there · Σ |γ| of inputs)."""
    l1 = {name: scale.abs().sum() for name, scale in scales.items()}
    pixels = (64, 16, 1) if macs else (1, 1, 1)
    first = pixels[0] * 9 * 3 * l1["1"]
    second = pixels[1] * 9 * (there["1"] * l1["4"] + there["4"] * l1["1"])
    norms = 0 if macs else 2 * (l1["1"] + l1["4"])  # a scale and a shift go with each channel
    return first + second + 5 * l1["4"] + norms


def gradients(scales: dict[str, torch.Tensor], there: dict[str, int], macs: bool) -> Any:
    leaves = {n: s.detach().clone().double().requires_grad_() for n, s in scales.items()}
    regulariser(leaves, there, macs).backward()
    return {name: leaf.grad for name, leaf in leaves.items()}


def begun(model: nn.Module) -> tuple[tuple[Target, ...], Costs]:
    structure = Coupled(kinds=("channels",))
    targets = structure.targets(model, EXAMPLE)
    return targets, Costs(structure, model, EXAMPLE, targets)


@pytest.mark.parametrize("what", ["macs", "parameters"])
def test_each_scale_is_pushed_by_what_its_channel_costs(what: str) -> None:
    model = network()
    targets, costs = begun(model)
    push = Push(model, PricedBn(strength=0.5, what=what), targets, 10, None, cost=costs[what])
    push.add(3)
    scales = {name: model.get_submodule(name).weight for name in ("1", "4")}
    found = gradients(scales, {"1": 3, "4": 3}, what == "macs")
    whole = gradients(scales, {"1": 4, "4": 6}, what == "macs")
    mean = sum(float(g.abs().sum()) for g in whole.values()) / 10
    for name, scale in scales.items():
        assert torch.allclose(scale.grad.double(), 0.5 * found[name] / mean, rtol=1e-5)
    assert all(p.grad is None for n, p in model.named_parameters() if p.dim() > 1), "scales alone"


def test_prices_follow_what_is_there_and_do_not_ask_again_for_the_same() -> None:
    targets, costs = begun(network())
    asked = []

    def cost(counts: dict[str, int]) -> float:
        asked.append(counts)
        return costs["macs"](counts)

    prices = Prices(cost, targets)  # type: ignore[arg-type]
    names = [t.name for t in targets]
    less = dict(zip(names, (2, 1), strict=True))
    one = prices(less)
    seen = len(asked)
    assert prices(dict(less)) == one
    assert len(asked) == seen
    none = prices(dict(zip(names, (0, 1), strict=True)))
    assert none[names[0]] == pytest.approx(one[names[0]]), "a first unit costs as much as a second"
    assert none[names[1]] < one[names[1]]


def test_morphnet_spends_less_on_dear_channels() -> None:
    """A push this hard leaves next to no scale where it acts: the dear layer gives more."""
    x = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    y = (x.mean((1, 2, 3)) > 0).long()
    training = sc.preset("short").model_copy(update={"length": sc.Time(4, "ep"), "batch_size": 8})
    made = {
        name: sc.prune(network(), name, density=0.5, strength=0.05, data=(x, y), training=training,
                       example=EXAMPLE)
        for name in ("network-slimming", "morphnet")
    }  # fmt: skip
    price = {"0": 64 * 27 + 16 * 54, "3": 16 * 36 + 5}
    assert price["0"] > price["3"]
    scales = {n: dict(r.model.named_parameters()) for n, r in made.items()}
    ratio = {
        n: float(p["1.weight"].detach().abs().sum() / p["4.weight"].detach().abs().sum())
        for n, p in scales.items()
    }
    assert ratio["morphnet"] < ratio["network-slimming"]
