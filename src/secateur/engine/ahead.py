"""How many units stay, known before anything is scored."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.types import Update
from .run import Run
from .view import ModelView


def ahead(run: Run, update: Update) -> dict[str, Tensor]:
    """Target -> [its groups] units that stay after `update`, by an allocator that goes by sizes."""
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
    keep = allocator.keep(alike, groups, update.density, view)
    first, layouts = groups.first, groups.layouts
    return {name: keep[first[name] : first[name] + layouts[name].units] for name in layouts}


def counts_ahead(run: Run) -> dict[str, int]:
    """Target -> units that stay after the last update, for a pressure that has to know."""
    pressure = run.recipe.pressure
    if pressure is None or not pressure.foresees:
        return {}
    end = Update(density=run.recipe.schedule.final_density)
    return {name: int(kept.sum()) for name, kept in ahead(run, end).items()}
