"""The one step of all pruning: score, drop the dead, group, how many, select, (grow), solve."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..core.axes import Chooser, Criterion, Repair, View
from ..core.density import keep_count, share
from ..core.errors import NumberError, PlanError
from ..core.kth import count_rows
from ..core.recipe import Recipe
from ..core.select import select
from ..core.types import Groups, LazyScores, Masks, Scores, Update, keep_all


def step(
    recipe: Recipe,
    view: View,
    update: Update,
    *,
    first: bool = False,
    hold: Masks | None = None,
    keep: Tensor | None = None,
) -> dict[str, Tensor]:
    """The masks after `update`: {target: bool [target.shape]}; no weight is touched.

    Args:
        recipe: the method.
        view: weights, current masks and the statistics that `recipe.required()` names.
        update: the density to reach and the share to drop and grow anew.
        first: whether this is the run's first update (`recipe.start` then scores it).
        hold: units that stay whatever their score, where the budget of their group has room.
        keep: [G] how many units of each group stay, where that is decided already.
    """
    criterion = recipe.start if first and recipe.start is not None else recipe.criterion
    groups = recipe.scope.groups(view.targets)
    if recipe.schedule.regrows and not first:
        return _regrow(recipe, view, update, score_all(criterion, view), groups)
    score = lambda: score_all(criterion, view)  # noqa: E731
    live, keep = budgets(recipe, view, update, score, groups, hold, keep)
    if isinstance(recipe.solver, Chooser):
        return recipe.solver.choose(_counts(live, groups, keep), groups, view)
    return solve(recipe, view, select(live, groups, keep), groups)


def budgets(
    recipe: Recipe,
    view: View,
    update: Update,
    score: Callable[[], Scores],
    groups: Groups,
    hold: Masks | None = None,
    keep: Tensor | None = None,
) -> tuple[LazyScores, Tensor]:
    """What a selection needs: the scores, computed when they are looked at, and [G] how many stay."""
    masks = keep_all(view.targets) if recipe.revive else view.masks
    live = LazyScores(lambda: _first_of_all(hide(score(), masks), hold or {}), masks)
    if keep is None:
        keep = recipe.allocator.keep(live, groups, update.density, view)
    _check(keep, groups.count(masks))
    return live, keep


def score_all(criterion: Criterion, view: View) -> dict[str, Tensor]:
    """{target: scores}; a NaN or infinite score is an error that names target and criterion."""
    scores = {t.name: criterion.score(view, t).detach() for t in view.targets}
    for target in view.targets:
        got = scores[target.name]
        if tuple(got.shape) != target.shape:
            raise PlanError(
                f"criterion '{criterion.name}' scored '{target.name}' with shape "
                f"{tuple(got.shape)}, not {target.shape}"
            )
        if got.numel() and not bool(torch.isfinite(torch.stack(got.aminmax())).all()):
            raise NumberError(
                f"criterion '{criterion.name}' gave NaN or infinite scores for '{target.name}'; "
                "check the loss, or score in float64"
            )
    return scores


def hide(scores: Scores, masks: Masks) -> dict[str, Tensor]:
    """Scores with -inf wherever the mask says that a unit is gone."""
    return {n: s.masked_fill(~masks[n].to(s.device), -math.inf) for n, s in scores.items()}


def _first_of_all(scores: Scores, hold: Masks) -> dict[str, Tensor]:
    """Scores with +inf for the units that must stay."""
    return {n: s.masked_fill(hold[n], math.inf) if n in hold else s for n, s in scores.items()}


def _check(keep: Tensor, alive: Tensor) -> None:
    """A budget above what is left would bring removed units back; that is growing, not pruning."""
    over = (keep > alive).nonzero()[:, 0]
    if len(over):
        g = int(over[0])
        raise PlanError(
            f"group {g} should keep {int(keep[g])} units, but only {int(alive[g])} are left; "
            "lower the density or use a schedule that regrows"
        )


def _regrow(
    recipe: Recipe, view: View, update: Update, scores: Scores, groups: Groups
) -> dict[str, Tensor]:
    """Drop the weakest survivors, then grow as many elsewhere as the budget has room for.

    survivors_g = budget_g - round(drop * budget_g); grown units come from all that did not survive, by
    the `grow` criterion. The budget of a group is what it holds now, less what a falling density
    takes. With `across` the weakest of all groups go, and each has room for what survives in it, or
    (`all`) for growth in proportion to it.
    """
    assert recipe.grow is not None
    alive = groups.count(view.masks)
    hidden = hide(scores, view.masks)
    if update.across == "all":
        budget, survivors = _reallocated(hidden, groups, _total(alive, update, groups), update.drop)
    else:
        budget = _left(hidden, alive, update, groups)
        survivors = budget - torch.tensor([keep_count(update.drop, int(b)) for b in budget])
    kept = select(hidden, groups, survivors)
    candidates = hide(score_all(recipe.grow, view), {n: ~m for n, m in kept.items()})
    grown = select(candidates, groups, budget - survivors)
    return {name: kept[name] | grown[name] for name in kept}


def _total(alive: Tensor, update: Update, groups: Groups) -> int:
    """Units after the update: what its density says, as far as so many are there."""
    held = int(alive.sum())
    if update.density is None:
        return held
    return min(held, keep_count(update.density, int(groups.size.sum())))


def _left(hidden: Scores, alive: Tensor, update: Update, groups: Groups) -> Tensor:
    """[G] budgets at the update's density: the best of all groups, or of each in proportion."""
    total, held = _total(alive, update, groups), int(alive.sum())
    if total == held:
        return alive
    if update.across == "falling":
        return groups.count(select(hidden, groups.merged(), torch.tensor([total])))
    return share(alive.double() * total / held, total, alive)


def _reallocated(hidden: Scores, groups: Groups, total: int, drop: float) -> tuple[Tensor, Tensor]:
    """[G] budgets and [G] survivors: the weakest of all go, and room is given where most survive."""
    best = select(hidden, groups.merged(), torch.tensor([total - keep_count(drop, total)]))
    survivors = groups.count(best)
    wanted = survivors.double() * total / max(int(survivors.sum()), 1)
    return share(wanted, total, groups.size, survivors), survivors


def _counts(live: Scores, groups: Groups, keep: Tensor) -> dict[str, Tensor]:
    """{target: [its groups] units that stay}; scores decide where groups span several targets."""
    if groups.shared:
        chosen = select(live, groups, keep)
        return {n: count_rows(at.matrix(chosen[n])) for n, at in groups.layouts.items()}
    return {
        name: keep[groups.first[name] : groups.first[name] + layout.units]
        for name, layout in groups.layouts.items()
    }


def solve(
    recipe: Recipe, view: View, proposal: dict[str, Tensor], groups: Groups
) -> dict[str, Tensor]:
    """Let the solver, if there is one, change what survives."""
    if not isinstance(recipe.solver, Repair):
        return proposal
    return {t.name: recipe.solver.solve(t, proposal[t.name], groups, view) for t in view.targets}
