"""A budget in MACs, parameters or megabytes is met from below, and it is what shrinking leaves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

import secateur as sc
from secateur.allocation.amounts import amount
from secateur.core.errors import PlanError
from secateur.models import build_seeded

EXAMPLE = torch.zeros(2, 3, 8, 8)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def size(model: nn.Module, what: str) -> float:
    """Counted on the module itself."""
    if what == "macs":
        return sc.measure(model, EXAMPLE).macs.total
    if what == "parameters":
        return sum(p.numel() for p in model.parameters())
    tensors = model.state_dict().values()
    return sum(t.numel() * t.element_size() for t in tensors) / 1e6


@pytest.mark.parametrize("what", ["macs", "parameters", "megabytes"])
@pytest.mark.parametrize(
    ("method", "options"), [("l1-filters", {}), ("group-norm", {}), ("group-norm", {"round_to": 4})]
)
def test_the_smaller_network_takes_what_was_asked(
    method: str, options: dict[str, Any], what: str
) -> None:
    model = net()
    result = sc.prune(model, method, example=EXAMPLE, budget={what: "50%"}, **options)
    small = sc.shrink(result, EXAMPLE)
    told = result.record["budget"][what]
    assert told["whole"] == pytest.approx(size(model, what))
    assert told["left"] == pytest.approx(size(small.model, what))
    assert told["left"] <= 0.5 * told["whole"]
    step = 0.06 if options else 0.02  # of so small a network, a unit or four of them
    assert told["left"] / told["whole"] > 0.5 - step


def test_megabytes_are_those_of_the_file() -> None:
    told = sc.prune(net(), "l1-filters", example=EXAMPLE, budget={"megabytes": 0.5})
    small = sc.shrink(told, EXAMPLE).model
    file = len(save({n: t.contiguous() for n, t in small.state_dict().items()})) / 1e6
    assert file == pytest.approx(told.record["budget"]["megabytes"]["left"], abs=2e-3)


def test_no_layer_could_have_kept_one_unit_more() -> None:
    """The gap is smaller than any single step, or half a percent."""
    model = net()
    result = sc.prune(model, "group-norm", example=EXAMPLE, budget={"parameters": "37%"})
    told = result.record["budget"]["parameters"]
    gap = 0.37 * told["whole"] - told["left"]
    widths = {name: int(mask.sum()) for name, mask in result.units.items()}
    steps = [widths["3"] * 9 + 28 + 3, widths["0"] * 9 + 3 + 10]  # of layers "0" and "3"
    assert gap < max(min(steps), 0.005 * told["whole"])


def test_a_residual_network_within_one_percent() -> None:
    """One channel of the stream takes 5 % along: the rest is filled up with others."""
    model = build_seeded("resnet20", 0, num_classes=10, in_channels=3, image_size=32)
    x = torch.zeros(2, 3, 32, 32)
    result = sc.prune(model, "group-norm", example=x, budget={"macs": "50%"})
    told = result.record["budget"]["macs"]
    assert 0.49 < told["left"] / told["whole"] <= 0.5


def test_amounts_in_words() -> None:
    assert amount("parameters", "3.5M") == (3.5e6, False)
    assert amount("parameters", 1000) == (1000, False)
    assert amount("megabytes", "800 KB") == (0.8, False)
    assert amount("latency", "0.5ms") == (0.5, False)
    assert amount("latency", "12.5%") == (0.125, True)


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ({}, "names one of"),
        (0.5, "names one of"),
        ({"macs": 0.5, "parameters": 0.5}, "names one of"),
        ({"mac": 0.5}, "did you mean 'macs'"),
        ({"macs": 1.0}, "outside 0 to 100 %"),
        ({"macs": "120%"}, "outside 0 to 100 %"),
        ({"macs": "12ms"}, "1.2G"),
        ({"macs": True}, "1.2G"),
        ({"macs": -5}, "1.2G"),
        ({"macs": "0.01%"}, "0.2%\\), the closest possible"),
        ({"parameters": "5G"}, "nothing to prune"),
    ],
)
def test_senseless_budgets_are_refused(budget: object, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        sc.prune(net(), "l1-filters", example=EXAMPLE, budget=budget)


@pytest.mark.parametrize(
    ("method", "options", "says"),
    [
        ("l1-filters", {"density": 0.5}, "not both"),
        ("snip", {}, "save nothing until they are whole channels"),
        ("slicegpt", {}, "save nothing until they are whole channels"),
        ("l1-filters", {"runtime": "onnxruntime"}, "is that of a latency"),
    ],
)
def test_methods_that_go_by_densities_say_so(
    method: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(PlanError, match=says):
        sc.recipe(method, budget={"macs": "50%"}, **options)


def test_units_that_save_no_work_are_refused() -> None:
    recipe = sc.recipe("l1-filters", budget={"macs": "50%"})
    weights = sc.Recipe(**{**dict(recipe), "structure": "weights"})
    with pytest.raises(PlanError, match="save no work"):  # no method has it so
        sc.prune(net(), weights, example=EXAMPLE)


def test_a_plan_refuses_what_the_run_would() -> None:
    with pytest.raises(PlanError, match="closest possible"):
        sc.plan(net(), "l1-filters", EXAMPLE, budget={"macs": "0.01%"})
    recipe = sc.recipe("group-norm", budget={"macs": "1.2G"}, round_to=8)
    assert sc.Recipe.loads(recipe.dumps()) == recipe
