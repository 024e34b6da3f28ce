"""How many units of each target stay, known before the first of them is pruned."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.types import Scores, Update
from .run import Run
from .view import ModelView


def ahead(run: Run, update: Update, scores: Scores | None = None) -> dict[str, Tensor]:
    """Target -> [its groups] units that stay after `update`.

    Args:
        scores: -inf for units that are gone; None for an allocator that goes by sizes.
    """
    allocator = run.recipe.allocator
    groups = run.recipe.scope.groups(run.targets)
    view = ModelView(
        run.model, run.targets, run.masks, seed=run.setting.seed, costs=run.costs,
        progress=update.progress,
    )  # fmt: skip
    alike = {
        name: torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -math.inf)
        for name, mask in run.masks.items()
    }
    keep = allocator.keep(alike if scores is None else scores, groups, update.density, view)
    first, layouts = groups.first, groups.layouts
    return {name: keep[first[name] : first[name] + layouts[name].units] for name in layouts}


def counts_ahead(run: Run) -> dict[str, int]:
    """Target -> units that stay after the last update, for a pressure that has to know."""
    pressure = run.recipe.pressure
    if pressure is None or not pressure.foresees:
        return {}
    end = Update(density=run.recipe.schedule.final_density)
    return {name: int(kept.sum()) for name, kept in ahead(run, end).items()}
