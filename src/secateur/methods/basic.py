"""Baselines: magnitude and random pruning in one shot."""

from __future__ import annotations

from ..allocation import Uniform
from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import Magnitude, Random
from ..schedule import OneShot
from ..scope import Model, Tensorwise
from ..structure import Weights


@method(
    "magnitude",
    family="after training",
    paper="Learning both Weights and Connections for Efficient Neural Networks",
    authors="Han et al.",
    year=2015,
    arxiv="1506.02626",
)
def magnitude(density: float = 0.5, at: str = "100%", classifier: bool = False) -> Recipe:
    """Keep the largest weights of the whole model, once."""
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Magnitude(),
        scope=Model(),
        allocator=Uniform(),
        schedule=OneShot(density=density, at=at),
    )


@method("random", family="baselines")
def random(density: float = 0.5, at: str = "0it", classifier: bool = False) -> Recipe:
    """Keep random weights, the same share of every layer."""
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Random(),
        scope=Tensorwise(),
        allocator=Uniform(),
        schedule=OneShot(density=density, at=at),
    )
