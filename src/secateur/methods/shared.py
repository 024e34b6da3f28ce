"""Options that any method takes beside its own: the scale of scores, widths, a budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..allocation import ToBudget, Widths
from ..allocation.amounts import amount
from ..core.cards import shared_options
from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..criteria import Relative
from ..schedule import OneShot, Repeat


@shared_options("normalise")
def with_normalised(recipe: Recipe, own: Mapping[str, Any], normalise: str) -> Recipe:
    """The same recipe with scores on another scale before layers are compared; `none` = as they are."""
    if not (recipe.allocator.across_targets or recipe.scope.across_targets):
        raise PlanError(
            "normalise puts the scores of all layers on one scale, but this method lets each layer "
            "keep its share; give across=True where it has that option"
        )
    old = recipe.criterion
    inner = old.inner if isinstance(old, Relative) else old
    new = inner if normalise == "none" else Relative(inner=inner, by=normalise)
    return Recipe(**{**dict(recipe), "criterion": new})


@shared_options("round_to", "floors", "caps", "protect")
def with_widths(recipe: Recipe, own: Mapping[str, Any], **given: Any) -> Recipe:
    """The same recipe with its numbers bounded and rounded; see allocator `widths`."""
    if given == {"round_to": 1}:  # what sweet spots say where every width is as good as the next
        return recipe
    protect = given.get("protect", ())
    if isinstance(protect, str):
        given["protect"] = (protect,)
    _by_layer(recipe, ", ".join(sorted(given)))
    return Recipe(**{**dict(recipe), "allocator": Widths(inner=recipe.allocator, **given)})


@shared_options("budget")
def with_budget(recipe: Recipe, own: Mapping[str, Any], budget: Any) -> Recipe:
    """The same recipe pruned once to `{"macs": "50%"}`; see allocator `to-budget`."""
    if not isinstance(budget, Mapping) or len(budget) != 1:
        raise PlanError(
            "a budget names one of macs, parameters, megabytes, latency and how much stays, e.g. "
            f"{{'macs': '50%'}}; got {budget!r}"
        )
    if "density" in own:
        raise PlanError("give a budget or a density (sparsity), not both: each says how much stays")
    _by_layer(recipe, "budget")
    ((what, value),) = budget.items()
    limit, relative = amount(what, value)
    if not isinstance(recipe.schedule, OneShot):
        raise PlanError(
            f"a budget is met in one step; schedule '{recipe.schedule}' of this method goes by "
            "densities. Give a density"
        )
    if recipe.pressure is not None and "density" in type(recipe.pressure).model_fields:
        raise PlanError(
            f"pressure '{recipe.pressure}' has to know the density before the network trains; give a "
            "density instead of a budget"
        )
    allocator = ToBudget(inner=recipe.allocator, what=what, limit=limit, relative=relative)
    schedule = Repeat(at=recipe.schedule.at)
    return Recipe(**{**dict(recipe), "allocator": allocator, "schedule": schedule})


def _by_layer(recipe: Recipe, options: str) -> None:
    """Widths and what they cost belong to layers."""
    if recipe.scope.name != "tensor":
        raise PlanError(
            f"{options}: widths belong to layers, but this method compares by scope "
            f"'{recipe.scope.name}'; use a method for whole channels or heads (`secateur methods`)"
        )
