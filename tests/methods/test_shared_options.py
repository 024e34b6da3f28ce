"""Options that any method takes: the scale on which layers are compared."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.core.errors import PlanError
from secateur.criteria import Magnitude, Relative
from secateur.engine.view import ModelView
from secateur.structure import Rows


def net() -> nn.Module:
    """Two layers, the weights of the first ten times those of the second."""
    torch.manual_seed(0)
    layers = nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)
    made = nn.Sequential(*layers)
    with torch.no_grad():
        made[0].weight.mul_(100)
    return made


def kept(normalise: str) -> list[int]:
    example = torch.zeros(2, 4)
    result = sc.prune(net(), "group-norm", example=example, density=0.5, normalise=normalise)
    return [int(mask.sum()) for mask in result.units.values()]


def test_as_they_are_the_larger_layer_wins_and_on_one_scale_it_does_not() -> None:
    assert kept("none")[0] == 16
    on_one_scale = [kept(by) for by in ("mean", "max", "range", "gauss")]
    assert all(sum(widths) == 24 and widths[0] < 16 for widths in on_one_scale)
    assert kept("sum")[0] > kept("mean")[0], "narrow layers are favoured"


def test_it_replaces_the_scale_a_method_has_and_adds_one_where_it_has_none() -> None:
    assert sc.recipe("group-norm", normalise="max").criterion == Relative(
        inner=Magnitude(p=2.0), by="max"
    )
    assert sc.recipe("group-norm", normalise="none").criterion == Magnitude(p=2.0)
    taylor = sc.recipe("taylor-2019").criterion
    assert sc.recipe("taylor-2019", normalise="gauss").criterion == Relative(
        inner=taylor, by="gauss"
    )


def test_equal_scores_are_left_without_dividing_by_zero() -> None:
    model = nn.Linear(1, 3, bias=False)
    model.weight.data.fill_(2.0)
    (target,) = Rows(classifier=True).targets(model)
    view = ModelView(model, (target,))
    for by, score in {"mean": 1.0, "sum": 1 / 3, "range": 0.0, "gauss": 0.0}.items():
        assert Relative(by=by).score(view, target).tolist() == [pytest.approx(score)] * 3


def test_where_layers_are_not_compared_it_would_be_ignored() -> None:
    with pytest.raises(PlanError, match="across=True"):
        sc.recipe("l1-filters", normalise="mean")
    assert sc.recipe("l1-filters", across=True, normalise="max").criterion.by == "max"
    with pytest.raises(PlanError, match="by"):
        sc.recipe("group-norm", normalise="median")


def test_it_comes_before_widths_and_budgets() -> None:
    recipe = sc.recipe("group-norm", normalise="max", round_to=8, budget={"macs": "50%"})
    assert recipe.allocator.inner.round_to == 8
    assert recipe.criterion.by == "max"


def test_multiples_of_one_change_nothing() -> None:
    """Sweet spots may say that every width is as good as the next."""
    assert sc.recipe("group-norm", round_to=1) == sc.recipe("group-norm")
    assert sc.recipe("group-norm", round_to=1, protect="a") != sc.recipe("group-norm")


def chain() -> nn.Module:
    torch.manual_seed(0)
    layers = (
        nn.Linear(8, 8),
        nn.ReLU(),
        nn.Linear(8, 8),
        nn.ReLU(),
        nn.Linear(8, 8),
        nn.Linear(8, 2),
    )
    return nn.Sequential(*layers)


@pytest.mark.parametrize("method", ["magnitude-layerwise", "wanda", "sparsegpt"])
def test_what_is_left_out_stays_dense(method: str) -> None:
    data, before = [torch.randn(32, 8)], chain()
    options = {} if method.startswith("m") else {"walk": "whole"}
    whole = sc.prune(chain(), method, data=data, sparsity=0.5, **options)
    assert "2.weight" in whole.units
    result = sc.prune(chain(), method, data=data, sparsity=0.5, exclude="2.*", **options)
    assert set(whole.units) - set(result.units) == {"2.weight"}
    assert torch.equal(result.model[2].weight, before[2].weight)
    only = sc.prune(chain(), method, data=data, sparsity=0.5, include=["0.weight"], **options)
    assert set(only.units) == {"0.weight"}
    assert int((only.model[0].weight == 0).sum()) == 32


def test_structures_are_left_out_also_inside_of_others() -> None:
    recipe = sc.recipe("group-norm", exclude=["a", "b*"])
    assert recipe.structure.exclude == ("a", "b*")
    assert sc.recipe("llm-pruner", exclude="a").structure.inner.exclude == ("a",)
    example = torch.zeros(2, 4)
    names = list(sc.prune(net(), "group-norm", example=example, density=0.5).units)
    result = sc.prune(net(), "group-norm", example=example, density=0.5, exclude=names[0])
    assert list(result.units) == names[1:]


def test_a_selector_without_a_match_names_the_nearest_and_a_whole_has_no_parts() -> None:
    with pytest.raises(PlanError, match=r"2\.weight"):
        sc.prune(chain(), "magnitude-layerwise", sparsity=0.5, exclude="2.wieght")
    with pytest.raises(PlanError, match="takes no exclude"):
        sc.recipe("slicegpt", exclude="a")
