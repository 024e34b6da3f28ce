"""Whole residual blocks of networks of images."""

from __future__ import annotations

from typing import Literal

from ..allocation import Uniform
from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import BlockInfluence, LossDifference
from ..schedule import Iterative
from ..scope import Model
from ..structure import Layers
from .basic import fine_tuning


@method(
    "layer-dropping",
    family="structured",
    paper="Residual Networks Behave Like Ensembles of Relatively Shallow Networks",
    authors="Veit et al.",
    year=2016,
    arxiv="1605.06431",
)
def layer_dropping(
    density: float = 0.7,
    by: Literal["loss", "influence"] = "loss",
    rounds: int = 1,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out the residual blocks without which the loss rises least.

    s_l = L(without block l) − L, measured, a pass over the data for each block; `density` is the
    fraction of blocks that stays. `by="influence"` needs no labels: 1 − mean cosine of what enters and
    leaves the block, channels of a place taken together (Men et al. 2024, arXiv 2403.03853). `rounds`
    drops them in so many steps and measures again after each, for blocks make up for each other; as
    many rounds as blocks to go is greedy. Blocks that change the shape of what they read are no
    candidates. The paper drops blocks of trained networks to show how little each matters, and
    proposes no method; to choose them by the loss and to fine-tune after the last round is the plain
    one that follows from it.
    """
    return Recipe(
        structure=Layers(),
        criterion=LossDifference() if by == "loss" else BlockInfluence(),
        scope=Model(),
        allocator=Uniform(),
        schedule=Iterative(density=density, rounds=rounds),
        recovery=fine_tuning(fine_tune, lr_scale),
    )
