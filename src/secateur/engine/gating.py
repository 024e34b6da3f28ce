"""What a run's gate needs of the recipe: when how much stays, and the one selection at every step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from torch import Tensor

from ..core.errors import PlanError
from ..core.select import select
from ..core.types import Masks, Update
from .program import Train
from .run import Run
from .step import budgets, score_all
from .train.gated import Gated
from .view import ModelView


def gated(run: Run, op: Train) -> Gated | None:
    """The recipe's gate for a stage of training; only the main training has one."""
    gate, setting = run.recipe.gate, run.setting
    if gate is None or op.stage != "dense":
        return None
    _check(run)
    total = setting.lengths()[1]
    chosen = Chooser(run)
    return Gated(
        run.model, gate, run.targets, chosen, total, setting.seed, op.stage, chosen.groups.layouts
    )


class Chooser:
    """The masks of a step: the recipe's criterion, scope and allocator at the density of that step."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.groups = run.recipe.scope.groups(run.targets)
        updates = list(run.recipe.schedule.updates(*run.setting.lengths()))
        self._steps = [update.step.steps(1, 0) for update in updates]
        self._densities = [update.density for update in updates]
        if run.recipe.gate is not None and run.recipe.gate.masked:
            self._refuse_late(run.setting.lengths()[1])

    def __call__(self, scores: Mapping[str, Tensor], step: int) -> Masks:
        """Target -> bool [target.shape]; what was out may come back at every step."""
        run = self._run
        view = ModelView(run.model, run.targets, costs=run.costs, learned=scores)
        update = Update(density=self.density(step))
        live, keep = budgets(
            run.recipe, view, update, lambda: score_all(run.recipe.criterion, view), self.groups
        )
        return select(live, self.groups, keep)

    def density(self, step: int) -> float | None:
        """What the schedule says by then; all before its first update; None = the allocator decides."""
        if self._densities[-1] is None:
            return None
        done = bisect_right(self._steps, step)
        return self._densities[done - 1] if done else 1.0

    def _refuse_late(self, total: int) -> None:
        if self._densities[-1] is not None and self._steps[0] >= total:
            recipe = self._run.recipe
            assert recipe.gate is not None
            raise PlanError(
                f"gate '{recipe.gate.name}' masks while the network trains, but schedule "
                f"'{recipe.schedule}' has its first update when the training is over; begin earlier, e.g. "
                "at=0it"
            )


def _check(run: Run) -> None:
    training = run.setting.training
    assert training is not None
    assert run.recipe.gate is not None
    who = f"gate '{run.recipe.gate.name}'"
    if training.ema is not None:
        raise PlanError(f"{who} has no average over time, and weights alone mean nothing; drop ema")
    if training.precision == "fp16":
        raise PlanError(f"{who} learns without a loss scale; use precision bf16 or no")
