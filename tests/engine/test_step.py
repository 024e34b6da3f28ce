"""The one step, by hand on eight weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from secateur.allocation import Uniform
from secateur.core.axes import Criterion, ElementCriterion, View
from secateur.core.errors import NumberError, PlanError
from secateur.core.recipe import Recipe
from secateur.core.types import Across, Target, Update
from secateur.criteria import Magnitude
from secateur.engine.step import step
from secateur.engine.view import ModelView
from secateur.schedule import OneShot, Regrow
from secateur.scope import Model, Tensorwise
from secateur.structure import Rows, Weights

EIGHT = [[1.0, -8.0, 3.0, -4.0], [5.0, 2.0, -7.0, 6.0]]


class Position(Criterion):
    """Later units are worth more: a criterion with a known order."""

    name: ClassVar[str] = "test-position"

    def score(self, view: View, target: Target) -> Tensor:
        """0, 1, 2, … in row-major order."""
        return torch.arange(float(target.units)).view(target.shape)


class Broken(ElementCriterion):
    """Gives NaN, as a diverged loss would."""

    name: ClassVar[str] = "test-broken"

    def elements(self, view: View, param: str) -> Tensor:
        """NaN everywhere."""
        return view.weight(param) * float("nan")


def linear(values: list[list[float]] = EIGHT) -> nn.Linear:
    layer = nn.Linear(4, 2, bias=False)
    layer.weight.data = torch.tensor(values)
    return layer


def recipe(**changed: Any) -> Recipe:
    parts = {
        "structure": Weights(),
        "criterion": Magnitude(),
        "scope": Model(),
        "allocator": Uniform(),
        "schedule": OneShot(density=0.5),
    }
    return Recipe(**{**parts, **changed})


def masks_of(
    made: Recipe, update: Update, masks: dict[str, Tensor] | None = None, first: bool = False
) -> list[list[int]]:
    model = linear()
    view = ModelView(model, made.structure.targets(model), masks)
    return next(iter(step(made, view, update, first=first).values())).int().tolist()


def test_magnitude_keeps_the_four_largest() -> None:
    assert masks_of(recipe(), Update(density=0.5)) == [[0, 1, 0, 0], [1, 0, 1, 1]]


def test_what_is_gone_stays_gone() -> None:
    gone = {"weight": torch.tensor([[True, False, True, True], [True, True, True, True]])}
    assert masks_of(recipe(), Update(density=0.5), gone) == [[0, 0, 0, 1], [1, 0, 1, 1]]


def test_with_revive_removed_weights_compete_again() -> None:
    gone = {"weight": torch.tensor([[True, False, True, True], [True, True, True, True]])}
    made = recipe(revive=True)
    assert masks_of(made, Update(density=0.5), gone) == [[0, 1, 0, 0], [1, 0, 1, 1]]


def test_a_budget_above_what_is_left_is_refused() -> None:
    gone = {"weight": torch.zeros(2, 4, dtype=torch.bool)}
    with pytest.raises(PlanError, match="keep 4"):
        masks_of(recipe(), Update(density=0.5), gone)


def test_rows_pool_their_elements() -> None:
    made = recipe(structure=Rows())
    assert masks_of(made, Update(density=0.5)) == [0, 1]  # row sums of |w|: 16 and 20


def test_growth_moves_the_weakest_to_where_the_grow_criterion_says() -> None:
    """Alive: 1 -8 3 -4. Drop half (1 and 3), grow the two last places that are not survivors."""
    alive = {"weight": torch.tensor([[True] * 4, [False] * 4])}
    made = recipe(scope=Tensorwise(), schedule=Regrow(density=0.5), grow=Position())
    update = Update(density=0.5, drop=0.5)
    assert masks_of(made, update, alive) == [[0, 1, 0, 1], [0, 0, 1, 1]]


def test_growth_keeps_the_number_of_each_layer_when_density_stays() -> None:
    alive = {"weight": torch.tensor([[True, True, True, False], [False] * 4])}
    made = recipe(scope=Tensorwise(), schedule=Regrow(density=0.375), grow=Position())
    after = masks_of(made, Update(density=0.375, drop=0.34), alive)
    assert sum(map(sum, after)) == 3


def test_growth_while_the_density_falls() -> None:
    """Six are alive, four may stay: half of the four moves, so that -8 and 5 survive and two grow."""
    alive = {"weight": torch.tensor([[True] * 4, [True, True, False, False]])}
    made = recipe(scope=Tensorwise(), schedule=Regrow(density=0.5, initial=0.75), grow=Position())
    after = masks_of(made, Update(density=0.5, drop=1 / 2), alive)
    assert after == [[0, 1, 0, 0], [1, 0, 1, 1]]


def two_layers() -> nn.Sequential:
    """Eight weights of 1 to 8 before eight of 10 to 80; four and four are alive."""
    model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(1.0, 9).view(2, 4))
        model[1].weight.copy_(10 * torch.arange(1.0, 9).view(4, 2))
    return model


def moved(across: Across, update: Update) -> list[int]:
    """How many weights each layer of the two has after an update."""
    made = recipe(
        structure=Weights(classifier=True), scope=Tensorwise(), grow=Position(),
        schedule=Regrow(density=0.25, initial=0.5, across=across),
    )  # fmt: skip
    model = two_layers()
    alive = {"0.weight": torch.tensor([[True] * 4, [False] * 4]),
             "1.weight": torch.tensor([[True] * 2] * 2 + [[False] * 2] * 2)}  # fmt: skip
    view = ModelView(model, made.structure.targets(model), alive)
    return [int(mask.sum()) for mask in step(made, view, replace(update, across=across)).values()]


def test_what_a_falling_density_takes_is_the_weakest_of_all_or_of_each() -> None:
    """Eight are alive, six may stay: 1 and 2 go, or one of each layer."""
    assert moved("none", Update(density=0.375, drop=0.5)) == [3, 3]
    assert moved("falling", Update(density=0.375, drop=0.5)) == [2, 4]


def test_growth_goes_where_most_survive() -> None:
    """DSR by hand: 1 and 2 of eight go; 2 and 4 survive, so 2/6 and 4/6 of the two grow: .67 and 1.33."""
    assert moved("all", Update(density=0.5, drop=0.25)) == [3, 5]
    assert moved("all", Update(density=0.5, drop=0.5)) == [0, 8]


def test_the_start_criterion_decides_the_first_update_only() -> None:
    made = recipe(
        scope=Tensorwise(), schedule=Regrow(density=0.5), start=Position(), grow=Position()
    )
    assert masks_of(made, Update(density=0.5), first=True) == [[0, 0, 0, 0], [1, 1, 1, 1]]


def test_nan_scores_name_criterion_and_target() -> None:
    with pytest.raises(NumberError, match=r"'test-broken'.*'weight'"):
        masks_of(recipe(criterion=Broken()), Update(density=0.5))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(bad: float) -> None:
    model = linear([[1.0, bad, 1.0, 1.0], [1.0] * 4])
    made = recipe()
    view = ModelView(model, made.structure.targets(model))
    with pytest.raises(NumberError, match="'weight'"):
        step(made, view, Update(density=0.5))
