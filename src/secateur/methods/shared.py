"""Options that any method takes beside its own: the scale of scores, widths, an order of inputs, a budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..allocation import ToBudget, Widths
from ..allocation.amounts import amount
from ..basis import SpreadInputs
from ..core.axes import Chooser, Structure
from ..core.cards import shared_options
from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..criteria import Relative, Wanda
from ..schedule import Iterative, OneShot, Repeat
from ..solve import Refitted


@shared_options("include", "exclude")
def with_layers(recipe: Recipe, own: Mapping[str, Any], **given: Any) -> Recipe:
    """The same recipe for some targets only: those that `include` picks, without those of `exclude`.

    Both are selectors of names (a name, a glob, `re:` and a pattern), one or several; see `secateur trace`.
    """
    names = {
        option: (value,) if isinstance(value, str) else value for option, value in given.items()
    }
    return Recipe(**{**dict(recipe), "structure": _narrowed(recipe.structure, names)})


def _narrowed(structure: Structure, names: Mapping[str, Any]) -> Structure:
    """The structure, or what it wraps, with selectors; those it excludes already stay excluded."""
    fields = type(structure).model_fields
    if "inner" in fields:
        inner = _narrowed(structure.inner, names)  # type: ignore[attr-defined]
        return type(structure)(**{**dict(structure), "inner": inner})
    absent = sorted(set(names) - set(fields))
    if absent:
        raise PlanError(
            f"structure '{structure}' of this method is one whole, of which no part can be left out; "
            f"it takes no {' or '.join(absent)}. Use a method for single weights, channels or layers"
        )
    before = dict(structure)
    if names.get("exclude"):
        names = {**names, "exclude": (*before["exclude"], *names["exclude"])}
    return type(structure)(**{**before, **names})


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


@shared_options("round_to", "floors", "caps", "protect", "even")
def with_widths(recipe: Recipe, own: Mapping[str, Any], **given: Any) -> Recipe:
    """The same recipe with its numbers bounded and rounded; see allocator `widths`."""
    if given.items() <= {"round_to": 1, "even": False}.items():
        return recipe  # sweet spots say 1 where every width is as good as the next
    protect = given.get("protect", ())
    if isinstance(protect, str):
        given["protect"] = (protect,)
    _by_layer(recipe, ", ".join(sorted(given)))
    return Recipe(**{**dict(recipe), "allocator": Widths(inner=recipe.allocator, **given)})


@shared_options("carried")
def with_carried(recipe: Recipe, own: Mapping[str, Any], carried: bool) -> Recipe:
    """The same recipe on a network that carries masks, which hold: it chooses from what they leave."""
    if not isinstance(carried, bool):
        raise PlanError(f"carried is true or false; got {carried!r}")
    return Recipe(**{**dict(recipe), "carried": carried})


@shared_options("permute")
def with_order(recipe: Recipe, own: Mapping[str, Any], permute: bool) -> Recipe:
    """The same recipe with inputs put in an order in which N of every M keep more; see `spread-inputs`.

    Where the solver chooses what stays, Wanda's scores stand for what it will choose.
    """
    if not isinstance(permute, bool):
        raise PlanError(f"permute is yes or no; got {permute!r}")
    if not permute:
        return recipe
    if recipe.basis is not None:
        raise PlanError(
            f"permute: the method has basis '{recipe.basis}' already, and takes no other"
        )
    by = Wanda() if isinstance(recipe.solver, Chooser) else None
    return Recipe(**{**dict(recipe), "basis": SpreadInputs(by=by)})


@shared_options("refit")
def with_refit(recipe: Recipe, own: Mapping[str, Any], refit: float) -> Recipe:
    """The same recipe whose weights make up for earlier losses before they are scored; see `refitted`."""
    if not refit:
        return recipe
    if recipe.solver is not None:
        raise PlanError(
            f"refit: the method has solver '{recipe.solver}' already, which would be left out"
        )
    if recipe.structure.saves:
        raise PlanError(
            f"refit moves single weights before they are chosen; structure '{recipe.structure}' takes out "
            "whole units. Use wanda, ria, sparsegpt, or magnitude-layerwise with walk='blocks'"
        )
    solver = Refitted(by=recipe.criterion, share=refit)
    return Recipe(**{**dict(recipe), "solver": solver})


@shared_options("budget", "runtime")
def with_budget(recipe: Recipe, own: Mapping[str, Any], **given: Any) -> Recipe:
    """The same recipe pruned to `{"macs": "50%"}`; see allocator `to-budget`."""
    budget = given.get("budget")
    if not isinstance(budget, Mapping) or len(budget) != 1:
        raise PlanError(
            "a budget names one of macs, parameters, megabytes, latency and how much stays, e.g. "
            f"{{'macs': '50%'}}; got {budget!r}"
        )
    if "density" in own:
        raise PlanError("give a budget or a density (sparsity), not both: each says how much stays")
    if recipe.gate is not None:
        raise PlanError(
            f"gate '{recipe.gate.name}' settles how much stays while the network trains, before any "
            "budget could be looked at; give the method's own density or strength"
        )
    if not recipe.structure.saves:
        raise PlanError(
            f"a budget counts what is saved, and units of structure '{recipe.structure}' save nothing "
            "until they are whole channels, neurons, heads, layers or experts; use a method for those "
            "(`secateur methods`)"
        )
    ((what, value),) = budget.items()
    limit, relative = amount(what, value)
    if "runtime" in given and what != "latency":
        raise PlanError(
            f"a runtime is that of a latency; a budget of {what} has none, leave it out"
        )
    allocator = ToBudget(
        inner=recipe.allocator, what=what, limit=limit, relative=relative,
        runtime=given.get("runtime", "eager"),
    )  # fmt: skip
    pressure = recipe.pressure
    if pressure is not None and "density" in type(pressure).model_fields:
        pressure = type(pressure)(**{**dict(pressure), "density": None})  # the budget says it
    changed = {"allocator": allocator, "schedule": _without_density(recipe), "pressure": pressure}
    return Recipe(**{**dict(recipe), **changed})


def _without_density(recipe: Recipe) -> Repeat:
    """The moments of a schedule; how much goes at each is the budget's to say."""
    old = recipe.schedule
    if isinstance(old, OneShot):
        return Repeat(at=old.at)
    if isinstance(old, Iterative):
        return Repeat(rounds=len(old.densities), at=old.at, every=old.every)
    raise PlanError(
        f"a budget is met in one step or in rounds; schedule '{old}' of this method goes by "
        "densities. Give a density"
    )


def _by_layer(recipe: Recipe, options: str) -> None:
    """Widths belong to layers."""
    if recipe.scope.name != "tensor":
        raise PlanError(
            f"{options}: widths belong to layers, but this method compares by scope "
            f"'{recipe.scope.name}'; use a method for whole channels or heads (`secateur methods`)"
        )
