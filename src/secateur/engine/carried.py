"""Masks that a network comes with: which hold, and what is said where they do not."""

from __future__ import annotations

from torch import nn

from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..core.run_time import RunTime
from ..core.types import Masks
from ..materialise import HardMasks


def carried(model: nn.Module, recipe: Recipe) -> Masks:
    """Masks to hold: the recipe says so, or only trains; one that needs some refuses a network without."""
    if not recipe.carried and recipe.schedule.prunes:
        return {}
    masks = HardMasks.of(model).masks
    if recipe.carried and not masks:
        raise PlanError(
            f"method '{recipe.method}' trains a network with the masks it carries, but this one "
            "carries none; make it one with sc.transfer, or prune it"
        )
    return masks


def let_go(model: nn.Module, recipe: Recipe) -> str:
    """What to say of masks that the network carries and the recipe does not hold; empty without any."""
    if recipe.carried or not recipe.schedule.prunes:
        return ""
    masks = HardMasks.of(model).masks.values()
    out, every = sum(int((~m).sum()) for m in masks), sum(m.numel() for m in masks)
    if not out:
        return ""
    brings_back = recipe.revive or recipe.schedule.regrows or recipe.gate is not None
    if isinstance(recipe.materialise, RunTime):
        end = (
            "training brings them back"
            if recipe.materialise.learns
            else "they stay zero, but unheld"
        )
        return (
            f"the network carries masks ({out:,} of {every:,} weights are out), which '{recipe.method}' "
            f"does not hold: {end}"
        )
    advice = (
        "this method brings back what is out, so take another one with carried=True"
        if brings_back
        else "carried=True holds them (on the command line --option carried=true)"
    )
    return (
        f"the network carries masks ({out:,} of {every:,} weights are out), but '{recipe.method}' chooses "
        f"anew from all weights, and what trains them brings removed ones back; {advice}"
    )
