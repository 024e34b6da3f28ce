"""The weights a network begins with, where a recipe draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ..core.errors import PlanError
from ..core.random import generator
from ..core.recipe import Recipe
from ..structure.prunable import Weight, prunable

if TYPE_CHECKING:
    from .run import Setting


def begin(model: nn.Module, recipe: Recipe, setting: Setting) -> None:
    """Draw all weights of layers anew from the run's seed; biases and norms stay as they are."""
    if recipe.initial is None:
        return
    if setting.trained:
        raise PlanError(
            f"initial '{recipe.initial.name}' draws new weights, but the network came trained; begin "
            "with an untrained one, or leave `initial` out"
        )
    for weight in prunable(model):
        _draw(weight, recipe, setting.seed)


@torch.no_grad()
def _draw(weight: Weight, recipe: Recipe, seed: int) -> None:
    assert recipe.initial is not None
    if weight.dims[:1] == ("expert",):
        raise PlanError(
            f"initial '{recipe.initial.name}' draws matrices; '{weight.name}' stacks those of experts"
        )
    turned = weight.dims[0] == "in"
    held = weight.tensor.transpose(0, 1) if turned else weight.tensor  # [out, in, k...]
    fan_in = held[0].numel()
    rng = generator(seed, "initial", weight.name)
    held.copy_(recipe.initial.weights(tuple(held.shape), fan_in, rng))
