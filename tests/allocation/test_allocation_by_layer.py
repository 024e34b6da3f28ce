"""ERK, Han's threshold and given densities, by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.allocation import Bounded, Erk, Given, SmartRatio, StdThreshold
from secateur.core.axes import Allocator
from secateur.core.density import keep_count
from secateur.core.errors import PlanError
from secateur.core.recipe import Recipe
from secateur.core.types import Groups, Update, keep_all
from secateur.criteria import Magnitude
from secateur.engine.step import hide, score_all, step
from secateur.engine.view import ModelView
from secateur.schedule import Repeat
from secateur.scope import Row, Tensorwise
from secateur.structure import Rows, Weights


def view_of(model: nn.Module, masks: Mapping[str, Tensor] | None = None) -> ModelView:
    return ModelView(model, Weights(classifier=True).targets(model), masks)


def keep(
    allocator: Allocator, view: ModelView, density: float | None, groups: Groups | None = None
) -> list[int]:
    scores = hide(score_all(Magnitude(), view), view.masks)
    chosen = groups or Tensorwise().groups(view.targets)
    return allocator.keep(scores, chosen, density, view).tolist()


def convnet() -> nn.Module:
    """4 * 2 * 3 * 3 = 72, 8 * 4 = 32 and 16 * 8 = 128 weights."""
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 8, 1), nn.Linear(8, 16))


def test_erk_by_hand() -> None:
    """Scales 12/72, 14/32 and 24/128 times sizes: 12, 14 and 24 of 50, so 0.25 * 232 = 58 units
    are 13.92, 16.24 and 27.84."""
    assert keep(Erk(), view_of(convnet()), 0.25) == [14, 16, 28]


def test_a_layer_above_one_stays_dense_and_the_rest_rescales() -> None:
    """At 0.8 there are 186 to keep: 44.6 of 72, 52 of 32, 89 of 128. The second stays dense; the
    others share 154 as 12 to 24: 51.3 and 102.7."""
    assert keep(Erk(), view_of(convnet()), 0.8) == [51, 32, 103]


def test_er_leaves_the_kernel_out() -> None:
    """Scales 6/8, 12/32 and 24/128 times sizes: 54, 12 and 24 of 90; 23 units are 13.8, 3.07, 6.13."""
    assert keep(Erk(kernel=False), view_of(convnet()), 0.1) == [14, 3, 6]


def test_the_power_blends_towards_uniform() -> None:
    assert keep(Erk(power_scale=0), view_of(convnet()), 0.25) == [18, 8, 32]


def test_smart_ratios_fall_with_depth_by_hand() -> None:
    """12, 6 and 2 times 72, 32 and 128 are 864, 192 and 256 of 1312; of 58: 38.2, 8.5 and 11.3. At 0.5
    there are 116: the first is full, the others share 44 as 192 to 256."""
    assert keep(SmartRatio(), view_of(convnet()), 0.25) == [38, 9, 11]
    assert keep(SmartRatio(), view_of(convnet()), 0.5) == [72, 19, 25]


def test_erk_refuses_what_has_no_inputs() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    view = ModelView(model, Weights(include=("0.weight",)).targets(model))
    bias = view.targets[0].members[0].layout
    assert bias.size == 1
    rows = Rows(include=("0.weight",)).targets(model)[0]
    swapped = type(rows)(rows.name, rows.kind, rows.shape, rows.members[1:], rows.dims)
    with pytest.raises(PlanError, match=r"'0\.bias' has shape \(4,\)"):
        keep(Erk(), ModelView(model, (swapped,)), 0.5)


def han(weights: list[float], quality: float, alive: list[bool] | None = None) -> int:
    model = nn.Sequential(nn.Linear(len(weights), 1, bias=False))
    model[0].weight.data = torch.tensor([weights])
    masks = {"0.weight": torch.tensor([alive])} if alive else None
    return keep(StdThreshold(quality=quality), view_of(model, masks), None)[0]


def test_han_keeps_what_lies_beyond_the_standard_deviation() -> None:
    """Mean 0, variance (1 + 1 + 9 + 9) / 4 = 5: the threshold 2.236 separates 1 from 3."""
    assert han([1.0, -1.0, 3.0, -3.0], quality=1.0) == 2
    assert han([1.0, -1.0, 3.0, -3.0], quality=0.4) == 4


def test_han_takes_the_deviation_of_the_survivors() -> None:
    """Zeros of dead weights would make it smaller: 2.236 of the four alive, 1.58 of all eight."""
    weights = [2.0, -2.0, 1.0, -3.0, 0.0, 0.0, 0.0, 0.0]
    alive = [True] * 4 + [False] * 4
    spread = torch.tensor(weights[:4]).std(correction=0)  # sqrt(4.25) = 2.06
    assert spread > 2
    assert han(weights, quality=1.0, alive=alive) == 1
    assert han(weights, quality=1.0) == 3  # std 1.5 of all eight


def test_han_is_about_the_mean_but_compares_absolute_values() -> None:
    assert han([10.0, 10.0, 10.0, 11.0], quality=1.0) == 4


def test_a_layer_that_would_lose_everything_keeps_one() -> None:
    assert han([1.0, -1.0, 1.0, -1.0], quality=2.0) == 1


def test_han_prunes_again_in_every_round_until_one_is_left() -> None:
    model = nn.Sequential(nn.Linear(64, 32))
    nn.init.normal_(model[0].weight, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(
        structure=Weights(),
        criterion=Magnitude(),
        scope=Tensorwise(),
        allocator=StdThreshold(quality=1.0),
        schedule=Repeat(rounds=3),
    )
    targets = recipe.structure.targets(model)
    masks = keep_all(targets)
    counts = []
    for _ in range(3):
        view = ModelView(model, targets, masks)
        threshold = model[0].weight[masks["0.weight"]].detach().std(correction=0)
        after = step(recipe, view, Update())
        above = (model[0].weight.detach().abs() > threshold) & masks["0.weight"]
        assert torch.equal(after["0.weight"], above)
        masks = after
        counts.append(int(masks["0.weight"].sum()))
    assert counts == sorted(counts, reverse=True)
    assert 0.25 < counts[0] / 2048 < 0.4  # a third of a normal lies beyond its deviation


def test_han_speaks_of_single_weights() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    view = ModelView(model, Rows(classifier=True).targets(model))
    with pytest.raises(PlanError, match="single weights"):
        keep(StdThreshold(), view, None)


@pytest.mark.parametrize("quality", [-1, math.nan, math.inf])
def test_senseless_qualities(quality: float) -> None:
    with pytest.raises(PlanError, match="quality"):
        StdThreshold(quality=quality)


def test_given_with_a_default_decides_everything() -> None:
    """0.5 of 72, 1 of 32 (by the layer's name), 0.1 of 128 is 12.8."""
    allocator = Given(densities={"0.weight": 0.5, "1": 1.0}, default=0.1)
    assert keep(allocator, view_of(convnet()), None) == [36, 32, 13]


def test_given_without_a_default_leaves_the_rest_to_the_schedule() -> None:
    """0.25 of 232 is 58: 36 for the first, the other 22 as 32 to 128."""
    assert keep(Given(densities={"0.*": 0.5}), view_of(convnet()), 0.25) == [36, 4, 18]


def test_the_first_pattern_that_names_a_layer_counts() -> None:
    allocator = Given(densities=(("re:^0", 0.5), ("*", 0.25)))
    assert keep(allocator, view_of(convnet()), 76 / 232) == [36, 8, 32]


@pytest.mark.parametrize("value", [0.1, [0.1], "fc1", [["fc1", 0.1, 2]]])
def test_what_is_no_mapping_says_what_one_looks_like(value: Any) -> None:
    with pytest.raises(PlanError, match=r"a mapping from patterns, e\.g\. \{fc1: 0\.1"):
        Given(densities=value)


def test_given_reads_mappings_and_pairs_alike() -> None:
    pairs = Given(densities=(("a", 0.5), ("b", 0.25)))
    assert Given(densities={"a": 0.5, "b": 0.25}) == pairs
    assert hash(Given(densities=[["a", 0.5], ["b", 0.25]])) == hash(pairs)
    assert pairs.to_dict()["densities"] == [["a", 0.5], ["b", 0.25]]


@pytest.mark.parametrize(
    ("densities", "density", "said"),
    [
        ({"0.wieght": 0.5}, 0.25, "unknown layer '0.wieght'"),
        ({"*": 0.5, "0.weight": 0.2}, 0.5, "density of '0.weight' would never be used"),
        ({"0.*": 1.0}, 0.25, "closest possible is 72"),
        ({"*": 0.5}, 0.25, "closest possible is 116"),
        ({"0.*": 0.1}, 0.8, "closest possible is 167"),
    ],
)
def test_given_contradictions(densities: dict[str, float], density: float, said: str) -> None:
    with pytest.raises(PlanError) as error:
        keep(Given(densities=densities), view_of(convnet()), density)
    assert said in str(error.value)


@pytest.mark.parametrize("density", [0, 1.5, "half"])
def test_given_takes_densities_only(density: object) -> None:
    with pytest.raises(PlanError):
        Given(densities={"a": density})


def test_given_by_row_shares_each_layers_number_between_its_rows() -> None:
    model = nn.Sequential(nn.Linear(8, 3))
    view = view_of(model)
    groups = Row().groups(view.targets)
    got = keep(Given(densities={"0.weight": 0.3}, default=1.0), view, None, groups)
    assert sum(got) == keep_count(0.3, 24) == 7
    assert got == [3, 2, 2]


def test_bounds_lift_what_finds_its_own_density() -> None:
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    model[0].weight.data = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    assert keep(Bounded(inner=StdThreshold(quality=2), floor=3), view_of(model), None) == [3]
