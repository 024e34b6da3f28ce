"""The targets of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..core.run_time import RunTime, run_time_layers
from ..core.types import Target
from .blockwise.blocks import Block, find_blocks


def targets_of(recipe: Recipe, model: nn.Module, example: Any = None) -> tuple[Target, ...]:
    """What a recipe may prune in a model; a walk by blocks is refused here where there are none.

    So is a network whose layers decide for every input already, where the recipe wraps layers as well or
    means to take structures out, which `shrink` could not.
    """
    wraps = isinstance(recipe.materialise, RunTime)
    if (wraps or recipe.structure.saves) and (found := next(iter(run_time_layers(model)), None)):
        raise PlanError(
            f"'{found}' decides for every input already; begin with the network as it was before"
        )
    if recipe.walk != "blocks":
        return recipe.structure.targets(model, example)
    blocks = find_blocks(model)
    return in_blocks(recipe, blocks, recipe.structure.targets(model, example))


def in_blocks(
    recipe: Recipe, blocks: Sequence[Block], found: tuple[Target, ...]
) -> tuple[Target, ...]:
    """The targets without those that touch none of the repeated blocks.

    Block by block, heads, poolers and projections of embeddings stay dense, as the classifier does. What
    `include` names is not dropped in silence; nor is what runs through several blocks.
    """
    if getattr(recipe.structure, "include", ()):
        return found
    touching = tuple(
        t for t in found if any(block.owns(m.param) for m in t.members for block in blocks)
    )
    return touching or found
